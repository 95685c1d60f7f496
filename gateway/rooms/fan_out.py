"""One flush of a room: its events encoded once, and on their way to many members.

Knows nothing about sockets or Redis, and not when a flush is due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


class Varied(msgspec.Struct, frozen=True):
    """Something told to all, but to some in another way, or (None) not at all."""

    item: Told
    to: Mapping[SessionId, Told | None]


Item = Envelope | Told | Only | Varied


class Part(msgspec.Struct, frozen=True):
    """What one member gets of a flush if it is not simply all of it: from where it joined."""

    start: int = 0
    greeting: bytes = b""


class Encoded:
    """Some items of a room, encoded once for each encoding that somebody reads."""

    __slots__ = ("_own", "_pieces", "_room", "_whole", "items")

    def __init__(self, room: str, items: Sequence[Item]) -> None:
        self._room = room
        self.items = items
        self._pieces: dict[Encoding, list[bytes]] = {}
        self._whole: dict[Encoding, bytes] = {}
        self._own: dict[SessionId, list[int]] = {}
        for place, item in enumerate(items):
            for session in _whose(item):
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
                item = self.items[place]
                if isinstance(item, Only):
                    pieces[place - part.start] = item.data
                elif isinstance(item, Envelope):
                    pieces[place - part.start] = encoding.encode_own(item, self._room)
                elif isinstance(item, Varied):
                    told = item.to[member.session_id]
                    pieces[place - part.start] = encoding.encode(told, self._room) if told else b""
        return part.greeting + b"".join(pieces)

    def _pieces_in(self, encoding: Encoding) -> list[bytes]:
        """One for each item; what is for one member only is empty."""
        pieces = self._pieces.get(encoding)
        if pieces is None:
            pieces = self._pieces[encoding] = [
                _for_the_rest(item, encoding, self._room) for item in self.items
            ]
        return pieces


def _whose(item: Item) -> Collection[SessionId]:
    """The sessions that get it otherwise than the rest."""
    if isinstance(item, Envelope):
        return (item.event.session,) if item.event else ()
    if isinstance(item, Only):
        return (item.session_id,)
    return item.to if isinstance(item, Varied) else ()


def _for_the_rest(item: Item, encoding: Encoding, room: str) -> bytes:
    if isinstance(item, Only):
        return b""
    return encoding.encode(item.item if isinstance(item, Varied) else item, room)


class FanOut:
    """A flush on its way to its members, a slice of them at a time."""

    __slots__ = ("_apart", "_at", "_encoded", "_everybody", "begun_at")

    def __init__(
        self,
        apart: dict[SessionId, tuple[Member, Part]],
        everybody: list[Member],
        encoded: Encoded,
        begun_at: float,
    ) -> None:
        """``everybody`` gets all of it; those ``apart`` get their part."""
        self.begun_at = begun_at
        self._apart = apart
        self._everybody = everybody
        self._encoded = encoded
        self._at = 0

    @property
    def items(self) -> Sequence[Item]:
        """What of the room it is."""
        return self._encoded.items

    def go_on(self) -> bool:
        """Serve the next slice.  Returns whether there are more."""
        left = _SLICE_MEMBERS
        while self._apart and left:
            _, (member, part) = self._apart.popitem()
            if own := self._encoded.part(member, part):
                member.send(own)
            left -= 1
        begin, self._at = self._at, self._at + left
        encoding, whole = None, b""
        for member in self._everybody[begin : self._at]:
            if member.encoding is not encoding:
                encoding = member.encoding
                whole = self._encoded.whole(encoding)
            member.send(whole)
        return bool(self._apart) or self._at < len(self._everybody)

    def take_out(self, member: Member) -> bytes:
        """Serve this one no more.  Returns what it had still to get."""
        if apart := self._apart.pop(member.session_id, None):
            return self._encoded.part(*apart)
        try:
            place = self._everybody.index(member, self._at)
        except ValueError:
            return b""  # it was served
        del self._everybody[place]
        return self._encoded.whole(member.encoding)
