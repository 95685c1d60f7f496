"""Ends what a dead gateway left behind: its memberships, then its names, then its lease.

Every step can be repeated, by this gateway or another one: the scripts refuse
what comes for a holder that is not one any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar, cast

from redis.asyncio import Redis

from gateway.broker.backoff import Backoff
from gateway.broker.calls import Unreachable
from gateway.broker.keys import Keys, inbox
from gateway.broker.outbox import Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reader import parse_member
from gateway.broker.registry import Ghost, Registry, parse_record
from gateway.chat.events import GatewayId, Left, SessionId
from gateway.ops.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")


class Reaper:
    """Reaps dead gateways one after the other, and single ghosts on demand."""

    def __init__(self, client: Redis, keys: Keys, publisher: Publisher, registry: Registry) -> None:
        self._client = client
        self._keys = keys
        self._publisher = publisher
        self._registry = registry
        self._jobs: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    def reap(self, gateway: GatewayId) -> None:
        """Have ``gateway`` reaped soon."""
        self._jobs.put_nowait(partial(self._reap, gateway))

    def evict(self, ghost: Ghost, done: Callable[[], None]) -> None:
        """End one membership, then free its name; ``done`` when both are confirmed."""
        self.end(
            ghost,
            lambda: self._registry.release(ghost.folded, ghost.holder, lambda _answer: done()),
        )

    def end(self, ghost: Ghost, done: Callable[[], None] = lambda: None) -> None:
        """End one membership, and leave its name alone; ``done`` when that is confirmed."""

        def told(outcome: Outcome, _offset: int) -> None:
            if outcome is Outcome.CONFIRMED:
                self._jobs.put_nowait(partial(self._count, ghost.room))
            done()

        event = Left(ghost.holder.session, ghost.name)
        self._publisher.submit(Operation(ghost.room, ghost.holder, event, told))

    async def run_forever(self) -> None:
        """Reap what is given, as long as the task lives."""
        while True:
            await self.run_once()

    async def run_once(self) -> None:
        """Do what is next, in as many attempts as it takes."""
        job = await self._jobs.get()
        backoff = Backoff()
        while True:
            try:
                await job()
                return
            except Unreachable as error:
                log.debug("reaping interrupted", error=str(error))
                await asyncio.sleep(backoff.next_s())

    async def _reap(self, gateway: GatewayId) -> None:
        """One attempt.  Raises one of ``Unreachable``."""
        if await self._client.zscore(self._keys.dying, gateway) is None:
            return  # somebody else has reaped it; it may even have come back
        held = await self._held(gateway)
        ended = 0
        for room in sorted({ghost.room for ghost in held}):
            ended += await self._empty(room, gateway, held)
        if held:
            await _each(
                lambda ghost, done: self._registry.release(
                    ghost.folded, ghost.holder, lambda _answer: done()
                ),
                held,
            )
        await self._registry.bury(gateway, dead=True)
        await self._client.unlink(*self._keys.room(inbox(gateway)))
        log.warning("reaped", dead=gateway, memberships=ended, names=len(held))

    async def _held(self, gateway: GatewayId) -> list[Ghost]:
        """The names that the dead gateway holds, with the room of each."""
        folded = cast("set[bytes]", await self._client.smembers(self._keys.holds(gateway)))
        if not folded:
            return []
        records = await self._client.hmget(self._keys.names, list(folded))
        found = [
            Ghost(key.decode(), *parse_record(cast(bytes, record)))
            for key, record in zip(folded, records, strict=True)
            if record is not None
        ]
        return [ghost for ghost in found if ghost.holder.gateway == gateway]

    async def _empty(self, room: str, gateway: GatewayId, held: Sequence[Ghost]) -> int:
        """End the memberships that the gateway holds in one room, and say so there.

        Also those of sessions that had come to it, whose join never did: they are the
        gateway's by name only, and by nobody else to be ended.
        """
        _, _, _, members = self._keys.room(room)
        table = cast("dict[bytes, bytes]", await self._client.hgetall(members))
        came = {ghost.holder.session: ghost.holder for ghost in held if ghost.room == room}
        lost = []
        for key, record in table.items():
            session = SessionId(key.decode())
            member = parse_member(session, record)
            newest = came.get(session, member.holder)
            if member.holder.gateway == gateway:
                lost.append(member)
            elif newest.generation > member.holder.generation:
                lost.append(replace(member, holder=newest))
        if lost:
            await _each(
                lambda member, done: self._publisher.submit(
                    Operation(
                        room,
                        member.holder,
                        Left(member.holder.session, member.name),
                        lambda _outcome, _offset: done(),
                    )
                ),
                lost,
            )
            await self._count(room)
        return len(lost)

    async def _count(self, room: str) -> None:
        """Let everybody know how many are left in a room that perhaps no gateway serves."""
        _, _, _, members = self._keys.room(room)
        self._registry.set_people(room, await self._client.hlen(members))


async def _each(begin: Callable[[T, Callable[[], None]], None], things: Sequence[T]) -> None:
    """Begin something with each of ``things``, and wait until all of it is done."""
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
