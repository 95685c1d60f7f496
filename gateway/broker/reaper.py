"""Ends what a dead gateway left behind: its memberships, then its names, then its lease.

Every step can be repeated, by this gateway or another one: the scripts refuse
what comes for a holder that is not one any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import Unreachable, cancellable, of_wrong_type
from gateway.broker.keys import Keys, inbox
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Membership, parse_membership
from gateway.broker.registry import Ghost, Registry, parse_record
from gateway.chat.events import GatewayId, Left, SessionId
from gateway.ops.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_AT_ONCE = 4
"""Gateways reaped at once: each takes a connection now and then."""
_PATIENCE_S = 60.0
"""A room that takes no event for so long does not keep a gateway's names, and its lease."""


class Reaper:
    """Reaps dead gateways, each whatever becomes of the others, and single ghosts on demand."""

    def __init__(self, client: Redis, keys: Keys, publisher: Publisher, registry: Registry) -> None:
        self._client = client
        self._keys = keys
        self._publisher = publisher
        self._registry = registry
        self._dead: asyncio.Queue[GatewayId] = asyncio.Queue()
        self._reaping: set[GatewayId] = set()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._uncounted: asyncio.Queue[str] = asyncio.Queue()

    def reap(self, gateway: GatewayId) -> None:
        """Have ``gateway`` reaped soon; it is said again of one that takes long."""
        if gateway not in self._reaping:
            self._reaping.add(gateway)
            self._dead.put_nowait(gateway)

    def evict(self, ghost: Ghost, done: Callable[[], None]) -> None:
        """End one membership, then free its name; ``done`` when both are confirmed."""
        self.end(ghost, partial(self._release, ghost, done))

    def end(self, ghost: Ghost, done: Callable[[], None] = lambda: None) -> None:
        """End one membership, and leave its name alone; ``done`` when that is confirmed."""

        def told(outcome: Outcome, _offset: int) -> None:
            if outcome is Outcome.CONFIRMED:
                self._uncounted.put_nowait(ghost.room)
            done()

        self._say_left(ghost.room, ghost.holder, ghost.name, told)

    def _say_left(
        self, room: str, holder: Holder, name: str, told: Callable[[Outcome, int], None]
    ) -> None:
        self._publisher.submit(Operation(room, holder, Left(holder.session, name), told))

    def _release(self, ghost: Ghost, done: Callable[[], None]) -> None:
        self._registry.release(ghost.folded, ghost.holder, lambda _answer: done())

    async def run_forever(self) -> None:
        """Reap what is given, as long as the task lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._count_forever())
            while True:
                tasks.create_task(self.reap_one(await self._dead.get()))

    async def reap_one(self, gateway: GatewayId) -> None:
        """Reap a dead gateway, in as many attempts as it takes."""
        async with self._at_once:
            await _repeat(partial(self._reap, gateway))
        self._reaping.discard(gateway)

    async def _count_forever(self) -> None:
        while True:
            await self.count_one()

    async def count_one(self) -> None:
        """Count a room in which a ghost was ended."""
        await _repeat(partial(self._count, await self._uncounted.get()))

    async def _reap(self, gateway: GatewayId) -> None:
        """One attempt.  Raises one of ``Unreachable``."""
        if await self._client.zscore(self._keys.dying, gateway) is None:
            return  # somebody else has reaped it; it may even have come back
        held = await self._held(gateway)
        rooms = sorted({ghost.room for ghost in held})
        lost = [each for room in rooms for each in await self._lost(room, gateway, held)]
        # Of all rooms at once: one that takes nothing does not keep the others waiting.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await _each(self._end_membership, lost)
        for room in sorted({room for room, _ in lost}):
            await self._count(room)
        await _each(self._release, held)
        await self._registry.bury(gateway, dead=True)
        await self._client.unlink(*self._keys.room(inbox(gateway)))
        log.warning("reaped", dead=gateway, memberships=len(lost), names=len(held))

    async def _held(self, gateway: GatewayId) -> list[Ghost]:
        """The names that the dead gateway holds, with the room of each."""
        folded = cast("set[bytes]", await self._client.smembers(self._keys.holds(gateway)))
        if not folded:
            return []
        records = await self._client.hmget(self._keys.names, list(folded))
        found = []
        for key, record in zip(folded, records, strict=True):
            with contextlib.suppress(ValueError):  # what somebody else wrote is nobody's
                if record is not None:
                    found.append(Ghost(key.decode(), *parse_record(cast(bytes, record))))
        return [ghost for ghost in found if ghost.holder.gateway == gateway]

    async def _lost(
        self, room: str, gateway: GatewayId, held: Sequence[Ghost]
    ) -> list[tuple[str, Membership]]:
        """The memberships that the gateway holds in one room.

        Also those of sessions that had come to it, whose join never did: they are the
        gateway's by name only, and by nobody else to be ended.
        """
        _, _, _, members = self._keys.room(room)
        try:
            table = cast("dict[bytes, bytes]", await self._client.hgetall(members))
            found = [
                parse_membership(SessionId(key.decode()), value) for key, value in table.items()
            ]
        except (ResponseError, ValueError) as error:
            if isinstance(error, ResponseError) and not of_wrong_type(error):
                raise
            # What somebody else wrote there must not keep the gateway's names for ever.
            log.warning("members unreadable", room=room, error=str(error))
            return []
        came = {ghost.holder.session: ghost.holder for ghost in held if ghost.room == room}
        lost = []
        for member in found:
            newest = came.get(member.holder.session, member.holder)
            if member.holder.gateway == gateway:
                lost.append((room, member))
            elif newest.generation > member.holder.generation:
                lost.append((room, replace(member, holder=newest)))
        return lost

    def _end_membership(self, lost: tuple[str, Membership], done: Callable[[], None]) -> None:
        room, member = lost
        self._say_left(room, member.holder, member.name, lambda _outcome, _offset: done())

    async def _count(self, room: str) -> None:
        """Let everybody know how many are left in a room that perhaps no gateway serves."""
        _, _, _, members = self._keys.room(room)
        self._registry.set_people(room, await self._client.hlen(members))


async def _repeat(job: Callable[[], Awaitable[None]]) -> None:
    """Do it, in as many attempts as it takes until Redis does it."""
    backoff, told = Backoff(), False
    while True:
        try:
            with cancellable():
                await job()
            return
        except Unreachable as error:
            if isinstance(error, ResponseError) and not told:
                told = True
                log.warning("reaping refused, trying on", error=str(error))
            await asyncio.sleep(backoff.next_s())


async def _each(begin: Callable[[T, Callable[[], None]], None], things: Sequence[T]) -> None:
    """Begin something with each of ``things``, and wait until all of it is done."""
    if not things:
        return
    left = len(things)
    all_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done() -> None:
        nonlocal left
        left -= 1
        if not left and not all_done.done():
            all_done.set_result(None)

    for thing in things:
        begin(thing, done)
    await all_done
