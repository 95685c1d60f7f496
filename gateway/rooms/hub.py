"""Local fan-out: which members on this gateway are in which room.

Knows nothing about sockets or Redis.  Never awaits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.chat.events import Envelope, SessionId, Told
from gateway.ops.histogram import EVENTS, Histogram
from gateway.rooms.fan_out import Encoded, FanOut, Item, Member, Only, Part

_FLUSH_BYTES = 65_536
"""Bytes of events in one flush of a room; what is over follows in the next one."""


_ALL = Part()


class _Room:
    __slots__ = (
        "fan_out",
        "members",
        "name",
        "parts",
        "pending",
        "pending_bytes",
        "pending_encoded",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[SessionId, Member] = {}
        self.pending: list[Item] = []
        self.pending_bytes = 0
        self.pending_encoded: Encoded | None = None  # for those who go before the flush
        self.parts: dict[SessionId, Part] = {}
        self.fan_out: FanOut | None = None  # while it is under way

    def encoded(self) -> Encoded:
        """What waits."""
        if self.pending_encoded is None:
            self.pending_encoded = Encoded(self.name, self.pending)
        return self.pending_encoded


class Hub:
    """Delivers each room's events to its local members, in order, one write a flush.

    All of one iteration of the loop is flushed at its end: what comes together is made
    to on the way here, by the publisher's cadence and the subscriber's pauses.
    """

    def __init__(
        self,
        *,
        most_bytes: int = 2**62,
        on_sent: Callable[[Sequence[Item]], None] = lambda _items: None,
        on_full: Callable[[bool], None] = lambda _full: None,
    ) -> None:
        """``on_sent`` is told what of a room was sent to its members.

        ``on_full(True)`` asks that no more be delivered, when over ``most_bytes`` of events
        wait; ``on_full(False)`` that it go on, when half of that does.
        """
        self._most_bytes = most_bytes
        self._on_sent = on_sent
        self._on_full = on_full
        self._full = False
        self._rooms: dict[str, _Room] = {}
        self._due: dict[_Room, None] = {}
        self._flushing = False  # in this iteration of the loop
        self.pending_bytes = 0
        """Of what was not sent to members yet."""
        self.deliveries = 0
        self.flush_events = Histogram(EVENTS)
        self.flush_s = Histogram()

    def join(self, room: str, member: Member, greeting: Told | None) -> None:
        """From here on the member gets what is delivered to the room; ``greeting`` first."""
        state = self._rooms.get(room)
        if state is None:
            state = self._rooms[room] = _Room(room)
        if before := state.members.get(member.session_id):
            before.send(self.remove(room, before))
        state.members[member.session_id] = member
        hello = member.encoding.encode(greeting, room) if greeting else b""
        state.parts[member.session_id] = Part(len(state.pending), hello)
        self._schedule(state)

    def remove(self, room: str, member: Member) -> bytes:
        """The member gets no more of the room.  Returns what was before, and not sent yet."""
        state = self._rooms.get(room)
        session_id = member.session_id
        if state is None or state.members.get(session_id) is not member:
            return b""
        self._schedule(state)  # it may have been the last one
        del state.members[session_id]
        part = state.parts.pop(session_id, None) or _ALL
        owed = state.fan_out.take_out(member) if state.fan_out else b""
        return owed + state.encoded().part(member, part)

    def tell(self, room: str, member: Member, item: Envelope | Told) -> bool:
        """Queue something for one member behind what it has still to get.

        False if there is nothing: then it can be sent at once.
        """
        state = self._rooms.get(room)
        if state is None or state.members.get(member.session_id) is not member:
            return False
        if not (state.pending or state.parts or state.fan_out):
            return False
        self.deliver(room, [Only(member.session_id, member.encoding.encode(item, room))])
        return True

    def deliver(self, room: str, items: Sequence[Item]) -> None:
        """Queue ``items`` for every member of ``room``.

        Never blocks and keeps the room's order.  Who caused an event gets what
        its encoding has for one's own events instead.
        """
        state = self._rooms.get(room)
        if state is not None:
            size_bytes = sum(map(_size, items))
            state.pending.extend(items)
            state.pending_encoded = None
            state.pending_bytes += size_bytes
            self.pending_bytes += size_bytes
            if self.pending_bytes > self._most_bytes and not self._full:
                self._full = True
                self._on_full(True)
            self._schedule(state)

    def flush(self) -> None:
        """Send what is pending in all rooms now."""
        self._flushing = False
        due, self._due = self._due, {}
        for state in due:
            self._send(state)

    def _schedule(self, state: _Room) -> None:
        """Something waits in a room: have it flushed at the end of the loop's iteration."""
        if state.fan_out:
            return  # looked at again when that is through
        self._due[state] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def _send(self, state: _Room) -> None:
        """One flush of a room; to many members in several turns of the loop."""
        begun_at = time.perf_counter()
        items, parts = self._take(state)
        encoded = Encoded(state.name, items)
        # Without items only those with a part get something: who just joined is greeted.
        rest = state.members.copy() if items else {s: state.members[s] for s in parts}
        for session_id in state.parts:
            rest.pop(session_id, None)  # joined behind this
        for session_id in encoded.authors:
            if session_id in rest:
                parts.setdefault(session_id, _ALL)
        self.deliveries += len(items) * len(rest)
        apart = {s: (rest.pop(s), part) for s, part in parts.items()}
        state.fan_out = FanOut(apart, list(rest.values()), encoded, begun_at)
        self._go_on(state, state.fan_out)

    def _go_on(self, state: _Room, fan_out: FanOut) -> None:
        if fan_out.go_on():
            asyncio.get_running_loop().call_soon(self._go_on, state, fan_out)
            return
        state.fan_out = None
        if items := fan_out.items:
            self.flush_events.observe(len(items))
            self.flush_s.observe(time.perf_counter() - fan_out.begun_at)
            self._on_sent(items)
        if self._full and self.pending_bytes <= self._most_bytes / 2:
            self._full = False
            self._on_full(False)
        if state.pending or state.parts:
            self._schedule(state)
        elif not state.members:
            del self._rooms[state.name]

    def _take(self, state: _Room) -> tuple[list[Item], dict[SessionId, Part]]:
        """What one flush sends, and who gets only a part of it.

        A long backlog goes out over several flushes: who reads is not to be cut
        off because Redis, or this gateway, was away for a while.
        """
        items, size = state.pending, state.pending_bytes
        if size <= _FLUSH_BYTES:
            state.pending = []
        else:
            cut, size = 0, 0
            while size < _FLUSH_BYTES:
                size += _size(items[cut])
                cut += 1
            items, state.pending = items[:cut], items[cut:]
        self.pending_bytes -= size
        state.pending_bytes -= size
        state.pending_encoded = None
        if not state.parts:
            return items, {}
        now, later = {}, {}
        for session_id, part in state.parts.items():
            if state.pending and part.start >= len(items):
                later[session_id] = Part(part.start - len(items), part.greeting)
            else:
                now[session_id] = part
        state.parts = later
        return items, now


def _size(item: Item) -> int:
    """Bytes, of what has a size before it is encoded."""
    if isinstance(item, Envelope):
        return len(item.raw)
    return len(item.data) if isinstance(item, Only) else 0
