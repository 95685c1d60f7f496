"""All seats of this gateway, and what their sessions need from the cluster.

The glue between seats, rooms and registry: names are claimed before a room
is entered, and freed after it was left.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.broker.outbox import Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reaper import Reaper
from gateway.broker.registry import Answer, Ghost, Granted, Registry
from gateway.chat.events import Envelope, GatewayId, Notice, RoomEvent, SessionId
from gateway.chat.reasons import CloseReason
from gateway.chat.text import fold_name
from gateway.config import Config
from gateway.ops.logs import get_logger
from gateway.rooms import Rooms

if TYPE_CHECKING:
    from gateway.seat import Seat

log = get_logger(__name__)

_TICK_S = 0.25


def new_session_id() -> SessionId:
    """Nobody else's, and not to be guessed."""
    return SessionId(secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this gateway knows of Redis."""

    rooms: Rooms
    publisher: Publisher
    registry: Registry
    reaper: Reaper


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
        self._departing = 0
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
        self.closes[reason] = self.closes.get(reason, 0) + 1
        session = seat.session
        log.info(
            "closed",
            reason=reason.value,
            peer=seat.connection.peer,
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
            while self._naming and (seat := next(iter(self._naming))).name_by <= self._ready_s:
                del self._naming[seat]
                seat.tell(Notice("no name was given in time, goodbye"))
                seat.end(CloseReason.NAME_TIMEOUT)
            before = now - self.config.sendq_stall_s
            for seat in list(self.seats):
                since = seat.connection.stalled_since
                if since is not None and since <= before:
                    seat.connection.abort(CloseReason.SENDQ_STALLED)

    # What a session asks for.

    def claim(self, seat: Seat, name: str) -> None:
        """Get ``name`` for the session, ending a ghost that holds it."""
        folded = fold_name(name)

        def answered(answer: Answer) -> None:
            match answer:
                case Granted(generation):
                    self._granted(seat, name, folded, generation)
                case Ghost():
                    self.cluster.reaper.evict(answer, lambda: self.claim(seat, name))
                case _ if not seat.leaving:
                    seat.session.taken(name)
                    seat.pump()

        if not self.ready and seat not in self._told_to_wait:
            self._told_to_wait.add(seat)
            seat.tell(Notice("the chat cannot reach its Redis right now, please wait"))
        session = seat.session
        self.cluster.registry.claim(
            folded, name, session.id, seat.generation, session.room, answered
        )

    def _granted(self, seat: Seat, name: str, folded: str, generation: int) -> None:
        seat.generation = generation
        if seat.leaving:
            self.cluster.registry.release(folded, seat.holder)
            return
        if folded not in seat.held_names:
            seat.held_names += (folded,)
        self._naming.pop(seat, None)
        self._told_to_wait.discard(seat)
        seat.session.granted(name)

    def enter(self, seat: Seat, room: str) -> None:
        self.cluster.rooms.enter(room, seat)

    def people(self, room: str) -> list[str]:
        return self.cluster.rooms.people(room)

    def publish(self, seat: Seat, event: RoomEvent, told: Callable[[Outcome, int], None]) -> None:
        operation = Operation(seat.session.room, seat.holder, event, told)
        self.cluster.publisher.submit(operation)

    def release_names(self, seat: Seat, keep: str = "") -> None:
        """Free the names that the session holds, but for ``keep``."""
        kept = fold_name(keep) if keep else None
        for folded in seat.held_names:
            if folded != kept:
                self.cluster.registry.release(folded, seat.holder)
        seat.held_names = tuple(folded for folded in seat.held_names if folded == kept)

    def depart(self, seat: Seat) -> None:
        """The session ends: say ``left`` if others know of it, then free its names."""
        self._naming.pop(seat, None)
        if not seat.session.present:
            self.release_names(seat)
            return
        self._departing += 1
        room, session = seat.session.room, seat.session.id

        def told(_outcome: Outcome, _offset: int) -> None:
            self.cluster.rooms.gone(room, session)
            self.release_names(seat)
            self._departing -= 1
            self.announce("left", seat, people=len(self.people(room)))
            self._check_empty()

        self.cluster.rooms.leave(room, seat, told)

    def evicted(self, seat: Seat) -> None:
        """The membership was ended by another gateway: join again, as another session."""
        room, session = seat.session.room, seat.session.id
        self.release_names(seat)
        seat.generation = 0
        log.warning("evicted", session=session, name=seat.session.name)
        seat.session.evicted(new_session_id())
        self.cluster.rooms.gone(room, session)

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
            fold_name(name), name, session, seat.generation, seat.session.room, answered
        )

    # Who may speak.

    def admits(self) -> bool:
        """True while the outbox takes more."""
        return self.cluster.publisher.outbox.size_bytes < self.config.outbox_bytes

    def wait_to_speak(self, seat: Seat) -> None:
        self._speakers[seat] = None

    def resume_speakers(self) -> None:
        """Something left the outbox: let those go on who wait, in turn."""
        for seat in list(self._speakers):
            if not self.admits():
                return
            del self._speakers[seat]
            seat.pump()

    # What is known of Redis.

    def on_ready(self, ready: bool) -> None:
        self.ready = ready

    def event(self, room: str, envelope: Envelope) -> None:
        """An event is delivered here."""

    def announce(self, what: str, seat: Seat, people: int) -> None:
        log.info(
            what,
            name=seat.session.name,
            room=seat.session.room,
            people=people,
            session=seat.session.id,
        )

    # The end.

    def drain(self) -> None:
        """Tell everybody and end their sessions; ``emptied`` tells when it is done."""
        for seat in list(self.seats):
            seat.tell(Notice("this gateway is restarting, please reconnect"))
            seat.end(CloseReason.DRAINED)
