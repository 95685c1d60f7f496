"""All seats of this gateway, and what their sessions need from the cluster.

The glue between seats, rooms and registry: names are claimed before a room
is entered, and freed after it was left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.broker.keys import inbox
from gateway.broker.outbox import Holder, Operation, Outcome, whatever
from gateway.broker.publisher import Publisher
from gateway.broker.reaper import Reaper
from gateway.broker.registry import Answer, Ghost, Granted, Registry
from gateway.chat.commands import Hello
from gateway.chat.events import (
    Envelope,
    GatewayId,
    Message,
    Notice,
    Private,
    Replaced,
    Returned,
    RoomEvent,
    SessionId,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.session import State, new_session_id, session_id_of
from gateway.chat.text import fold_name
from gateway.config import Config
from gateway.ops import memory
from gateway.ops.logs import get_logger
from gateway.rooms.served import Rooms
from gateway.seats.answers import Answers
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
        self._newcomers = Newcomers(config.name_timeout)
        self._told_to_wait: set[Seat] = set()
        self._by_session: dict[SessionId, Seat] = {}
        self._heirs: dict[SessionId, Seat] = {}  # who came with a session's secret last
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
        self._no_longer_new(seat)
        self.cluster.speakers.gone(seat)
        for seats in (self._by_session, self._heirs):
            if seats.get(seat.session.id) is seat:
                del seats[seat.session.id]
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
            await asyncio.sleep(min(_TICK_S, self.config.name_timeout / 4))
            now = loop.time()
            self._newcomers.tick(now - last, ready=self.ready)
            last = now
            for seat in list(self.seats):
                if seat.stalled and seat.connection.stalled_s() > self.config.sendq_stall_s:
                    seat.connection.abort(CloseReason.SENDQ_STALLED)
            if self._freed_sendq:
                self._freed_sendq = False
                memory.give_back()

    def _no_longer_new(self, seat: Seat) -> None:
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

    def greet(self, seat: Seat, hello: Hello) -> None:
        """Go for the session of the client's secret, which may be somewhere already."""
        if hello.after is not None:
            seat.resume_at = (hello.epoch, hello.after)
        if hello.secret:
            seat.resumable = True
            seat.session.id = session_id_of(hello.secret)
            self._heirs[seat.session.id] = seat

    def _heir(self, seat: Seat) -> Seat | None:
        """Another seat here that has, or goes for, the same session."""
        for seats in (self._by_session, self._heirs):
            other = seats.get(seat.session.id)
            if other and other is not seat and not other.leaving:
                return other
        return None

    def claim(self, seat: Seat, name: str) -> None:
        """Get ``name`` for the session, ending a ghost that holds it."""
        session = seat.session
        id = session.id

        def again() -> None:
            if session.id == id and not seat.leaving:
                self.claim(seat, name)

        def answered(answer: Answer | None) -> None:
            match answer:
                case Granted(generation, _, held) if session.id != id:
                    # Evicted meanwhile: it asks as another session now.
                    holder = Holder(self.gateway, id, generation)
                    self.cluster.registry.release(fold_name(held), holder)
                case _ if session.id != id:
                    pass
                case Granted():
                    self._granted(seat, answer)
                case _ if seat.leaving:
                    pass
                case Ghost():
                    self.cluster.reaper.evict(answer, again)
                case _:
                    seat.session.taken(name)
                    seat.pump()

        if not self.ready:
            self._tell_to_wait(seat)
        self.cluster.registry.claim(
            fold_name(name),
            name,
            id,
            seat.generation,
            session.room,
            answered,
            wanted=lambda: not seat.leaving and session.id == id,
        )

    def _granted(self, seat: Seat, answer: Granted) -> None:
        session = seat.session
        seat.generation = answer.generation
        if (held := (fold_name(answer.name), answer.generation)) not in seat.held:
            seat.held += (held,)
        if seat.leaving:
            self._decline(seat, answer)
            return
        self._no_longer_new(seat)
        before = self._by_session.get(session.id)
        if before and before is not seat and not before.leaving:
            before.hand_over(seat)
            self.cluster.rooms.let_go(before.session.room, session.id, before)
        self._by_session[session.id] = seat
        # A session that was here before keeps its name, and its place.
        session.room = answer.room
        session.granted(answer.name)

    def _decline(self, seat: Seat, answer: Granted) -> None:
        """What was granted is not wanted any more: whoever it was meant for is gone."""
        if not seat.resumable or self._heir(seat):
            self.release_names(seat)
            return
        # It may have been taken from another gateway, where the session is a member yet.
        seat.session.name = answer.name
        self.leave(seat, answer.room)

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
            self.release_names(seat, freed=lambda _answer: done(freed))

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
        self._departing += 1
        self._moving.add(seat)

        def over() -> None:
            self._departing -= 1
            self._moving.discard(seat)
            session.room = room
            if seat.leaving:
                self.release_names(seat)
                self._check_empty()
            else:
                self.claim(seat, session.name)

        self.announce("left", seat, people=len(self.cluster.rooms.people(before) or ()) - 1)
        self.cluster.rooms.leave(before, seat, over)

    def publish(self, seat: Seat, event: RoomEvent, told: Callable[[Outcome, int], None]) -> None:
        operation = Operation(seat.session.room, seat.holder, event, told)
        self.cluster.publisher.submit(operation)

    def holder_of(self, session: SessionId) -> Seat | None:
        """The seat that has a session, if it is here and can still hear."""
        seat = self._by_session.get(session)
        return seat if seat and seat.hears else None

    def event(self, envelope: Envelope) -> None:
        """Something came for a single session of this gateway."""
        match envelope.event:
            case Private(to_session=session) as private:
                if seat := self.holder_of(session):
                    self.tell(seat, envelope)
                else:
                    self.cluster.post.forward(private, envelope.gateway)
            case Returned(session, name, text, ref):
                if seat := self.holder_of(session):
                    event = Message(session, name, text, ref)
                    seat.session.not_delivered(event, certain=True)
            case Replaced(session, _, generation):
                seat = self._by_session.get(session)
                if seat and seat.generation < generation and not seat.leaving:
                    seat.replaced()

    def release_names(
        self,
        seat: Seat,
        keep: str = "",
        freed: Callable[[Answer | None], None] = lambda _answer: None,
    ) -> None:
        """Free the names that the session holds, but for ``keep``; ``freed`` when it is done."""
        if heir := self._heir(seat):
            heir.held += seat.held  # the session's, not the connection's
            seat.held = ()
        kept = fold_name(keep)
        freeing = [held for held in seat.held if held[0] != kept]
        seat.held = tuple(held for held in seat.held if held[0] == kept)
        if not freeing:
            freed(None)
        for index, (folded, generation) in enumerate(freeing, 1):
            holder = Holder(self.gateway, seat.session.id, generation)
            last = index == len(freeing)
            self.cluster.registry.release(folded, holder, freed if last else None)

    def depart(self, seat: Seat) -> None:
        """The session ends: say ``left`` if others know of it, then free its names."""
        self._no_longer_new(seat)
        if seat.session.state is State.MOVING and seat in self._moving:
            return  # its name is freed when the room it leaves knows
        if not seat.session.present:
            self.release_names(seat)
            return
        self.leave(seat, seat.session.room, partial(self.announce_left, seat, seat.session.room))

    def announce_left(self, seat: Seat, room: str) -> None:
        self.announce("left", seat, people=len(self.cluster.rooms.people(room) or ()))

    def evicted(self, seat: Seat, epoch: str, offset: int) -> None:
        """The membership was ended by another gateway: join again, as another session.

        What followed that place of the log is replayed.
        """
        session = seat.session.id
        self.release_names(seat)
        seat.generation = 0
        log.warning("evicted", session=session, name=seat.session.name)
        if not seat.nameable:
            # Its session is its secret's, and goes on with its next connection.
            seat.tell(Notice("this gateway was cut off for a while, please reconnect", "draining"))
            seat.end(CloseReason.REPLACED)
            return
        self._by_session.pop(session, None)
        self._newcomers.came(seat)
        seat.resume_at = (epoch, offset)
        seat.session.evicted(new_session_id())

    def lease_anew(self) -> None:
        """The registry forgot this gateway: claim again what its sessions hold."""
        for seat in list(self.seats):
            if seat.held and not seat.leaving:
                self._claim_again(seat)

    def _claim_again(self, seat: Seat) -> None:
        name, session = seat.session.name, seat.session.id
        if not name:
            return

        def answered(answer: Answer | None) -> None:
            if seat.leaving or seat.session.id != session:
                return
            if not isinstance(answer, Granted):
                seat.tell(Notice(f"{name} was taken while this gateway was cut off"))
                seat.end(CloseReason.REPLACED)

        self.cluster.registry.claim(
            fold_name(name),
            name,
            session,
            seat.generation,
            seat.session.room,
            answered,
            wanted=lambda: not seat.leaving and seat.session.id == session,
        )

    def announce(self, what: str, seat: Seat, people: int) -> None:
        log.info(
            what,
            name=seat.session.name,
            room=seat.session.room,
            people=people,
            session=seat.session.id,
        )
