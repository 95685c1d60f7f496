"""Events that local clients caused and Redis has not yet confirmed.

Pure logic: decides what is sent next, in which numbered batch, and who is told
what became of it.  Knows no Redis and no clock.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from gateway.chat.events import (
    Action,
    GatewayId,
    Joined,
    Left,
    Message,
    Private,
    Renamed,
    Replaced,
    Returned,
    RoomEvent,
    SessionId,
    encode_event,
)

_NOBODY = GatewayId("")
_OVERHEAD_BYTES = 128
"""What an operation costs besides its event's body, in the outbox and on the wire."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds a membership or a name.  A newer generation fences the older ones off."""

    gateway: GatewayId
    session: SessionId
    generation: int


class Verb(enum.StrEnum):
    """What an operation does to the room; see ``scripts/publish.lua``."""

    SAY = "say"
    JOIN = "join"
    KEEP = "keep"
    LEAVE = "leave"
    RENAME = "rename"
    POST = "post"


_VERBS: dict[type, Verb] = {
    Message: Verb.SAY,
    Action: Verb.SAY,
    Joined: Verb.JOIN,
    Left: Verb.LEAVE,
    Renamed: Verb.RENAME,
    Private: Verb.POST,
    Replaced: Verb.POST,
    Returned: Verb.POST,
}


_MORTAL = (Message, Action, Private)


class Outcome(enum.IntEnum):
    """What became of an operation.  Each is told exactly one.

    An int, since every line is counted by it, and the hash of other enums is Python's work.
    """

    CONFIRMED = enum.auto()
    """Done.  Its event has an offset now, if it made one."""
    REPEATED = enum.auto()
    """The session had said this ref before, at that offset."""
    REFUSED = enum.auto()
    """Redis did nothing: the membership is not held (any more)."""
    NOT_DELIVERED = enum.auto()
    """Past its deadline and certainly never applied."""
    NOT_CONFIRMED = enum.auto()
    """It may have been applied, or may still be: past its deadline, sent, and unanswered;
    or under a ref so old that nobody knows any more."""


class Operation(msgspec.Struct, eq=False):
    """One thing to be done to a room.  ``told(outcome, offset)`` is called once.

    ``offset`` is the event's place in the log; of what was done without an event, that of
    the last one before it; else 0.
    ``taken_from`` is known by then: the other gateway whose membership this
    one took over, or ''.
    """

    room: str
    holder: Holder
    event: RoomEvent
    told: Callable[[Outcome, int], None]
    submitted_at: float = 0.0
    silent: bool = False
    taken_from: GatewayId = _NOBODY
    finished: bool = False
    """Whether it was told what became of it."""
    body: bytes = b""
    """The event, encoded."""
    place: tuple[int, int] = (0, 0)
    """The number of the batch that carries it, and its index there."""

    def __post_init__(self) -> None:
        self.body = encode_event(self.event)

    @property
    def verb(self) -> Verb:
        return Verb.KEEP if self.silent else _VERBS[type(self.event)]

    @property
    def membership(self) -> str:
        """The member's record once this is done, as in ``scripts/publish.lua``."""
        event, holder = self.event, self.holder
        name = event.new_name if isinstance(event, Renamed) else event.name
        return f"{holder.gateway} {holder.generation} {name}"

    @property
    def ref(self) -> int:
        return getattr(self.event, "ref", 0)

    @property
    def mortal(self) -> bool:
        """Whether it has a deadline: what people say does, what they are does not."""
        return isinstance(self.event, _MORTAL)

    @property
    def size_bytes(self) -> int:
        return len(self.body) + _OVERHEAD_BYTES


def whatever(_outcome: Outcome, _offset: int) -> None:
    """Nobody waits to be told."""


class Batch(msgspec.Struct, frozen=True, eq=False):
    """What one call carries.  Repeated under its number until it is answered.

    ``epoch`` is the log it is meant for, or '' for whichever there is.
    """

    room: str
    number: int
    epoch: str
    operations: tuple[Operation, ...]
    size_bytes: int


class _Queue:
    """One room's part of the outbox."""

    __slots__ = ("epoch", "paused", "refused", "restoring", "unanswered", "unsure", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Operation] = deque()
        self.restoring: deque[Operation] = deque()  # goes before all that waits
        self.unanswered: Batch | None = None
        self.unsure = False  # the unanswered batch may have been applied
        self.epoch = ""
        self.paused = False  # until the room's log is known again
        self.refused = False  # until it is tried again


class Outbox:
    """All rooms' queues; at most one unanswered batch a room."""

    def __init__(
        self,
        *,
        batch_bytes: int,
        deadline_s: float,
        on_finished: Callable[[Outcome], None] = lambda _outcome: None,
    ) -> None:
        """``on_finished`` is told of each operation's outcome, before who submitted it."""
        self._on_finished = on_finished
        self._batch_bytes = batch_bytes
        self._deadline_s = deadline_s
        self._queues: dict[str, _Queue] = {}
        self._ready: dict[str, None] = {}  # rooms with something to send, in turn
        self._number = 0  # of the last batch; no room sees one twice, or out of order
        self.size_bytes = 0

    def __len__(self) -> int:
        return sum(1 for _ in self._operations())

    def _operations(self) -> Iterator[Operation]:
        for queue in self._queues.values():
            if queue.unanswered:
                yield from queue.unanswered.operations
            yield from queue.restoring
            yield from queue.waiting

    @property
    def ready(self) -> Collection[str]:
        """The rooms with something to send."""
        return self._ready.keys()

    def submit(self, operation: Operation) -> None:
        """Queue one operation behind the others of its room.  The caller holds the cap."""
        queue = self._queue(operation.room)
        queue.waiting.append(operation)
        self.size_bytes += operation.size_bytes
        self._ready[operation.room] = None

    def serve(self, room: str, epoch: str, restore: Iterable[Operation] = ()) -> None:
        """The room's log is the one called ``epoch``; ``restore`` goes before all that waits."""
        queue = self._queue(room)
        queue.epoch, queue.paused = epoch, False
        for operation in restore:
            queue.restoring.append(operation)
            self.size_bytes += operation.size_bytes
        self._ready[room] = None

    def forget(self, room: str) -> None:
        """The gateway no longer serves the room; what is queued for it still goes out."""
        queue = self._queues.get(room)
        if queue:
            queue.epoch, queue.paused = "", False
            self._ready[room] = None
            self._drop_if_empty(room, queue)

    def next_batches(self, max_bytes: int) -> list[Batch]:
        """What to send now, of at most about ``max_bytes``, rooms taking turns.

        One call at a time: afterwards each batch is to be ``answered``, ``failed``, ``lost`` or
        told ``other_log``.
        """
        batches: list[Batch] = []
        budget = max_bytes
        for room in list(self._ready):
            if budget <= 0:
                break
            del self._ready[room]
            queue = self._queues.get(room)
            if queue is None or queue.paused or queue.refused:
                continue
            batch = queue.unanswered or self._new_batch(room, queue)
            if batch:
                batches.append(batch)
                budget -= batch.size_bytes
        return batches

    def answered(self, batch: Batch, results: Iterable[bytes]) -> None:
        """Redis applied the batch; ``results`` as in ``scripts/publish.lua``."""
        self._done(batch)
        for operation, result in zip(batch.operations, results, strict=True):
            if result.isdigit() and result != b"0":
                self._finish(operation, Outcome.CONFIRMED, int(result))
                continue
            match result[:1], result[1:]:
                case b"=", offset:
                    self._finish(operation, Outcome.REPEATED, int(offset))
                case b"-", offset:
                    self._finish(operation, Outcome.CONFIRMED, int(offset))
                case b"~", taken:
                    offset, _, gateway = taken.partition(b":")
                    operation.taken_from = GatewayId(gateway.decode())
                    self._finish(operation, Outcome.CONFIRMED, int(offset))
                case b"?", _:
                    self._finish(operation, Outcome.NOT_CONFIRMED)
                case b"0", _:
                    self._finish(operation, Outcome.REFUSED)
                case _:
                    raise ValueError(f"unexpected answer of publish.lua: {result!r}")

    def failed(self, batch: Batch) -> None:
        """Redis never got it: nothing was applied.  To be sent again."""
        queue = self._queues[batch.room]
        if not queue.unsure:
            self._put_back(queue)
        self._ready[batch.room] = None

    def refused(self, batch: Batch) -> None:
        """Redis answered with an error: nothing was applied.  To be sent after ``try_again``."""
        self.failed(batch)
        del self._ready[batch.room]
        self._queues[batch.room].refused = True

    def try_again(self, room: str) -> bool:
        """Send what Redis refused before.  False if there is nothing any more."""
        queue = self._queues.get(room)
        if queue is None:
            return False
        queue.refused = False
        self._ready[room] = None
        return True

    def lost(self, batch: Batch) -> None:
        """No answer came: it may have been applied.  To be repeated under its number."""
        self._queues[batch.room].unsure = True
        self._ready[batch.room] = None

    def other_log(self, batch: Batch) -> bool:
        """The room's log is another one, and nothing was applied to it.

        Waits for ``serve`` if the gateway serves the room, and says so by
        returning True.  What may have been applied to the log that is gone is
        not said again: its readers may have it.
        """
        queue = self._queues[batch.room]
        gone_for_good = batch.epoch == "" and queue.epoch == ""  # and nobody makes another one
        if not queue.unsure and not gone_for_good:
            self._put_back(queue)
        else:
            unsure = queue.unsure
            over = [o for o in batch.operations if o.mortal or gone_for_good]
            self._put_first(queue, [o for o in batch.operations if o not in over])
            self._done(batch)
            for operation in over:
                said = unsure and operation.mortal
                self._finish(operation, Outcome.NOT_CONFIRMED if said else Outcome.REFUSED)
            if gone_for_good:
                return False
        # A newer log may have become known while the call was on its way.
        queue.paused = batch.epoch == queue.epoch
        if not queue.paused:
            self._ready[batch.room] = None
        return queue.paused

    def expire(self, now: float) -> None:
        """Tell the senders of what is past its deadline; what people did not say has none.

        A batch on its first way to Redis is left alone: how that ends is known soon,
        and then there is a truth to tell.
        """
        before = now - self._deadline_s
        for room, queue in list(self._queues.items()):
            late = [o for o in queue.waiting if o.mortal and o.submitted_at <= before]
            if late:
                gone = set(map(id, late))
                queue.waiting = deque(o for o in queue.waiting if id(o) not in gone)
                self.size_bytes -= sum(operation.size_bytes for operation in late)
            batch = queue.unanswered if queue.unsure else None
            for operation in batch.operations if batch else ():
                if operation.mortal and operation.submitted_at <= before:
                    self._finish(operation, Outcome.NOT_CONFIRMED)
            for operation in late:
                self._finish(operation, Outcome.NOT_DELIVERED)
            self._drop_if_empty(room, queue)

    def _finish(self, operation: Operation, outcome: Outcome, offset: int = 0) -> None:
        if operation.finished:
            return
        operation.finished = True
        self._on_finished(outcome)
        # Who is told may hold the operation: no circle is left for the garbage collector.
        told, operation.told = operation.told, whatever
        told(outcome, offset)

    def _queue(self, room: str) -> _Queue:
        queue = self._queues.get(room)
        if queue is None:
            queue = self._queues[room] = _Queue()
        return queue

    def _new_batch(self, room: str, queue: _Queue) -> Batch | None:
        chosen: list[Operation] = []
        size = 0
        while (source := queue.restoring or queue.waiting) and (
            not chosen or size < self._batch_bytes
        ):
            operation = source.popleft()
            operation.place = (self._number + 1, len(chosen))
            chosen.append(operation)
            size += operation.size_bytes
        if not chosen:
            return None
        self._number += 1
        queue.unsure = False
        queue.unanswered = Batch(room, self._number, queue.epoch, tuple(chosen), size)
        return queue.unanswered

    def _done(self, batch: Batch) -> None:
        queue = self._queues[batch.room]
        queue.unanswered, queue.unsure = None, False
        self.size_bytes -= batch.size_bytes
        if queue.waiting or queue.restoring:
            self._ready[batch.room] = None
        self._drop_if_empty(batch.room, queue)

    def _drop_if_empty(self, room: str, queue: _Queue) -> None:
        empty = not (queue.epoch or queue.unanswered or queue.waiting or queue.restoring)
        # Who was told in between may have begun another queue for the room.
        if empty and self._queues.get(room) is queue:
            del self._queues[room]

    def _put_back(self, queue: _Queue) -> None:
        """An unanswered batch that was certainly not applied becomes waiting again."""
        batch, queue.unanswered, queue.unsure = queue.unanswered, None, False
        if batch:
            self.size_bytes -= batch.size_bytes
            self._put_first(queue, batch.operations)

    def _put_first(self, queue: _Queue, operations: Iterable[Operation]) -> None:
        again = tuple(operations)
        queue.waiting.extendleft(reversed(again))
        self.size_bytes += sum(operation.size_bytes for operation in again)
