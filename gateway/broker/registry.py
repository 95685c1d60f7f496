"""Names of this gateway's sessions in the cluster's registry.

All claims and releases that wait travel in one script call; one call at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import RedisError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import BURY, REGISTRY, Call, Caller, NotSent, Unreachable
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder
from gateway.cadence import Cadence
from gateway.chat.events import GatewayId, SessionId
from gateway.config import Config
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_CALL_OPERATIONS = 500


class Granted(msgspec.Struct, frozen=True):
    """``name`` is the session's; its memberships carry this generation.

    To a session that comes again, name and room are those that it had, whatever it asked for.
    """

    generation: int
    room: str
    name: str


class Taken(msgspec.Struct, frozen=True):
    """Somebody else holds the name."""


class Ghost(msgspec.Struct, frozen=True):
    """A name and a membership that nobody stands behind: both are to be ended.

    Its gateway fell silent; or its session came here, and was gone before it was answered.
    """

    folded: str
    holder: Holder
    room: str
    name: str


class Found(msgspec.Struct, frozen=True):
    """Who holds the name, on a living gateway."""

    holder: Holder
    room: str
    name: str


class Absent(msgspec.Struct, frozen=True):
    """Nobody holds the name."""


class RoomCounts(msgspec.Struct, frozen=True):
    """Rooms and how many people are in each, biggest first."""

    rooms: tuple[tuple[str, int], ...]


class Done(msgspec.Struct, frozen=True):
    """It is done, or somebody else's by now."""


Answer = Granted | Taken | Ghost | Found | Absent | RoomCounts | Done


class _Request(msgspec.Struct, eq=False):
    verb: str
    folded: str
    holder: Holder
    room: str
    name: str
    answered: Callable[[Any], None] | None
    wanted: Callable[[], bool] | None = None
    unsure: bool = False  # it was sent, and not answered: it may have been done

    @property
    def asks(self) -> bool:
        """Whether it changes nothing, and is asked for somebody who would rather not wait."""
        return self.verb in ("find", "rooms")

    @property
    def comes(self) -> bool:
        """Whether it is a claim, and of a session that is not here yet."""
        return self.wanted is not None and not self.holder.generation

    @property
    def abandoned(self) -> bool:
        """Whether it is a claim that nobody wants any more."""
        return self.wanted is not None and not self.wanted()


class Registry:
    """Claims and releases names; what changes something is repeated until it is answered.

    Questions are asked once, and answered with None if Redis can't be asked.
    ``on_forgone`` gets a session that came here when nobody wanted it any more, and that
    can't go back to where it was: its name is being released, and its membership is to be
    ended, be it another gateway's.  ``here(session)`` is the generation of one that stays
    here, by an earlier claim, or 0: that is never given up.  For more ``people()`` a
    request waits longer for others, as the config's pace says.
    """

    def __init__(
        self,
        caller: Caller,
        keys: Keys,
        config: Config,
        gateway: GatewayId,
        on_forgone: Callable[[Ghost], None],
        *,
        here: Callable[[SessionId], int] = lambda _session: 0,
        people: Callable[[], int] = lambda: 0,
    ) -> None:
        self._caller = caller
        self._keys = keys
        self._config = config
        self._gateway = gateway
        self._on_forgone = on_forgone
        self._here = here
        self._nobody = Holder(gateway, SessionId(""), 0)
        self._waiting: deque[_Request] = deque()
        self._claims: dict[SessionId, list[_Request]] = {}  # those not answered, by session
        self._number = 0  # of the last call
        self._refused = False
        self._wake = asyncio.Event()
        self._cadence = Cadence(config.publish_pace, people, self._wake.set)
        self._drained = asyncio.Event()
        self._drained.set()

    def claim(
        self,
        folded: str,
        name: str,
        session: SessionId,
        generation: int,
        room: str,
        answered: Callable[[Answer | None], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Ask for ``name``; ``answered`` is called once, in a later iteration of the loop.

        With None if it is no longer ``wanted`` when Redis can be asked: the session
        may have gone on elsewhere since.  So, too, if it came here and is not ``wanted``
        when that is known: then it is given up again, see ``on_forgone``.

        ``generation`` is the one that the session's memberships carry: then ``name``
        is one more of its names, or sets the spelling and room of one that it holds.
        It is 0 for a session that comes here: one that holds a name, on whatever
        gateway, is granted that one, in the room where it is.
        """
        holder = Holder(self._gateway, session, generation)
        self._submit(_Request("claim", folded, holder, room, name, answered, wanted))

    def release(
        self, folded: str, holder: Holder, answered: Callable[[Answer], None] | None = None
    ) -> None:
        """Free the name, if exactly ``holder`` has it."""
        self._submit(_Request("release", folded, holder, "", "", answered))

    def find(self, folded: str, answered: Callable[[Answer | None], None]) -> None:
        """Ask who holds a name: ``Found``, ``Absent``, or None if that can't be known now."""
        self._submit(_Request("find", folded, self._nobody, "", "", answered))

    def rooms(self, most: int, answered: Callable[[Answer | None], None]) -> None:
        """Ask for the ``most`` biggest rooms: ``RoomCounts``, or None as above."""
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
        (reply,) = await self._caller.call([Call(BURY, where, args)])
        if isinstance(reply, RedisError):
            raise reply

    async def drained(self) -> None:
        """Wait until nothing is left to ask."""
        await self._drained.wait()

    def _submit(self, request: _Request) -> None:
        self._waiting.append(request)
        if request.verb == "claim":
            self._claims.setdefault(request.holder.session, []).append(request)
        self._drained.clear()
        self._cadence.one_more()

    async def run_forever(self) -> None:
        """Ask what waits, as long as the task lives."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._cadence.taken()
            if await self.run_once():
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_s())
                self._wake.set()
            if not self._waiting:
                self._drained.set()
            elif not self._cadence.count:
                self._wake.set()  # for what was too much for one call, or is asked again

    async def run_once(self) -> bool:
        """One call.  False if some of it waits for Redis or for the gateway's lease."""
        requests = self._next_requests()
        if not requests:
            return True
        try:
            (replies,) = await self._caller.call([self._call(requests)])
        except Unreachable as error:
            for request in requests:
                request.unsure |= not isinstance(error, NotSent)
            self._put_back(requests)
            return False
        if isinstance(replies, RedisError):
            if not self._refused:
                log.warning("registry refused", error=str(replies))
            self._refused = True
            self._put_back(requests)
            return False
        self._refused = False
        again = [
            request
            for request, reply in zip(requests, replies, strict=True)
            if not self._settled(request, reply)
        ]
        self._waiting.extendleft(reversed(again))
        # One that nobody wants any more is asked after at once; others wait for the lease.
        return all(request.abandoned for request in again)

    def _next_requests(self) -> list[_Request]:
        """Take what waits for the first one's gateway; of what nobody wants any more, only
        what may have been done.
        """
        chosen: list[_Request] = []
        while (
            self._waiting
            and len(chosen) < _CALL_OPERATIONS
            and self._waiting[0].holder.gateway == (chosen or self._waiting)[0].holder.gateway
        ):
            request = self._waiting.popleft()
            if not request.abandoned:
                chosen.append(request)
                continue
            self._drop(request)
            if request.unsure and not self._comes_again(request):
                chosen.append(self._undoing(request))
        return chosen

    def _drop(self, request: _Request) -> None:
        """Nobody wants this claim any more, though who made it may not know that yet."""
        self._forget(request)
        if request.answered:
            request.answered(None)

    def _forget(self, request: _Request) -> None:
        """A claim is no more; other requests are not remembered."""
        claims = self._claims.get(request.holder.session, [])
        if request in claims:
            claims.remove(request)
            if not claims:
                del self._claims[request.holder.session]

    def _put_back(self, requests: list[_Request]) -> None:
        """To be made again, except questions: those behind would wait as long for as little."""
        self._waiting.extendleft(reversed(requests))
        waiting, self._waiting = self._waiting, deque()
        asked = [request for request in waiting if request.asks]
        for request in waiting:
            if request.abandoned and not request.unsure:
                self._drop(request)
            elif not request.asks:
                self._waiting.append(request)
        for request in asked:
            if request.answered:
                request.answered(None)

    def _settled(self, request: _Request, reply: bytes) -> bool:
        """Hand an answer over.  False if the request is to be made again."""
        if reply == b"wait":
            return False
        if reply.startswith(b"ok") and request.comes and request.abandoned:
            request.unsure = True
            if again := self._comes_again(request):
                self._drop(request)
            return again
        self._forget(request)
        if request.answered:
            request.answered(_answer(reply))
        return True

    def _undoing(self, claim: _Request) -> _Request:
        """What gives an abandoned claim up, if it was done.

        The release goes before whatever the session claims next, which so gets a newer
        generation: its membership is not the one that is ended.
        """

        def answered(answer: Answer) -> None:
            if isinstance(answer, Ghost) and not self._comes_again(claim):
                self.release(answer.folded, answer.holder)
                if claim.comes:
                    self._on_forgone(answer)

        verb, holder = "held", claim.holder
        if claim.comes:
            verb = "forgo"
            holder = msgspec.structs.replace(holder, generation=self._here(holder.session))
        return msgspec.structs.replace(claim, verb=verb, holder=holder, answered=answered)

    def _comes_again(self, claim: _Request) -> bool:
        """Whether the session asks for the same again: then it gets what the claim brought."""
        return any(
            (claim.comes or request.folded == claim.folded) and not request.abandoned
            for request in self._claims.get(claim.holder.session, ())
        )

    def _call(self, requests: list[_Request]) -> Call:
        keys, gateway = self._keys, requests[0].holder.gateway
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
        shared = (keys.rooms, keys.calls, keys.sessions)
        where = (keys.names, keys.clock, keys.beats, held, *shared)
        return Call(REGISTRY, where, args)


def _answer(reply: bytes) -> Answer:
    verdict, _, rest = reply.partition(b" ")
    match verdict:
        case b"ok":
            generation, room, name = rest.decode().split(" ")
            return Granted(int(generation), room, name)
        case b"taken":
            return Taken()
        case b"ghost":
            folded, _, record = rest.partition(b" ")
            return Ghost(folded.decode(), *parse_record(record))
        case b"found":
            return Found(*parse_record(rest))
        case b"absent":
            return Absent()
        case b"done":
            return Done()
        case b"rooms":
            words = rest.decode().split()
            return RoomCounts(tuple(zip(words[::2], map(int, words[1::2]), strict=True)))
    raise ValueError(f"unexpected answer of registry.lua: {reply!r}")


def parse_record(record: bytes) -> tuple[Holder, str, str]:
    """A name's record, ``GATEWAY SESSION GENERATION ROOM NAME``: its holder, room and name."""
    gateway, session, generation, room, name = record.decode().split(" ")
    return Holder(GatewayId(gateway), SessionId(session), int(generation)), room, name
