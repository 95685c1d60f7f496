"""``gateway bench``: load, checks and figures, in processes of their own.

``run`` measures and ``goals`` judges.  Under them: ``systems`` (what is measured), ``crew`` and
``worker`` (who loads it), ``people`` and ``checks`` (what each of them heard).
"""
