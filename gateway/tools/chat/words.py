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

Words = list[str]


def plain(event: Event) -> Words:
    """The lines that tell ``event`` where there is no screen, without their ends."""
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
            here = ", ".join(map(clean_line, people))
            return [f"{len(people)} in {clean_line(room)}: {here}"]
        case Rooms(rooms):
            width = max((len(str(count.people)) for count in rooms), default=0)
            lines = (f"{count.people:>{width}}  {clean_line(count.room)}" for count in rooms)
            return ["people and rooms:", *lines]
        case ChatError():
            return [clean_line(answer.text)]
        case _:
            return []


def welcome(event: Welcome) -> str:
    people = "you are alone here" if event.people <= 1 else f"{event.people} people are here"
    room, name = clean_line(event.room), clean_line(event.name)
    return f"welcome to {room}, {name}; {people}; /help lists the commands"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M}"


_c = clean_line
_PLAIN: dict[type, Callable[[Any], Words]] = {
    Message: lambda e: [f"{_c(e.sender)}: {_c(e.text)}"],
    Action: lambda e: [f"** {_c(e.sender)} {_c(e.text)}"],
    Joined: lambda e: [f"{_c(e.sender)} joined the chat"],
    Left: lambda e: [f"{_c(e.sender)} has left the chat"],
    Renamed: lambda e: [f"{_c(e.sender)} is now known as {_c(e.to)}"],
    Private: lambda e: [f"{_c(e.sender)} (private): {_c(e.text)}"],
    Ack: lambda e: starred([f"to {e.to}: {e.text}"] if e.kind == "msg" else []),
    Notice: lambda e: starred(e.text.split("\n")),
    Error: lambda e: starred(e.text.split("\n")),
    Missed: lambda _: ["* some messages were missed"],
    Welcome: lambda e: starred([welcome(e)]),
}
