"""All seats of this gateway, and what their sessions need from the cluster.

The glue between seats and rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.broker.keys import inbox
from gateway.broker.outbox import Operation, Outcome, whatever
from gateway.broker.publisher import Publisher
from gateway.broker.reaper import Reaper
from gateway.broker.registry import Registry
from gateway.chat.events import (
    Envelope,
    GatewayId,
    Message,
    Notice,
    Private,
    Replaced,
    Returned,
    RoomEvent,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.session import State, new_session_id
from gateway.config import Config
from gateway.ops import memory
from gateway.ops.logs import get_logger
from gateway.rooms.served import Rooms
from gateway.seats.answers import Answers
from gateway.seats.names import Names
from gateway.seats.newcomers import Newcomers
from gateway.seats.post import Post
from gateway.seats.speakers import Speakers

if TYPE_CHECKING:
    from gateway.seats.seat import Seat

log = get_logger(__name__)

_TICK_S = 0.5
_WAITING = (State.CLAIMING, State.JOINING, State.RENAMING, State.MOVING)
_CUT_OFF = (CloseReason.SENDQ_FULL, CloseReason.SENDQ_STALLED, CloseReason.UNFLUSHED)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this gateway knows of Redis."""

    rooms: Rooms
    publisher: Publisher
    registry: Registry
    reaper: Reaper
    speakers: Speakers
    answers: Answers
    post: Post


class Host:
    """Who is here, and what they wait for."""

    def __init__(self, config: Config, gateway: GatewayId) -> None:
        self.config = config
        self.gateway = gateway
        self.cluster: Cluster
        self.ready = False
        self.closes: dict[CloseReason, int] = {}
        self.seats: dict[Seat, None] = {}
        self.names = Names(self)
        self._tick_s = min(_TICK_S, config.name_timeout / 4)
        self._newcomers = Newcomers(config.name_timeout, self._tick_s)
        self._told_to_wait: set[Seat] = set()
        self._moving: set[Seat] = set()  # whose `left` is not confirmed yet
        self._departing = 0
        self._freed_sendq = False  # a full one, whose memory is to go back to the system
        self._empty = asyncio.Event()
        self._empty.set()

    # Connections.

    def opened(self, seat: Seat) -> None:
        """Somebody is here; it has until its deadline to give a name."""
        self.seats[seat] = None
        self._newcomers.came(seat)
        self._empty.clear()
        seat.session.start()

    def closed(self, seat: Seat, reason: CloseReason) -> None:
        """The connection is over; its session has ended."""
        self.seats.pop(seat, None)
        self.no_longer_new(seat)
        self.cluster.speakers.gone(seat)
        self.names.gone(seat)
        self.closes[reason] = self.closes.get(reason, 0) + 1
        self._freed_sendq |= reason in _CUT_OFF
        session, connection = seat.session, seat.connection
        log.info(
            "closed",
            reason=reason.value,
            peer=connection.peer,
            seconds=round(asyncio.get_running_loop().time() - connection.opened_at, 1),
            received_bytes=connection.received_bytes,
            sent_bytes=connection.sent_bytes,
            session=session.id,
            name=session.name,
        )
        self._check_empty()

    async def emptied(self) -> None:
        """Wait until all connections are closed and all names freed."""
        await self._empty.wait()

    def _check_empty(self) -> None:
        if not self.seats and not self._departing:
            self._empty.set()

    async def watch_forever(self) -> None:
        """Hold the deadlines for names and for SendQs without progress."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(self._tick_s)
            now = loop.time()
            self._newcomers.tick(now - last, ready=self.ready)
            last = now
            for seat in list(self.seats):
                if seat.stalled and seat.connection.stalled_s() > self.config.sendq_stall_s:
                    seat.connection.abort(CloseReason.SENDQ_STALLED)
            if self._freed_sendq:
                self._freed_sendq = False
                memory.give_back()

    def no_longer_new(self, seat: Seat) -> None:
        """It has a name, or ends."""
        self._newcomers.gone(seat)
        self._told_to_wait.discard(seat)

    def redis_away(self) -> None:
        """Tell those who wait for an answer of it that it will take a while."""
        self.ready = False
        for seat in list(self.seats):
            if seat.session.state in _WAITING and not seat.leaving:
                self._tell_to_wait(seat)

    def redis_back(self) -> None:
        self.ready = True
        self._told_to_wait.clear()

    def _tell_to_wait(self, seat: Seat) -> None:
        if seat not in self._told_to_wait:
            self._told_to_wait.add(seat)
            seat.tell(Notice("the chat cannot reach its Redis right now, please wait"))

    # What a session asks for.

    def tell(self, seat: Seat, item: Envelope | Told) -> None:
        self.cluster.rooms.tell(seat.session.room, seat, item)

    def owed(self, seat: Seat) -> bytes:
        return self.cluster.rooms.owed(seat.session.room, seat)

    def offset(self, room: str) -> int:
        return self.cluster.rooms.offset(room)

    def when_at(self, room: str, offset: int, then: Callable[[], None]) -> None:
        self.cluster.rooms.when_at(room, offset, then)

    def claim(self, seat: Seat, name: str) -> None:
        """Get ``name`` for the session; it is told to wait if that will take a while."""
        if not self.ready:
            self._tell_to_wait(seat)
        self.names.claim(seat, name)

    def leave(
        self,
        seat: Seat,
        room: str,
        over: Callable[[], None] = lambda: None,
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        """Say ``left``, and free the names when Redis has it: each is told once.

        ``over``: the ``left`` was heard here, too, with all that came before it.
        """
        self._departing += 2

        def done(tell: Callable[[], None]) -> None:
            tell()
            self._departing -= 1
            self._check_empty()

        def confirmed() -> None:
            self.names.release(seat, freed=lambda _answer: done(freed))

        self.cluster.rooms.leave(room, seat, lambda: done(over), confirmed)

    def tell_replaced(self, seat: Seat, before: GatewayId) -> None:
        """Let the gateway that had the session's membership know that it is here now."""
        event = Replaced(seat.session.id, seat.session.name, seat.generation)
        self.cluster.publisher.submit(Operation(inbox(before), seat.holder, event, whatever))

    def enter(self, seat: Seat, room: str) -> None:
        self.cluster.rooms.enter(room, seat)

    def move(self, seat: Seat, room: str) -> None:
        """End the membership of the session's room, then claim its name for another room."""
        session, before = seat.session, seat.session.room
        if not self.ready:
            self._tell_to_wait(seat)
        self._departing += 1
        self._moving.add(seat)

        def over() -> None:
            self._departing -= 1
            self._moving.discard(seat)
            session.room = room
            if seat.leaving:
                self.names.release(seat)
                self._check_empty()
            else:
                self.claim(seat, session.name)

        self.announce("left", seat, people=len(self.cluster.rooms.people(before) or ()) - 1)
        self.cluster.rooms.leave(before, seat, over)

    def publish(self, seat: Seat, event: RoomEvent, told: Callable[[Outcome, int], None]) -> None:
        operation = Operation(seat.session.room, seat.holder, event, told)
        self.cluster.publisher.submit(operation)

    def event(self, envelope: Envelope) -> None:
        """Something came for a single session of this gateway."""
        match envelope.event:
            case Private(to_session=session) as private:
                if seat := self.names.holder_of(session):
                    self.tell(seat, envelope)
                else:
                    self.cluster.post.forward(private, envelope.gateway)
            case Returned(session, name, text, ref):
                if seat := self.names.holder_of(session):
                    event = Message(session, name, text, ref)
                    seat.session.not_delivered(event, certain=True)
            case Replaced(session, _, generation):
                seat = self.names.holder_of(session)
                if seat and seat.generation < generation and not seat.leaving:
                    seat.replaced()

    def depart(self, seat: Seat) -> None:
        """The session ends: say ``left`` if others know of it, then free its names."""
        self.no_longer_new(seat)
        if seat.session.state is State.MOVING and seat in self._moving:
            return  # its name is freed when the room it leaves knows
        if not seat.session.present:
            self.names.release(seat)
            return
        self.leave(seat, seat.session.room, partial(self.announce_left, seat, seat.session.room))

    def announce_left(self, seat: Seat, room: str) -> None:
        self.announce("left", seat, people=len(self.cluster.rooms.people(room) or ()))

    def evicted(self, seat: Seat, epoch: str, offset: int) -> None:
        """The membership was ended by another gateway: join again, as another session.

        What followed that place of the log is replayed.
        """
        session = seat.session.id
        self.names.release(seat)
        seat.generation = 0
        log.warning("evicted", session=session, name=seat.session.name)
        if not seat.nameable:
            # Its session is its secret's, and goes on with its next connection.
            seat.tell(Notice("this gateway was cut off for a while, please reconnect", "draining"))
            seat.end(CloseReason.REPLACED)
            return
        self.names.gone(seat)
        self._newcomers.came(seat)
        seat.resume_at = (epoch, offset)
        seat.session.evicted(new_session_id())

    def lease_anew(self) -> None:
        """The registry forgot this gateway: claim again what its sessions hold."""
        self.cluster.rooms.compare_all()
        for seat in list(self.seats):
            self.names.claim_again(seat)

    def announce(self, what: str, seat: Seat, people: int) -> None:
        log.info(
            what,
            name=seat.session.name,
            room=seat.session.room,
            people=people,
            session=seat.session.id,
        )
