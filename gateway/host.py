"""All seats of this gateway, and what their sessions need from the cluster.

The glue between seats, rooms and registry: names are claimed before a room
is entered, and freed after it was left.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.answers import Answers
from gateway.broker.keys import inbox
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reaper import Reaper
from gateway.broker.registry import Answer, Ghost, Granted, Registry
from gateway.chat.commands import Hello
from gateway.chat.events import (
    Envelope,
    GatewayId,
    Notice,
    Private,
    Replaced,
    RoomEvent,
    SessionId,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.session import State
from gateway.chat.text import fold_name
from gateway.config import Config
from gateway.ops import memory
from gateway.ops.logs import get_logger
from gateway.rooms import Rooms

if TYPE_CHECKING:
    from gateway.seat import Seat

log = get_logger(__name__)

_TICK_S = 0.25
_CUT_OFF = (CloseReason.SENDQ_FULL, CloseReason.SENDQ_STALLED)


def new_session_id() -> SessionId:
    """Nobody else's, and not to be guessed."""
    return SessionId(secrets.token_hex(8))


def session_id_of(secret: str) -> SessionId:
    """The id under which the cluster knows the session of ``secret``, which it does not store."""
    return SessionId(hashlib.sha256(secret.encode()).hexdigest()[:32])


def _whatever(_outcome: Outcome, _offset: int) -> None:
    """Nobody waits to be told."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this gateway knows of Redis."""

    rooms: Rooms
    publisher: Publisher
    registry: Registry
    reaper: Reaper
    answers: Answers


class Host:
    """Who is here, and what they wait for."""

    def __init__(self, config: Config, gateway: GatewayId) -> None:
        self.config = config
        self.gateway = gateway
        self.cluster: Cluster
        self.ready = False
        self.closes: dict[CloseReason, int] = {}
        self.seats: dict[Seat, None] = {}
        self._naming: dict[Seat, None] = {}  # in the order of their deadlines
        self._ready_s = 0.0  # how long Redis has been there
        self._speakers: dict[Seat, None] = {}  # who waits, in turn
        self._told_to_wait: set[Seat] = set()
        self._by_session: dict[SessionId, Seat] = {}
        self._moving: set[Seat] = set()  # whose `left` is not confirmed yet
        self._departing = 0
        self._freed_sendq = False  # a full one, whose memory is to go back to the system
        self._empty = asyncio.Event()
        self._empty.set()

    # Connections.

    def opened(self, seat: Seat) -> None:
        """Somebody is here; it has until its deadline to give a name."""
        seat.name_by = self._ready_s + self.config.name_timeout
        self.seats[seat] = None
        self._naming[seat] = None
        self._empty.clear()
        seat.session.start()

    def closed(self, seat: Seat, reason: CloseReason) -> None:
        """The connection is over; its session has ended."""
        self.seats.pop(seat, None)
        self._naming.pop(seat, None)
        self._told_to_wait.discard(seat)
        self._speakers.pop(seat, None)
        if self._by_session.get(seat.session.id) is seat:
            del self._by_session[seat.session.id]
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
            if self.ready:
                self._ready_s += now - last
            last = now
            self._end_nameless()
            before = now - self.config.sendq_stall_s
            for seat in list(self.seats):
                since = seat.connection.stalled_since
                if since is not None and since <= before:
                    seat.connection.abort(CloseReason.SENDQ_STALLED)
            if self._freed_sendq:
                self._freed_sendq = False
                memory.give_back()

    def _end_nameless(self) -> None:
        while self._naming and (seat := next(iter(self._naming))).name_by <= self._ready_s:
            del self._naming[seat]
            if seat.session.state is State.NAMING:
                seat.tell(Notice("no name was given in time, goodbye"))
                seat.end(CloseReason.NAME_TIMEOUT)
            else:
                # It gave one, and waits for us; if that is refused, it has a moment for another.
                seat.name_by = self._ready_s + _TICK_S
                self._naming[seat] = None

    def redis_away(self) -> None:
        """Tell those who wait for a name that it will take a while."""
        self.ready = False
        for seat in list(self._naming):
            if seat.session.state is not State.NAMING:
                self._tell_to_wait(seat)

    def _tell_to_wait(self, seat: Seat) -> None:
        if seat not in self._told_to_wait:
            self._told_to_wait.add(seat)
            seat.tell(Notice("the chat cannot reach its Redis right now, please wait"))

    # What a session asks for.

    def tell(self, seat: Seat, item: Told) -> None:
        self.cluster.rooms.tell(seat.session.room, seat, item)

    def owed(self, seat: Seat) -> bytes:
        return self.cluster.rooms.owed(seat.session.room, seat.session.id)

    def offset(self, room: str) -> int:
        return self.cluster.rooms.offset(room)

    def greet(self, seat: Seat, hello: Hello) -> None:
        """Be the session of the client's secret; one that is here already hands over to it."""
        if hello.after is not None:
            seat.resume_at = (hello.epoch, hello.after)
        if not hello.secret:
            return
        seat.resumable = True
        id = session_id_of(hello.secret)
        before = self._by_session.get(id)
        if before and not before.leaving:
            before.hand_over(seat)
            self.cluster.rooms.gone(before.session.room, id, before)
        seat.session.id = id
        self._by_session[id] = seat

    def claim(self, seat: Seat, name: str) -> None:
        """Get ``name`` for the session, ending a ghost that holds it."""
        session, id = seat.session, seat.session.id

        def answered(answer: Answer) -> None:
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
                    self.cluster.reaper.evict(answer, lambda: self.claim(seat, name))
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
        seat.generation, folded = answer.generation, fold_name(answer.name)
        if seat.leaving:
            self.cluster.registry.release(folded, seat.holder)
            return
        if folded not in seat.held_names:
            seat.held_names += (folded,)
        self._naming.pop(seat, None)
        self._told_to_wait.discard(seat)
        self._by_session[seat.session.id] = seat
        seat.session.room = answer.room
        seat.session.granted(answer.name)

    def tell_replaced(self, seat: Seat) -> None:
        """Let the gateway that had the session know.

        Not before its membership is here: what it ends then must not be that.
        """
        event = Replaced(seat.session.id, seat.session.name, seat.generation)
        operation = Operation(inbox(seat.replaces), seat.holder, event, _whatever)
        self.cluster.publisher.submit(operation)

    def enter(self, seat: Seat, room: str) -> None:
        self.cluster.rooms.enter(room, seat)

    def move(self, seat: Seat, room: str) -> None:
        """End the membership of the session's room, then claim its name for another room."""
        session, before = seat.session, seat.session.room
        self._departing += 1
        self._moving.add(seat)

        def told(_outcome: Outcome, _offset: int) -> None:
            self._departing -= 1
            self._moving.discard(seat)
            self.cluster.rooms.gone(before, session.id, seat)
            session.room = room
            if seat.leaving:
                self.release_names(seat)
                self._check_empty()
            else:
                self.claim(seat, session.name)

        self.announce("left", seat, people=len(self.cluster.rooms.people(before) or ()) - 1)
        self.cluster.rooms.leave(before, seat, told)

    def publish(self, seat: Seat, event: RoomEvent, told: Callable[[Outcome, int], None]) -> None:
        operation = Operation(seat.session.room, seat.holder, event, told)
        self.cluster.publisher.submit(operation)

    def event(self, envelope: Envelope) -> None:
        """Something came for a single session of this gateway."""
        match envelope.event:
            case Private(to_session=session):
                seat = self._by_session.get(session)
                if seat and not seat.leaving:
                    seat.send(seat.encoding.encode(envelope))
            case Replaced(session, _, generation):
                seat = self._by_session.get(session)
                if seat and seat.generation < generation:
                    seat.tell(Notice("this session goes on in another connection", "replaced"))
                    seat.end(CloseReason.REPLACED)

    def release_names(
        self, seat: Seat, keep: str = "", freed: Callable[[Answer | None], None] | None = None
    ) -> None:
        """Free the names that the session holds, but for ``keep``; ``freed`` when it is done."""
        kept = fold_name(keep) if keep else None
        freeing = [folded for folded in seat.held_names if folded != kept]
        seat.held_names = tuple(folded for folded in seat.held_names if folded == kept)
        if freed and not freeing:
            freed(None)
        for folded in freeing:
            last = freed if folded == freeing[-1] else None
            self.cluster.registry.release(folded, seat.holder, last)

    def depart(self, seat: Seat) -> None:
        """The session ends: say ``left`` if others know of it, then free its names."""
        self._naming.pop(seat, None)
        if seat.session.state is State.MOVING and seat in self._moving:
            return  # its name is freed when the room it leaves knows
        if not seat.session.present:
            self.release_names(seat)
            return
        self._departing += 1
        room, session = seat.session.room, seat.session.id

        def told(_outcome: Outcome, _offset: int) -> None:
            self.cluster.rooms.gone(room, session, seat)
            self.release_names(seat)
            self._departing -= 1
            self.announce("left", seat, people=len(self.cluster.rooms.people(room) or ()))
            self._check_empty()

        self.cluster.rooms.leave(room, seat, told)

    def evicted(self, seat: Seat, at: Envelope) -> None:
        """The membership was ended by another gateway: join again, as another session.

        ``at`` is the ``left``; what followed it is replayed.
        """
        room, session = seat.session.room, seat.session.id
        self.release_names(seat)
        seat.generation = 0
        log.warning("evicted", session=session, name=seat.session.name)
        if not seat.nameable:
            # Its session is its secret's, and goes on with its next connection.
            seat.tell(Notice("this gateway was cut off for a while, please reconnect", "draining"))
            seat.end(CloseReason.REPLACED)
            return
        self._by_session.pop(session, None)
        seat.resume_at = (at.epoch, at.offset)
        seat.session.evicted(new_session_id())
        self.cluster.rooms.gone(room, session, seat)

    def lease_anew(self) -> None:
        """The registry forgot this gateway: claim again what its sessions hold."""
        for seat in list(self.seats):
            if seat.held_names and not seat.leaving:
                self._claim_again(seat)

    def _claim_again(self, seat: Seat) -> None:
        name, session = seat.session.name, seat.session.id
        if not name:
            return

        def answered(answer: Answer) -> None:
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

    # Who may speak.

    def admits(self) -> bool:
        """True while the outbox takes more."""
        return self.cluster.publisher.outbox.size_bytes < self.config.outbox_bytes

    @property
    def waiting_speakers(self) -> int:
        return len(self._speakers)

    def wait_to_speak(self, seat: Seat) -> None:
        self._speakers[seat] = None

    def resume_speakers(self) -> None:
        """Something left the outbox: let those go on who wait, in turn."""
        for seat in list(self._speakers):
            if not self.admits():
                return
            del self._speakers[seat]
            seat.pump()

    def announce(self, what: str, seat: Seat, people: int) -> None:
        log.info(
            what,
            name=seat.session.name,
            room=seat.session.room,
            people=people,
            session=seat.session.id,
        )
