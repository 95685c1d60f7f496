"""The terminal client: a screen for people, plain lines for pipes.

Knows how things look and what keys do; the chat itself is ``gateway.client``'s.
"""
