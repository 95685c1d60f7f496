"""What a client can ask for, in one table; ``/help`` is made from it.

To add a command: a class, a row in ``TABLE``, and a method in
``chat.session`` for what it does.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Say:
    """Say ``text`` to the room."""

    text: str


@dataclass(frozen=True, slots=True)
class Help:
    word: str


@dataclass(frozen=True, slots=True)
class Who:
    """Ask who is in the room."""


@dataclass(frozen=True, slots=True)
class Nick:
    name: str


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave, and end the connection."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A word that is no command; ``nearest`` is the one that may be meant, or ''."""

    word: str
    nearest: str


@dataclass(frozen=True, slots=True)
class GiveName:
    """The answer to the name prompt."""

    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Input that could not be taken: ``text`` tells the client why."""

    text: str


Command = Say | Help | Who | Nick | Quit | Unknown | GiveName | Problem


@dataclass(frozen=True, slots=True)
class Row:
    """One command: its word, what follows it, what it does, and how it is made.

    ``make`` gets the rest of the line without the blanks around it.
    """

    word: str
    usage: str
    help: str
    make: Callable[[str], Command]


TABLE: tuple[Row, ...] = (
    Row("nick", "NAME", "change your name", Nick),
    Row("who", "", "list everybody in this room", lambda _: Who()),
    Row("help", "[COMMAND]", "list the commands, or explain one", lambda rest: Help(rest)),
    Row("quit", "", "leave the chat", lambda _: Quit()),
)

_BY_WORD = {row.word: row for row in TABLE}


def parse(line: str) -> Command:
    """What a line of a member means.  ``//TEXT`` says ``/TEXT``."""
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    word, _, rest = line[1:].partition(" ")
    row = _BY_WORD.get(word.lower())
    if row is None:
        near = difflib.get_close_matches(word.lower(), _BY_WORD, n=1)
        return Unknown(word, near[0] if near else "")
    return row.make(rest.strip())


def help_lines(word: str = "") -> list[str]:
    """The lines of ``/help``, or of ``/help WORD``."""
    rows = TABLE
    if word:
        row = _BY_WORD.get(word.lstrip("/").lower())
        if row is None:
            return [f"no such command: /{word.lstrip('/')}"]
        rows = (row,)
    width = max(len(f"/{row.word} {row.usage}") for row in rows)
    lines = [f"{f'/{row.word} {row.usage}':<{width}}  {row.help}" for row in rows]
    return lines if word else ["type a line to say it to the room; commands:", *lines]
