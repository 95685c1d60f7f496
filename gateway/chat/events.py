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


Ref = int | str
"""How a program counts what it asks for; 0 or '' if it does not.

A number, but for a request that is not done: that is answered under whatever was given."""


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Something that a session did in a room.  ``name`` is its name at that moment."""

    session: SessionId
    name: str


class Message(Event, frozen=True, omit_defaults=True):
    """``NAME: TEXT``; ``ref`` is how its sender counts it, 0 if it does not."""

    text: str
    ref: int = 0


class Action(Event, frozen=True, omit_defaults=True):
    """``** NAME TEXT``"""

    text: str
    ref: int = 0


class Joined(Event, frozen=True):
    """``NAME joined the chat``"""


class Left(Event, frozen=True):
    """``NAME has left the chat``"""


class Renamed(Event, frozen=True):
    """``OLD is now known as NEW``; ``name`` is the old name."""

    new_name: str


class Private(Event, frozen=True, omit_defaults=True):
    """``NAME (private): TEXT`` to one session, in the log of that session's gateway.

    One that was sent after its session has no ``ref`` any more (that counts where it was
    first posted), but the gateway that it came from, and its ref there.
    """

    to_session: SessionId
    to: str
    text: str
    ref: int = 0
    origin: GatewayId = GatewayId("")
    said_ref: int = 0


class Returned(Event, frozen=True, omit_defaults=True):
    """A private line of this session that found nobody; in the log of its gateway.

    ``said_ref`` is the line's; what is returned can be so in any order.
    """

    text: str
    said_ref: int = 0


class Replaced(Event, frozen=True):
    """The session went on elsewhere; in the log of the gateway that had it."""

    generation: int


Spoken = Message | Action
"""What people say to a room."""

RoomEvent = Message | Action | Joined | Left | Renamed | Private | Returned | Replaced


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
    event: RoomEvent | None
    raw: bytes

    @property
    def place(self) -> bytes:
        """``BATCH INDEX``, by which its gateway knows it again."""
        return b" ".join(self.raw.split(b" ", 6)[4:6])


class Notice(msgspec.Struct, frozen=True):
    """One line from the server to one person: ``* TEXT``.

    ``code`` is there for programs if something was refused, and stays the
    same when the text changes; ``ref`` is then that of the request.
    """

    text: str
    code: str = ""
    ref: Ref = 0


class Said(msgspec.Struct, frozen=True):
    """One line of a room's history."""

    room: str
    envelope: Envelope


class Welcome(msgspec.Struct, frozen=True):
    """What a person is shown on becoming a member of a room.

    What happens after ``offset`` follows.  ``people`` counts everybody in the
    room, the newcomer included; ``names`` holds their names unless they are
    too many to list.
    """

    name: str
    room: str
    epoch: str
    offset: int
    people: int
    names: Sequence[str]
    history: Sequence[Said]


class People(msgspec.Struct, frozen=True):
    """Who is in a room: the answer to ``/who``."""

    room: str
    names: Sequence[str]


class RoomList(msgspec.Struct, frozen=True):
    """Rooms and how many people are in each: the answer to ``/rooms``."""

    rooms: Sequence[tuple[str, int]]


class History(msgspec.Struct, frozen=True):
    """What was said in the room, oldest first: the answer to ``/history``."""

    lines: Sequence[Said]


class Delivered(msgspec.Struct, frozen=True):
    """Something of this person has its place in a log.

    ``to`` is who got it if it was private, '' if it went to the room.
    """

    to: str
    text: str
    ref: int
    offset: int


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""


class Summary(msgspec.Struct, frozen=True):
    """Joins and leaves of a room with many people, summed up."""

    joined: int
    left: int


class Missed(msgspec.Struct, frozen=True):
    """Events of the room are gone and cannot be replayed to its members."""


class NamePrompt(msgspec.Struct, frozen=True):
    """The question for a name: the first thing that a line client sees."""


Told = (
    Notice
    | Welcome
    | People
    | RoomList
    | History
    | Delivered
    | Pong
    | Summary
    | Missed
    | NamePrompt
)
"""What a front must be able to say to one person, besides room events."""


def decode_envelope(raw: bytes) -> Envelope:
    """One line of a log: ``OFFSET EPOCH AT_MS GATEWAY BATCH INDEX BODY``.

    ``AT_MS`` is when a gateway accepted it, in ms since 1970 by Redis's clock.

    Raises ``ValueError`` if it is no such line.
    """
    offset, epoch, at_ms, gateway, _batch, _index, body = raw.split(b" ", 6)
    try:
        event = decode_event(body)
    except msgspec.DecodeError:
        event = None
    return Envelope(
        int(offset),
        epoch.decode(),
        int(at_ms),
        GatewayId(gateway.decode()),
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
