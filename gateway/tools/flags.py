"""A flag of a command, which is an environment variable, too: ``--max-line``, ``GATEWAY_MAX_LINE``.

Imports nothing heavy: ``gateway --help`` reads it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def variable_of(flag: str) -> str:
    """The environment variable of a flag."""
    return "GATEWAY_" + flag.removeprefix("--").replace("-", "_").upper()


class Flag(click.Option):
    """One flag of one command; it wins over its variable, and an empty variable is none.

    ``--help`` names the variable, and so does an error about a value that came from there.
    ``envvar=None`` is for what nobody may inherit.
    """

    def __init__(self, declarations: Sequence[str], **more: Any) -> None:
        own: dict[str, Any] = {"envvar": variable_of(declarations[0]), "show_envvar": True}
        super().__init__(declarations, **own | more)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx and self.name and isinstance(self.envvar, str):
            source = ctx.get_parameter_source(self.name)
            if source is click.core.ParameterSource.ENVIRONMENT:
                return self.envvar
        return self.opts[0]
