"""What an event is in words: the texts of the line front, as people on ``nc`` read them.

Whatever came from others is cleaned here: nothing of it can act on a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway.chat.text import clean_line
from gateway.client import (
    Ack,
    Action,
    ChatError,
    Error,
    Event,
    History,
    Joined,
    Left,
    Message,
    Missed,
    Notice,
    People,
    Private,
    Renamed,
    Rooms,
    Welcome,
)
from gateway.fronts import words

Words = list[str]


def plain(event: Event, me: str = "") -> Words:
    """The lines that tell ``event`` where there is no screen, without their ends.

    ``me`` is one's own name: what one did oneself reads otherwise.
    """
    if isinstance(event, Renamed) and event.to == me:
        return starred([words.own_name(event.to)])
    lines = _PLAIN.get(type(event), lambda _: [])(event)
    if isinstance(event, Message | Action) and event.history:
        return starred(f"{_clock(event.at)} {line}" for line in lines)
    return lines


def starred(lines: Any) -> Words:
    """As the server speaks to one person."""
    return [f"* {clean_line(line)}" for line in lines]


def sentences(answer: Event | ChatError) -> Words:
    """What an answer to a command says, without stars; nothing if events say it."""
    match answer:
        case People(room, people):
            return [words.people(_c(room), [*map(_c, people)])]
        case Rooms(rooms):
            return words.rooms((_c(count.room), count.people) for count in rooms)
        case History(lines=lines):
            old = (f"{_clock(line.at)} {_PLAIN[type(line)](line)[0]}" for line in lines)
            return [words.last(len(lines)), *old]
        case ChatError():
            return [clean_line(answer.text)]
        case _:
            return []


def welcome(event: Welcome) -> str:
    room, name = _c(event.room), _c(event.name)
    return f"welcome to {room}, {name}; {words.here(event.people)}; /help lists the commands"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M}"


_c = clean_line
_PLAIN: dict[type, Callable[[Any], Words]] = {
    Message: lambda e: [words.message(_c(e.sender), _c(e.text))],
    Action: lambda e: [words.action(_c(e.sender), _c(e.text))],
    Joined: lambda e: [words.joined(_c(e.sender))],
    Left: lambda e: [words.left(_c(e.sender))],
    Renamed: lambda e: [words.renamed(_c(e.sender), _c(e.to))],
    Private: lambda e: [words.private(_c(e.sender), _c(e.text))],
    Ack: lambda e: starred([words.delivered(e.to, e.text)] if e.kind == "msg" else []),
    Notice: lambda e: starred(e.text.split("\n")),
    Error: lambda e: starred(e.text.split("\n")),
    Missed: lambda _: starred([words.MISSED]),
    Welcome: lambda e: starred([welcome(e)]),
}
