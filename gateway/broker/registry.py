"""Names of this gateway's sessions in the cluster's registry.

All claims and releases that wait travel in one script call; one call at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import BURY, REGISTRY, Call, Unreachable, call
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder
from gateway.chat.events import GatewayId, SessionId
from gateway.config import Config
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_CALL_OPERATIONS = 500


@dataclass(frozen=True, slots=True)
class Granted:
    """The name is the session's; its memberships carry this generation.

    ``before`` is the gateway on which the same session held it until now, in
    ``room``, where it stays; both are '' if it did not.
    """

    generation: int
    before: GatewayId
    room: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody else holds the name."""


@dataclass(frozen=True, slots=True)
class Ghost:
    """Who holds the name sits on a gateway that fell silent.

    It can be claimed after the membership was ended and the name released.
    """

    folded: str
    holder: Holder
    room: str
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """Who holds the name, on a living gateway."""

    holder: Holder
    room: str
    name: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Nobody holds the name."""


@dataclass(frozen=True, slots=True)
class RoomCounts:
    """Rooms and how many people are in each, biggest first."""

    rooms: tuple[tuple[str, int], ...]


Answer = Granted | Taken | Ghost | Found | Absent | RoomCounts


@dataclass(slots=True, eq=False)
class _Request:
    verb: str
    folded: str
    holder: Holder
    room: str
    name: str
    answered: Callable[[Answer], None] | None
    wanted: Callable[[], bool] | None = None
    unsure: bool = False  # no answer came: it may have been done

    def still_of_use(self) -> bool:
        """False for a claim that nobody wants any more; one that may have been done is undone."""
        if self.wanted is None or self.wanted():
            return True
        if not self.unsure:
            return False
        self.verb, self.answered, self.wanted = "forgo", None, None
        return True


class Registry:
    """Claims and releases names; every request is repeated until it is answered."""

    def __init__(self, client: Redis, keys: Keys, config: Config, gateway: GatewayId) -> None:
        self._client = client
        self._keys = keys
        self._config = config
        self._gateway = gateway
        self._nobody = Holder(gateway, SessionId(""), 0)
        self._waiting: deque[_Request] = deque()
        self._number = 0  # of the last call
        self._refused = False
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def claim(
        self,
        folded: str,
        name: str,
        session: SessionId,
        generation: int,
        room: str,
        answered: Callable[[Answer], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Ask for ``name``; ``answered`` is called once, in a later iteration of the loop.

        Not if it is no longer ``wanted`` when Redis can be asked: the session
        may have gone on elsewhere since.

        ``generation`` is the one that the session's memberships carry, or 0 for
        a new one.  Claiming a name that the session holds already only sets its
        spelling and room.
        """
        holder = Holder(self._gateway, session, generation)
        self._submit(_Request("claim", folded, holder, room, name, answered, wanted))

    def release(
        self, folded: str, holder: Holder, answered: Callable[[Answer], None] | None = None
    ) -> None:
        """Free the name, if exactly ``holder`` has it."""
        self._submit(_Request("release", folded, holder, "", "", answered))

    def find(self, folded: str, answered: Callable[[Answer], None]) -> None:
        """Ask who holds a name: ``Found`` or ``Absent``."""
        self._submit(_Request("find", folded, self._nobody, "", "", answered))

    def rooms(self, most: int, answered: Callable[[Answer], None]) -> None:
        """Ask for the ``most`` biggest rooms: ``RoomCounts``."""
        holder = Holder(self._gateway, SessionId(""), most)
        self._submit(_Request("rooms", "", holder, "", "", answered))

    def set_people(self, room: str, people: int) -> None:
        """Let everybody know how many are in a room."""
        holder = Holder(self._gateway, SessionId(""), people)
        self._submit(_Request("people", "", holder, room, "", None))

    async def bury(self, gateway: GatewayId, *, dead: bool = False) -> None:
        """End a gateway's lease; one that is ``dead`` only while it is being reaped.

        Raises one of ``Unreachable``.
        """
        keys = self._keys
        where = (keys.beats, keys.dying, keys.gateways, keys.holds(gateway), keys.calls)
        args = (gateway, "dead" if dead else "")
        await call(self._client, [Call(BURY, where, args)])

    async def drained(self) -> None:
        """Wait until nothing is left to ask."""
        await self._drained.wait()

    def _submit(self, request: _Request) -> None:
        self._waiting.append(request)
        self._drained.clear()
        self._wake.set()

    async def run_forever(self) -> None:
        """Ask what waits, as long as the task lives."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if await self._run_once():
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next_s())
            self._drained.set()

    async def _run_once(self) -> bool:
        """One call.  False if some of it waits for Redis or for the gateway's lease."""
        gateway = self._waiting[0].holder.gateway
        requests: list[_Request] = []
        while (
            self._waiting
            and self._waiting[0].holder.gateway == gateway
            and len(requests) < _CALL_OPERATIONS
        ):
            request = self._waiting.popleft()
            if request.still_of_use():
                requests.append(request)
        if not requests:
            return True
        try:
            (replies,) = await call(self._client, [self._call(gateway, requests)])
        except Unreachable:
            for request in requests:
                request.unsure = True
            self._waiting.extendleft(reversed(requests))
            return False
        if isinstance(replies, RedisError):
            if not self._refused:
                log.warning("registry refused", error=str(replies))
            self._refused = True
            self._waiting.extendleft(reversed(requests))
            return False
        self._refused = False
        again = []
        for request, reply in zip(requests, replies, strict=True):
            if reply == b"wait":
                again.append(request)
            elif request.answered:
                request.answered(_answer(request.folded, reply))
        self._waiting.extendleft(reversed(again))
        return not again

    def _call(self, gateway: GatewayId, requests: list[_Request]) -> Call:
        keys = self._keys
        self._number += 1
        args: list[str | bytes | int] = [
            gateway,
            self._config.silent_ticks,
            self._config.retention_s,
            self._gateway,
            self._number,
        ]
        for request in requests:
            holder = request.holder
            args += (
                request.verb,
                request.folded,
                holder.session,
                holder.generation,
                request.room,
                request.name,
            )
        held = keys.holds(gateway)
        where = (keys.names, keys.clock, keys.beats, held, keys.rooms, keys.calls)
        return Call(REGISTRY, where, args)


def _answer(folded: str, reply: bytes) -> Answer:
    verdict, _, rest = reply.partition(b" ")
    match verdict:
        case b"ok":
            generation, before, room = f"{rest.decode()} ".split(" ")[:3]
            return Granted(int(generation), GatewayId(before), room)
        case b"taken":
            return Taken()
        case b"ghost":
            return Ghost(folded, *parse_record(rest))
        case b"found":
            return Found(*parse_record(rest))
        case b"absent":
            return Absent()
        case b"rooms":
            words = rest.decode().split()
            return RoomCounts(tuple(zip(words[::2], map(int, words[1::2]), strict=True)))
    raise ValueError(f"unexpected answer of registry.lua: {reply!r}")


def parse_record(record: bytes) -> tuple[Holder, str, str]:
    """A name's record, ``GATEWAY SESSION GENERATION ROOM NAME``: its holder, room and name."""
    gateway, session, generation, room, name = record.decode().split(" ")
    return Holder(GatewayId(gateway), SessionId(session), int(generation)), room, name
