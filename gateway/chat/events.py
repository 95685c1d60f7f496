"""What happens in rooms, and what one person is told.

An ``Event`` happened in a room and travels between gateways inside an
``Envelope``.  A ``Notice`` and its kin never travel: a gateway makes them for
its own members.  Knows no bytes but the JSON of an event's body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NewType

import msgspec

SessionId = NewType("SessionId", str)
GatewayId = NewType("GatewayId", str)


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Something that a session did in a room.  ``name`` is its name at that moment."""

    session: SessionId
    name: str


class Message(Event, frozen=True):
    """``NAME: TEXT``"""

    text: str


class Action(Event, frozen=True):
    """``** NAME TEXT``"""

    text: str


class Joined(Event, frozen=True):
    """``NAME joined the chat``"""


class Left(Event, frozen=True):
    """``NAME has left the chat``"""


class Renamed(Event, frozen=True):
    """``OLD is now known as NEW``; ``name`` is the old name."""

    new_name: str


RoomEvent = Message | Action | Joined | Left | Renamed


class Envelope(msgspec.Struct, frozen=True):
    """One event at its place in its room's log, as Redis published it.

    ``raw`` is the whole line as it stands in the log: two envelopes are the
    same event if and only if their lines are equal.  ``event`` is None for a
    kind of event that only a newer version knows: it has a place, no more.
    """

    offset: int
    epoch: str
    at_ms: int
    gateway: GatewayId
    batch: int
    index: int
    event: RoomEvent | None
    raw: bytes


class Notice(msgspec.Struct, frozen=True):
    """One line from the server to one person: ``* TEXT``."""

    text: str


class Said(msgspec.Struct, frozen=True):
    """One line of a room's history."""

    at_ms: int
    event: Message | Action


class Welcome(msgspec.Struct, frozen=True):
    """What a person is shown on becoming a member of a room.

    ``people`` counts everybody in the room, the newcomer included; ``names``
    holds their names unless they are too many to list.
    """

    name: str
    room: str
    people: int
    names: Sequence[str]
    history: Sequence[Said]


class Summary(msgspec.Struct, frozen=True):
    """Joins and leaves of a room with many people, summed up."""

    joined: int
    left: int


class Missed(msgspec.Struct, frozen=True):
    """Events of the room are gone and cannot be replayed to its members."""


class NamePrompt(msgspec.Struct, frozen=True):
    """The question for a name: the first thing that a line client sees."""


Told = Notice | Welcome | Summary | Missed | NamePrompt
"""What a front must be able to say to one person, besides room events."""


def decode_envelope(raw: bytes) -> Envelope:
    """One line of a log: ``OFFSET EPOCH AT_MS GATEWAY BATCH INDEX BODY``.

    Raises ``ValueError`` if it is no such line.
    """
    offset, epoch, at_ms, gateway, batch, index, body = raw.split(b" ", 6)
    try:
        event = decode_event(body)
    except msgspec.DecodeError:
        event = None
    return Envelope(
        int(offset),
        epoch.decode(),
        int(at_ms),
        GatewayId(gateway.decode()),
        int(batch),
        int(index),
        event,
        raw,
    )


_decoder: msgspec.json.Decoder[RoomEvent] = msgspec.json.Decoder(RoomEvent)
_encoder = msgspec.json.Encoder()


def encode_event(event: RoomEvent) -> bytes:
    """The event's body: one line of JSON without a line end."""
    return _encoder.encode(event)


def decode_event(body: bytes) -> RoomEvent:
    """The reverse of ``encode_event``.

    Raises ``msgspec.DecodeError`` (or its subclass ``ValidationError``).
    """
    return _decoder.decode(body)
