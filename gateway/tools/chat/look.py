"""How things look on the screen: colours, times, and lines that fit its columns.

Knows no keys and no connection.  What came from others is cleaned in here.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from wcwidth import wcswidth, wrap

from gateway.chat.text import clean_line, fold_name
from gateway.client import Ack, Action, Event, Joined, Left, Message, Private, Renamed
from gateway.fronts.words import own_name
from gateway.tools.chat.words import plain

Fragments = list[tuple[str, str]]
"""Pieces of text with the class of each, as prompt_toolkit takes them."""

_COLOURS = [
    f"ansi{bright}{colour}"
    for bright in ("", "bright")
    for colour in ("red", "green", "yellow", "blue", "magenta", "cyan")
]
STYLE = {
    "time": "dim",
    "own": "bold",
    "mention": "bold reverse",
    "private": "italic",
    "notice": "dim",
    "coming": "dim",
    "pending": "dim",
    "question": "bold",
    "chosen": "reverse",
    "status": "reverse",
    **{f"name{number}": colour for number, colour in enumerate(_COLOURS)},
}
_TIME_COLUMNS = 6
_LEAST_TEXT_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One line above the input: what stands before the text, and the text with its class."""

    before: tuple[tuple[str, str], ...]
    text: str
    style: str = ""
    calls: bool = False
    """Somebody means you: the bell rings."""


def name_style(name: str) -> str:
    """The class of a name: always the same one, on every screen."""
    number = zlib.crc32(fold_name(name).encode(errors="replace")) % len(_COLOURS)
    return f"class:name{number}"


def mentions(text: str, name: str) -> bool:
    """Whether ``name`` is said in ``text``, as a word, whatever the case."""
    word = rf"(?<![\w.-]){re.escape(fold_name(name))}(?![\w-])"
    return re.search(word, fold_name(text)) is not None


def lines_of(event: Event, me: str) -> list[Line]:
    """How ``event`` looks to ``me``."""
    match event:
        case Message() | Action():
            return [_spoken(event, me)]
        case Ack() if event.kind:
            return [_own(event, me)]
        case Private():
            sender = clean_line(event.sender)
            name = (name_style(sender), sender)
            before = (_time(event.at), name, ("class:private", " (private): "))
            return [Line(before, clean_line(event.text), "class:private", calls=True)]
        case Joined() | Left() | Renamed():
            if isinstance(event, Renamed) and event.to == me:
                return told([own_name(event.to)])
            return [Line((_time(event.at),), plain(event)[0], "class:coming")]
        case _:
            return [_told(line) for line in plain(event)]


def told(sentences: list[str]) -> list[Line]:
    """What is said to this person alone."""
    return [_told(f"* {clean_line(sentence)}") for sentence in sentences]


def waiting(kind: str, fields: dict[str, str | int], me: str) -> str:
    """A line that is not confirmed yet."""
    text = clean_line(str(fields.get("text", "")))
    match kind:
        case "me":
            return f"** {me} {text}"
        case "msg":
            return f"{me} to {clean_line(str(fields['to']))}: {text}"
        case _:
            return f"{me}: {text}"


def laid_out(line: Line, columns: int) -> Fragments:
    """The fragments of a line for a screen of so many columns; continuations are indented.

    Addresses of pages are not broken: one can copy them.
    """
    used = sum(max(wcswidth(text), 0) for _, text in line.before)
    rows = [line.text]
    if columns - 1 - used >= _LEAST_TEXT_COLUMNS:
        rows = wrap(
            line.text,
            columns - 1,
            initial_indent=" " * used,
            subsequent_indent=" " * _TIME_COLUMNS,
            control_codes="ignore",
            expand_tabs=False,
            break_on_hyphens=False,
            break_long_words="://" not in line.text,
            propagate_sgr=False,
        ) or [""]
        rows[0] = rows[0][used:]
    return [*line.before, (line.style, "\n".join(rows))]


def _spoken(event: Message | Action, me: str) -> Line:
    sender, text = clean_line(event.sender), clean_line(event.text)
    name = (name_style(sender), sender)
    before: tuple[tuple[str, str], ...] = (name, ("", ": "))
    if isinstance(event, Action):
        before = (("", "** "), name, ("", " "))
    if event.history:
        return Line((_time(event.at), *before), text, "class:notice")
    calls = mentions(text, me)
    return Line((_time(event.at), *before), text, "class:mention" if calls else "", calls=calls)


def _own(ack: Ack, me: str) -> Line:
    name = ("class:own", clean_line(me))
    before: tuple[tuple[str, str], ...]
    if ack.kind == "msg":
        to = clean_line(ack.to)
        before = (name, ("", " to "), (name_style(to), to), ("", ": "))
        return Line((_time(), *before), clean_line(ack.text), "class:private")
    before = (("", "** "), name, ("", " ")) if ack.kind == "me" else (name, ("", ": "))
    return Line((_time(), *before), clean_line(ack.text))


def _told(text: str) -> Line:
    return Line((_time(),), text, "class:notice")


def _time(at: datetime | None = None) -> tuple[str, str]:
    at = (at or datetime.now(UTC)).astimezone()
    return ("class:time", f"{at:%H:%M} ")
