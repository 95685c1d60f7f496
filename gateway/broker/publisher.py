"""Sends the outbox to Redis: one pipeline at a time, repeated until it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from redis.exceptions import RedisError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import PUBLISH, Call, Caller, NotSent, Unreachable, of_wrong_type
from gateway.broker.flood import Flood
from gateway.broker.keys import Keys
from gateway.broker.outbox import Batch, Operation, Outbox, Outcome
from gateway.cadence import Cadence
from gateway.chat.events import GatewayId
from gateway.config import Config
from gateway.ops.histogram import Histogram
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_PIPELINE_BATCHES_BYTES = 4
"""A pipeline carries as many bytes as this many full batches."""
_ROOMS_KNOWN = 4096
"""For so many rooms keys are not made anew for each call."""
_EXPIRE_S = 1.0
"""How long after its deadline a line can be told of, at most."""


class Publisher:
    """Owns the outbox, and all that is written to rooms goes through it.

    ``on_other_log(room)`` is called when a room's log turns out to be another
    one; its events wait until ``outbox.serve`` is called for it.  For more
    ``people()`` an operation waits longer for others, as the config's pace says.
    """

    def __init__(
        self,
        caller: Caller,
        keys: Keys,
        config: Config,
        gateway: GatewayId,
        on_other_log: Callable[[str], None],
        *,
        people: Callable[[], int] = lambda: 0,
    ) -> None:
        self.outbox = Outbox(
            batch_bytes=config.batch_bytes,
            deadline_s=config.publish_deadline,
            on_finished=self._count,
        )
        self.retries = 0
        self.submitted = 0
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.answered_s = Histogram()
        """From an operation's submission to Redis's answer."""
        self._caller = caller
        self._keys = keys
        self._config = config
        self._gateway = gateway
        self._on_other_log = on_other_log
        self._refused: dict[str, Backoff] = {}  # rooms of which Redis takes nothing now
        self._of_room = lru_cache(_ROOMS_KNOWN)(self._words)
        self._wake = asyncio.Event()
        self._cadence = Cadence(config.publish_pace, people, self._wake.set)
        self.flood = Flood(config, self.outbox, self._cadence, people)
        self._drained = asyncio.Event()
        self._drained.set()

    def submit(self, operation: Operation) -> None:
        operation.submitted_at = time.monotonic()
        self.submitted += 1
        self.flood.lines += operation.mortal
        self.outbox.submit(operation)
        self._drained.clear()
        self._cadence.one_more()

    def _count(self, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1

    def _answered(self, batch: Batch, results: list[bytes]) -> None:
        now = time.monotonic()
        for operation in batch.operations:
            if not operation.finished:
                self.answered_s.observe(now - operation.submitted_at)
        self.outbox.answered(batch, results)

    def serve(self, room: str, epoch: str, restore: list[Operation]) -> None:
        """The room's log is known; see ``Outbox.serve``."""
        self.outbox.serve(room, epoch, restore)
        self._look_if_drained()
        self._wake.set()

    def forget(self, room: str) -> None:
        self.outbox.forget(room)
        self._wake.set()

    async def drained(self) -> None:
        """Wait until nothing is left to send."""
        await self._drained.wait()

    def _look_if_drained(self) -> None:
        if self.outbox.size_bytes:
            self._drained.clear()
        else:
            self._drained.set()

    async def run_forever(self) -> None:
        """Send what waits, as long as the task lives."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flood.gather()
            if await self.run_once():
                backoff.reset()
            else:
                self.retries += 1
                await asyncio.sleep(backoff.next_s())
                self._wake.set()
            self._look_if_drained()
            too_much = self.outbox.ready and not self._cadence.count  # for one pipeline
            if too_much or self.flood.on:
                self._wake.set()

    async def expire_forever(self) -> None:
        """Look at the deadlines, as long as the task lives; also while Redis is waited for."""
        while True:
            await asyncio.sleep(min(_EXPIRE_S, self._config.publish_deadline / 4))
            self.outbox.expire(time.monotonic())
            self._look_if_drained()

    async def run_once(self) -> bool:
        """One pipeline.  False if Redis takes nothing now, and there is to be a pause."""
        self._cadence.taken()
        try:
            # Before anything is taken: what waits can be told that it was not delivered.
            await self._caller.reach()
        except NotSent:
            return False
        batches = self.outbox.next_batches(self._config.batch_bytes * _PIPELINE_BATCHES_BYTES)
        if not batches:
            return True
        try:
            replies = await self._caller.call([self._call(batch) for batch in batches])
        except NotSent:
            for batch in batches:
                self.outbox.failed(batch)
            return False
        except Unreachable:
            for batch in batches:
                self.outbox.lost(batch)
            return False
        good, takes_some = True, not all(isinstance(reply, RedisError) for reply in replies)
        for batch, reply in zip(batches, replies, strict=True):
            if isinstance(reply, RedisError):
                self._complain(batch.room, reply)
                if takes_some or of_wrong_type(reply):
                    self._put_off(batch)
                else:
                    self.outbox.failed(batch)
                    good = False
            elif reply == b"epoch":
                if self.outbox.other_log(batch):
                    self._on_other_log(batch.room)
            else:
                self._refused.pop(batch.room, None)
                self._answered(batch, reply.split())
        return good

    def _complain(self, room: str, error: RedisError) -> None:
        """Say once that Redis does not take a room's events, until it does again."""
        if room not in self._refused:
            self._refused[room] = Backoff()
            log.warning("publish refused", room=room, error=str(error))

    def _put_off(self, batch: Batch) -> None:
        """It is the room: try again now and then, and have no other one wait for it."""
        self.retries += 1
        self.outbox.refused(batch)
        wait_s = self._refused[batch.room].next_s()
        asyncio.get_running_loop().call_later(wait_s, self._try_again, batch.room)

    def _try_again(self, room: str) -> None:
        if self.outbox.try_again(room):
            self._wake.set()
        else:
            self._refused.pop(room, None)

    def _call(self, batch: Batch) -> Call:
        keys, constant = self._of_room(batch.room)
        args: list[str | bytes | int] = [batch.number, batch.epoch, *constant]
        now = time.monotonic()
        for operation in batch.operations:
            args += (
                operation.verb,
                operation.holder.session,
                operation.membership,
                operation.ref,
                max(0, int((now - operation.submitted_at) * 1000)),
                operation.body,
            )
        return Call(PUBLISH, keys, args)

    def _words(self, room: str) -> tuple[Sequence[str], Sequence[str]]:
        """What is the same in each call for a room: keys and arguments."""
        config, keys = self._config, self._keys
        constant = (
            keys.channel(room),
            self._gateway,
            config.log_length,
            config.history_length,
            config.retention_s,
            config.batch_memory_s,
            keys.refs(room),
            config.refs_kept,
            config.refs_s,
        )
        return keys.room(room), tuple(map(str, constant))
