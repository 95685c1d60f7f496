"""What a typed line asks of the gateway: the commands of ``gateway.chat``, as JSON requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.chat import commands
from gateway.chat.commands import Command, help_lines, parse, usage
from gateway.chat.text import clean_line


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: the arguments of ``Chat.post``."""

    kind: str
    fields: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tell:
    """Nothing for the gateway: lines for who typed it."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """It can't be done as it was typed; why."""

    why: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The end."""


Asked = Ask | Tell | Refuse | Leave


def understand(line: str) -> Asked | None:
    """What a typed line means; None if there is nothing to see in it."""
    text = clean_line(line)
    return _asked(parse(text)) if text.strip() else None


def said(line: str) -> Ask | None:
    """A line that is said as it is, ``/`` or not."""
    text = clean_line(line)
    return Ask("say", {"text": text}) if text.strip() else None


def _asked(command: Command) -> Asked:
    return _ASKS[type(command)](command)


def _with(word: str, **fields: str) -> Asked:
    """A request that needs all of ``fields``."""
    return Ask(word, {**fields}) if all(fields.values()) else Refuse(usage(word))


def _who(command: commands.Who) -> Asked:
    return Ask("who", {"room": command.room} if command.room else {})


def _history(command: commands.History) -> Asked:
    if not command.count:
        return Ask("history")
    count = int(command.count[:6]) if re.fullmatch("[0-9]+", command.count) else 0
    return Ask("history", {"count": count}) if count else Refuse(usage("history"))


_ASKS: dict[type, Callable[[Any], Asked]] = {
    commands.Say: lambda c: Ask("say", {"text": c.text}),
    commands.Me: lambda c: _with("me", text=c.text),
    commands.Msg: lambda c: _with("msg", to=c.to, text=c.text),
    commands.Nick: lambda c: _with("nick", name=c.name),
    commands.Join: lambda c: _with("join", room=c.room),
    commands.Leave: lambda _: Ask("leave"),
    commands.Rooms: lambda _: Ask("rooms"),
    commands.Who: _who,
    commands.History: _history,
    commands.Help: lambda c: Tell(tuple(help_lines(c.word))),
    commands.Quit: lambda _: Leave(),
    commands.Unknown: lambda c: Refuse(c.text),
}
