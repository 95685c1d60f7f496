"""One flush of a room: its events encoded once, and on their way to many members.

Knows nothing about sockets or Redis, and not when a flush is due.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from gateway.chat.events import Envelope, SessionId, Told
from gateway.fronts import Encoding

_SLICE_MEMBERS = 1000
"""Members served in one iteration of the loop; more of them yield in between."""


class Member(Protocol):
    """Who can be sent something."""

    @property
    def session_id(self) -> SessionId: ...

    @property
    def encoding(self) -> Encoding: ...

    def send(self, data: bytes) -> None:
        """Never blocks and never fails; one that can't keep up ends itself."""
        ...


class Only(msgspec.Struct, frozen=True):
    """Bytes for one member, in their place among what the room gets."""

    session_id: SessionId
    data: bytes


Item = Envelope | Told | Only


class Part(msgspec.Struct, frozen=True):
    """What one member gets of a flush if it is not simply all of it: from where it joined."""

    start: int = 0
    greeting: bytes = b""


class Encoded:
    """Some items of a room, encoded once for each encoding that somebody reads."""

    __slots__ = ("_items", "_own", "_pieces", "_room", "_whole")

    def __init__(self, room: str, items: Sequence[Item]) -> None:
        self._room = room
        self._items = items
        self._pieces: dict[Encoding, list[bytes]] = {}
        self._whole: dict[Encoding, bytes] = {}
        self._own: dict[SessionId, list[int]] = {}
        for place, item in enumerate(items):
            if (session := _whose(item)) is not None:
                self._own.setdefault(session, []).append(place)

    @property
    def authors(self) -> Collection[SessionId]:
        """For whom something is encoded otherwise than for the rest."""
        return self._own.keys()

    def whole(self, encoding: Encoding) -> bytes:
        """All of them, for who gets all."""
        whole = self._whole.get(encoding)
        if whole is None:
            whole = self._whole[encoding] = b"".join(self._pieces_in(encoding))
        return whole

    def part(self, member: Member, part: Part) -> bytes:
        """What one member gets, its own items its own way."""
        encoding = member.encoding
        pieces = self._pieces_in(encoding)[part.start :]
        for place in self._own.get(member.session_id, ()):
            if place >= part.start:
                item = self._items[place]
                if isinstance(item, Only):
                    pieces[place - part.start] = item.data
                elif isinstance(item, Envelope):
                    pieces[place - part.start] = encoding.encode_own(item, self._room)
        return part.greeting + b"".join(pieces)

    def _pieces_in(self, encoding: Encoding) -> list[bytes]:
        """One for each item; what is for one member only is empty."""
        pieces = self._pieces.get(encoding)
        if pieces is None:
            pieces = self._pieces[encoding] = [
                b"" if isinstance(item, Only) else encoding.encode(item, self._room)
                for item in self._items
            ]
        return pieces


def _whose(item: Item) -> SessionId | None:
    """The session that gets it otherwise than the rest."""
    if isinstance(item, Envelope):
        return item.event.session if item.event else None
    return item.session_id if isinstance(item, Only) else None


class FanOut:
    """A flush on its way to those who get all of it, a slice of them at a time."""

    __slots__ = ("_at", "_encoded", "_everybody", "begun_at", "items")

    def __init__(
        self, items: Sequence[Item], everybody: list[Member], encoded: Encoded, begun_at: float
    ) -> None:
        self.items = items
        self.begun_at = begun_at
        self._everybody = everybody
        self._encoded = encoded
        self._at = 0

    def go_on(self) -> bool:
        """Serve the next slice.  Returns whether there are more."""
        begin, self._at = self._at, self._at + _SLICE_MEMBERS
        encoding, whole = None, b""
        for member in self._everybody[begin : self._at]:
            if member.encoding is not encoding:
                encoding = member.encoding
                whole = self._encoded.whole(encoding)
            member.send(whole)
        return self._at < len(self._everybody)

    def take_out(self, member: Member) -> bytes:
        """Serve this one no more.  Returns what it had still to get."""
        try:
            place = self._everybody.index(member, self._at)
        except ValueError:
            return b""  # it was served
        del self._everybody[place]
        return self._encoded.whole(member.encoding)
