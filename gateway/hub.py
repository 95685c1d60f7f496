"""Local fan-out: which members on this gateway are in which room.

Knows nothing about sockets or Redis.  Never awaits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.chat.events import Envelope, SessionId, Told
from gateway.fronts import Encoding
from gateway.ops.histogram import EVENTS, Histogram

_SLICE_MEMBERS = 1000
"""Members served in one iteration of the loop; more of them yield in between."""


@dataclass(frozen=True, slots=True)
class Only:
    """Something for one member, in its place among what the room gets."""

    session_id: SessionId
    item: Told


_FLUSH_BYTES = 65_536
"""Bytes of events in one flush of a room; what is over follows in the next one."""

Item = Envelope | Told | Only


class Member(Protocol):
    """Who can be sent something."""

    @property
    def session_id(self) -> SessionId: ...

    @property
    def encoding(self) -> Encoding: ...

    def send(self, data: bytes) -> None:
        """Never blocks and never fails; one that can't keep up ends itself."""
        ...


class _Part:
    """What one member gets of a flush if it is not simply all of it."""

    __slots__ = ("end", "greeting", "start")

    def __init__(self, start: int = 0, greeting: Told | None = None) -> None:
        self.start = start
        self.end: int | None = None
        self.greeting = greeting

    def after(self, cut: int) -> _Part:
        """What is left of it when the first ``cut`` items are gone."""
        rest = _Part(max(self.start - cut, 0), self.greeting if self.start >= cut else None)
        rest.end = None if self.end is None else self.end - cut
        return rest


class _Encoded:
    """Some items of a room, encoded once for each encoding that somebody reads."""

    __slots__ = ("_items", "_pieces", "_room", "whole")

    def __init__(self, room: str, items: Sequence[Item]) -> None:
        self._room = room
        self._items = items
        self._pieces: dict[Encoding, list[bytes]] = {}
        self.whole = _Whole(self)
        """All of them, for who gets all."""

    def pieces(self, encoding: Encoding) -> list[bytes]:
        """One for each item; what is for one member only is empty."""
        pieces = self._pieces.get(encoding)
        if pieces is None:
            pieces = self._pieces[encoding] = [
                b"" if isinstance(item, Only) else encoding.encode(item, self._room)
                for item in self._items
            ]
        return pieces

    def part(self, session_id: SessionId, member: Member, part: _Part) -> bytes:
        """What one member gets, from where it joined to where it left, and its own its own way.

        ``session_id`` is the one under which it joined; it may have another one by now.
        """
        encoding, room = member.encoding, self._room
        chosen = [encoding.encode(part.greeting, room)] if part.greeting else []
        mine = slice(part.start, part.end)
        for item, piece in zip(self._items[mine], self.pieces(encoding)[mine], strict=True):
            if isinstance(item, Envelope) and item.event and item.event.session == session_id:
                chosen.append(encoding.encode_own(item, room))
            elif isinstance(item, Only) and item.session_id == session_id:
                chosen.append(encoding.encode(item.item, room))
            else:
                chosen.append(piece)
        return b"".join(chosen)


class _Whole(dict[Encoding, bytes]):
    """Joined when somebody needs it, and only once."""

    def __init__(self, encoded: _Encoded) -> None:
        self._encoded = encoded

    def __missing__(self, encoding: Encoding) -> bytes:
        whole = self[encoding] = b"".join(self._encoded.pieces(encoding))
        return whole


class _FanOut:
    """A flush on its way to those who get all of it, a slice of them at a time."""

    __slots__ = ("_at", "_everybody", "_whole", "begun_at", "items")

    def __init__(
        self, items: Sequence[Item], everybody: list[Member], whole: _Whole, begun_at: float
    ) -> None:
        self.items = items
        self.begun_at = begun_at
        self._everybody = everybody
        self._whole = whole
        self._at = 0

    def go_on(self) -> bool:
        """Serve the next slice.  Returns whether there are more."""
        whole = self._whole
        begin, self._at = self._at, self._at + _SLICE_MEMBERS
        for member in self._everybody[begin : self._at]:
            member.send(whole[member.encoding])
        return self._at < len(self._everybody)

    def take_out(self, member: Member) -> bytes:
        """Serve this one no more.  Returns what it had still to get."""
        try:
            place = self._everybody.index(member, self._at)
        except ValueError:
            return b""  # it was served
        del self._everybody[place]
        return self._whole[member.encoding]


class _Room:
    __slots__ = ("fan_out", "members", "parts", "pending")

    def __init__(self) -> None:
        self.members: dict[SessionId, Member] = {}
        self.pending: list[Item] = []
        self.parts: dict[SessionId, _Part] = {}
        self.fan_out: _FanOut | None = None  # while it is under way


class Hub:
    """Delivers each room's events to its local members, in order, one write a flush.

    The first event after a quiet moment is flushed at the end of the loop's
    iteration.  Under load a flush waits until ``window_s`` after the last one, for
    one write costs as much for many events as for one; but no longer than until
    ``enough`` wait in a room, since then there is little more to be saved.
    """

    def __init__(
        self,
        *,
        window_s: float,
        enough: int,
        on_sent: Callable[[Sequence[Item]], None] = lambda _items: None,
    ) -> None:
        """``on_sent`` is told what of a room was sent to its members."""
        self._window_s = window_s
        self._enough = enough
        self._on_sent = on_sent
        self._rooms: dict[str, _Room] = {}
        self._dirty: dict[str, None] = {}
        self._timer: asyncio.Handle | None = None
        self._soon = False  # the timer is due in this iteration of the loop
        self._flushed_at = 0.0
        self.deliveries = 0
        self.flush_events = Histogram(EVENTS)
        self.flush_s = Histogram()

    def join(self, room: str, member: Member, greeting: Told | None) -> None:
        """From here on the member gets what is delivered to the room; ``greeting`` first."""
        state = self._rooms.get(room)
        if state is None:
            state = self._rooms[room] = _Room()
        if member.session_id in state.members:
            # It left a moment ago: what it is owed from before goes first.
            member.send(self.remove(room, member.session_id))
        state.members[member.session_id] = member
        state.parts[member.session_id] = _Part(len(state.pending), greeting)
        self._mark(room)

    def leave(self, room: str, session_id: SessionId) -> None:
        """The member gets what was delivered before, and nothing that comes after."""
        state = self._rooms.get(room)
        if state is None or session_id not in state.members:
            return
        part = state.parts.setdefault(session_id, _Part())
        if part.end is None:
            part.end = len(state.pending)
            self._mark(room)

    def remove(self, room: str, session_id: SessionId) -> bytes:
        """The member is gone at once.  Returns what it had still to get."""
        state = self._rooms.get(room)
        if state is None or session_id not in state.members:
            return b""
        self._mark(room)  # it may have been the last one
        member = state.members.pop(session_id)
        part = state.parts.pop(session_id, None) or _Part()
        owed = state.fan_out.take_out(member) if state.fan_out else b""
        return owed + _Encoded(room, state.pending).part(session_id, member, part)

    def tell(self, room: str, session_id: SessionId, item: Told) -> bool:
        """Queue something for one member behind what it has still to get.

        False if there is nothing: then it can be sent at once.
        """
        state = self._rooms.get(room)
        if state is None or session_id not in state.members:
            return False
        if room not in self._dirty and state.fan_out is None:
            return False
        state.pending.append(Only(session_id, item))
        self._mark(room)
        return True

    def deliver(self, room: str, items: Iterable[Item]) -> None:
        """Queue ``items`` for every member of ``room``.

        Never blocks and keeps the room's order.  Who caused an event gets what
        its encoding has for one's own events instead.
        """
        state = self._rooms.get(room)
        if state is not None:
            state.pending.extend(items)
            self._mark(room, at_once=len(state.pending) >= self._enough)

    def flush(self) -> None:
        """Send what is pending in all rooms now."""
        if self._timer:
            self._timer.cancel()
        self._timer, self._soon = None, False
        dirty, self._dirty = self._dirty, {}
        for room in dirty:
            state = self._rooms[room]
            if state.fan_out:
                self._dirty[room] = None  # after the one under way
            else:
                self._send(room, state)
        self._flushed_at = asyncio.get_running_loop().time()

    def _mark(self, room: str, *, at_once: bool = False) -> None:
        self._dirty[room] = None
        if self._soon or (self._timer and not at_once):
            return
        loop = asyncio.get_running_loop()
        due = self._flushed_at + self._window_s
        if at_once or due <= loop.time():
            if self._timer:
                self._timer.cancel()
            self._timer, self._soon = loop.call_soon(self.flush), True
        else:
            self._timer = loop.call_at(due, self.flush)

    def _send(self, room: str, state: _Room) -> None:
        """One flush of a room; to many members in several turns of the loop."""
        begun_at = time.perf_counter()
        items, parts = self._take(state)
        encoded = _Encoded(room, items)
        rest = state.members.copy()
        for session_id in state.parts:
            del rest[session_id]  # joined after this, or left
        for session_id, part in parts.items():
            member = rest.pop(session_id, None) or state.members[session_id]
            if own := encoded.part(session_id, member, part):
                member.send(own)
            if part.end is not None:
                del state.members[session_id]
        if items:
            self.deliveries += len(items) * (len(rest) + len(parts))
            state.fan_out = _FanOut(items, list(rest.values()), encoded.whole, begun_at)
        self._go_on(room, state)

    def _go_on(self, room: str, state: _Room) -> None:
        if fan_out := state.fan_out:
            if fan_out.go_on():
                asyncio.get_running_loop().call_soon(self._go_on, room, state)
                return
            state.fan_out = None
            self.flush_events.observe(len(fan_out.items))
            self.flush_s.observe(time.perf_counter() - fan_out.begun_at)
            self._on_sent(fan_out.items)
        if state.pending or room in self._dirty:
            self._mark(room)
        elif not state.members:
            self._rooms.pop(room, None)

    def _take(self, state: _Room) -> tuple[list[Item], dict[SessionId, _Part]]:
        """What one flush sends, and who gets only a part of it.

        A long backlog goes out over several flushes: who reads is not to be cut
        off because Redis, or this gateway, was away for a while.
        """
        cut, size = 0, 0
        for item in state.pending:
            if size >= _FLUSH_BYTES:
                break
            size += len(item.raw) if isinstance(item, Envelope) else 0
            cut += 1
        items, state.pending = state.pending[:cut], state.pending[cut:]
        now: dict[SessionId, _Part] = {}
        later: dict[SessionId, _Part] = {}
        for session_id, part in state.parts.items():
            if state.pending and part.start >= cut:
                later[session_id] = part.after(cut)
            elif part.end is None or part.end <= cut:
                now[session_id] = part
            else:
                now[session_id] = _Part(part.start, part.greeting)
                later[session_id] = part.after(cut)
        state.parts = later
        for item in items:
            if isinstance(item, Envelope) and item.event is not None:
                author = item.event.session
            elif isinstance(item, Only):
                author = item.session_id
            else:
                continue
            if author in state.members and author not in now:
                now[author] = _Part()
        return items, now
