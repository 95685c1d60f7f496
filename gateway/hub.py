"""Local fan-out: which members on this gateway are in which room.

Knows nothing about sockets or Redis.  Never awaits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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


class _Room:
    __slots__ = ("members", "parts", "pending", "sending")

    def __init__(self) -> None:
        self.members: dict[SessionId, Member] = {}
        self.pending: list[Item] = []
        self.parts: dict[SessionId, _Part] = {}
        self.sending: Iterator[None] | None = None  # a large fan-out under way


class Hub:
    """Delivers each room's events to its local members, in order, one write a flush.

    The first event after a quiet moment is flushed at the end of the loop's
    iteration; under load a flush happens at most every ``window_s``.
    """

    def __init__(
        self, *, window_s: float, on_sent: Callable[[Sequence[Item]], None] = lambda _items: None
    ) -> None:
        """``on_sent`` is told what of a room was sent to its members."""
        self._window_s = window_s
        self._on_sent = on_sent
        self._rooms: dict[str, _Room] = {}
        self._dirty: dict[str, None] = {}
        self._timer: asyncio.Handle | None = None
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
        if state.sending is not None:
            self._go_on(room, state, to_the_end=True)
        self._mark(room)  # it may have been the last one
        member = state.members.pop(session_id)
        part = state.parts.pop(session_id, None) or _Part()
        pieces = [self._encode(member.encoding, item, room) for item in state.pending]
        return _own_part(room, session_id, member, part, state.pending, pieces)

    def tell(self, room: str, session_id: SessionId, item: Told) -> bool:
        """Queue something for one member behind what it has still to get.

        False if there is nothing: then it can be sent at once.
        """
        state = self._rooms.get(room)
        if state is None or session_id not in state.members:
            return False
        if room not in self._dirty and state.sending is None:
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
            self._mark(room)

    def flush(self) -> None:
        """Send what is pending in all rooms now."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        dirty, self._dirty = self._dirty, {}
        for room in dirty:
            state = self._rooms[room]
            if state.sending is not None:
                self._dirty[room] = None  # after the one under way
                continue
            state.sending = self._send(room, state)
            self._go_on(room, state)
        self._flushed_at = asyncio.get_running_loop().time()

    def _mark(self, room: str) -> None:
        self._dirty[room] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = self._flushed_at + self._window_s
            if due <= loop.time():
                self._timer = loop.call_soon(self.flush)
            else:
                self._timer = loop.call_at(due, self.flush)

    def _go_on(self, room: str, state: _Room, *, to_the_end: bool = False) -> None:
        if state.sending is None:
            return  # somebody needed it to be through
        for _ in state.sending:
            if not to_the_end:
                asyncio.get_running_loop().call_soon(self._go_on, room, state)
                return
        state.sending = None
        if room in self._dirty or state.pending:
            self._mark(room)
        elif not state.members:
            self._rooms.pop(room, None)

    def _send(self, room: str, state: _Room) -> Iterator[None]:
        """One flush of a room.

        Yields after each slice of members, so that the loop can go on.
        """
        begun_at = time.perf_counter()
        items, parts = self._take(state)
        pieces: dict[Encoding, list[bytes]] = {}
        whole: dict[Encoding, bytes] = {}

        def encoded(encoding: Encoding) -> list[bytes]:
            if encoding not in pieces:
                pieces[encoding] = [self._encode(encoding, item, room) for item in items]
                whole[encoding] = b"".join(pieces[encoding])
            return pieces[encoding]

        for session_id, part in parts.items():
            member = state.members[session_id]
            own = _own_part(room, session_id, member, part, items, encoded(member.encoding))
            if own:
                member.send(own)
            if part.end is not None:
                del state.members[session_id]
        if not items:
            return
        everybody = [m for s, m in state.members.items() if s not in parts and s not in state.parts]
        self.deliveries += len(items) * (len(everybody) + len(parts))
        members = iter(everybody)
        while some := list(islice(members, _SLICE_MEMBERS)):
            for member in some:
                encoding = member.encoding
                if encoding not in whole:
                    encoded(encoding)
                member.send(whole[encoding])
            if len(some) == _SLICE_MEMBERS:
                yield
        self.flush_events.observe(len(items))
        self.flush_s.observe(time.perf_counter() - begun_at)
        self._on_sent(items)

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

    @staticmethod
    def _encode(encoding: Encoding, item: Item, room: str) -> bytes:
        return b"" if isinstance(item, Only) else encoding.encode(item, room)


def _own_part(
    room: str,
    session_id: SessionId,
    member: Member,
    part: _Part,
    items: list[Item],
    pieces: list[bytes],
) -> bytes:
    """What one member gets: from where it joined to where it left, its own events its own way.

    ``session_id`` is the one under which it joined; the member may have another one by now.
    """
    encoding = member.encoding
    chosen = [encoding.encode(part.greeting, room)] if part.greeting else []
    mine = slice(part.start, part.end)
    for item, piece in zip(items[mine], pieces[mine], strict=True):
        if isinstance(item, Envelope) and item.event and item.event.session == session_id:
            chosen.append(encoding.encode_own(item, room))
        elif isinstance(item, Only) and item.session_id == session_id:
            chosen.append(encoding.encode(item.item, room))
        else:
            chosen.append(piece)
    return b"".join(chosen)
