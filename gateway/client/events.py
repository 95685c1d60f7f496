"""What a gateway says to a program: one frozen struct for each type of line.

Knows how a line is spelt, and nothing of connections or of what came before.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Anything that ``async for event in chat`` can give."""


class Welcome(Event, frozen=True):
    """You are in ``room`` as ``name``; comes again after each reconnect and each ``join``.

    ``offset`` is the room's last event at that moment and ``people`` how many are there.
    """

    name: str
    room: str
    offset: int
    epoch: str
    people: int


class RoomEvent(Event, frozen=True):
    """Something that somebody did in the room.

    ``offset`` is its place in the room's log; it means nothing in another ``epoch``.
    ``at`` is in UTC.  ``history`` marks what was said before you came.
    """

    room: str
    offset: int
    epoch: str
    sender: str = msgspec.field(name="from")
    at: datetime


class Message(RoomEvent, frozen=True):
    text: str
    history: bool = False


class Action(RoomEvent, frozen=True):
    """``/me``: ``sender`` does what ``text`` says."""

    text: str
    history: bool = False


class Joined(RoomEvent, frozen=True):
    pass


class Left(RoomEvent, frozen=True):
    pass


class Renamed(RoomEvent, frozen=True):
    """``sender`` is called ``to`` from now on; it may be yourself."""

    to: str


class Private(Event, frozen=True):
    """Said to you alone, by somebody in whatever room."""

    sender: str = msgspec.field(name="from")
    to: str
    text: str
    at: datetime


class Notice(Event, frozen=True):
    """A sentence from the server to you.

    In a room of many people comings and goings are only counted: ``joined``, ``left``.
    """

    text: str
    joined: int = 0
    left: int = 0


class Missed(Event, frozen=True):
    """Events are gone that nobody can give you any more, here in the order of things."""

    room: str = ""


class Ack(Event, frozen=True):
    """Your own line, in the place that it has in the room's log.

    ``kind`` (``say``, ``me`` or ``msg``), ``text`` and ``to`` are those of the request.
    ``offset`` is 0 for a ``msg``, which is in no room.
    """

    ref: str
    offset: int = 0
    kind: str = ""
    text: str = ""
    to: str = ""


class Error(Event, frozen=True):
    """What was wrong with something you sent, if it is not raised where you sent it."""

    code: str
    text: str
    ref: str = ""


class Pong(Event, frozen=True):
    pass


class People(Event, frozen=True):
    """The answer to ``who``."""

    room: str
    people: tuple[str, ...]


class RoomCount(msgspec.Struct, frozen=True):
    room: str
    people: int


class Rooms(Event, frozen=True):
    """The answer to ``rooms``."""

    rooms: tuple[RoomCount, ...]


class History(Event, frozen=True):
    """The answer to ``history``: ``count`` lines, the oldest first."""

    count: int
    lines: tuple[Message | Action, ...] = ()


class Lost(Event, frozen=True):
    """Said by the library: the connection ended.  It tries again; a ``Welcome`` follows."""

    why: str


_Line = (
    Welcome
    | Message
    | Action
    | Joined
    | Left
    | Renamed
    | Private
    | Notice
    | Missed
    | Ack
    | Error
    | Pong
    | People
    | Rooms
    | History
)
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def decode(line: bytes) -> Event | None:
    """The event that a line tells; None for one that only a newer client knows."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
