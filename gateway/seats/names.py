"""The names that this gateway's sessions hold, and which seat has which session.

A name is claimed before a room is entered, and freed after it was left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.broker.outbox import Holder
from gateway.broker.registry import Answer, Ghost, Granted, Registry
from gateway.chat.commands import Hello
from gateway.chat.events import Notice, SessionId
from gateway.chat.reasons import CloseReason
from gateway.chat.session import session_id_of
from gateway.chat.text import fold_name

if TYPE_CHECKING:
    from gateway.seats.host import Host
    from gateway.seats.seat import Seat


def _give(seat: Seat, *held: tuple[str, int]) -> None:
    """Have the seat hold these names, with their generations, each once."""
    seat.held += tuple(one for one in held if one not in seat.held)


class Names:
    """Claims and frees; what follows from it is the host's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._by_session: dict[SessionId, Seat] = {}
        self._heirs: dict[SessionId, Seat] = {}  # who came with a session's secret last

    @property
    def _registry(self) -> Registry:
        return self._host.cluster.registry

    def holder_of(self, session: SessionId) -> Seat | None:
        """The seat that has a session, if it is here and can still hear."""
        seat = self._by_session.get(session)
        return seat if seat and seat.hears else None

    def generation_of(self, session: SessionId) -> int:
        """Of a session that is here and stays; 0 if it is not."""
        seat = self._by_session.get(session)
        return seat.generation if seat and not seat.leaving else 0

    def gone(self, seat: Seat) -> None:
        """The seat is over, or goes on as another session."""
        for seats in (self._by_session, self._heirs):
            if seats.get(seat.session.id) is seat:
                del seats[seat.session.id]

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
        id = seat.session.id

        def again() -> None:
            if seat.session.id == id and not seat.leaving:
                self._host.claim(seat, name)

        def answered(answer: Answer | None) -> None:
            match answer:
                case Granted(generation, _, held) if seat.session.id != id:
                    # Evicted meanwhile: it asks as another session now.
                    holder = Holder(self._host.gateway, id, generation)
                    self._registry.release(fold_name(held), holder)
                case _ if seat.session.id != id:
                    pass
                case Granted():
                    self._granted(seat, answer)
                case _ if seat.leaving:
                    pass
                case None:  # not wanted any more, and it does not know it yet
                    seat.end(CloseReason.HUNG_UP)
                case Ghost():
                    self._host.cluster.reaper.evict(answer, again)
                case _:
                    seat.session.taken(name)
                    seat.pump()

        self._ask(seat, name, answered)

    def claim_again(self, seat: Seat) -> None:
        """The registry forgot this gateway, and may have given the name to somebody else."""
        session, id = seat.session, seat.session.id
        if not (session.name and seat.held) or seat.leaving:
            return

        def answered(name: str, answer: Answer | None) -> None:
            if seat.leaving or session.id != id or isinstance(answer, Granted | None):
                return
            seat.tell(Notice(f"{name} was taken while this gateway was cut off"))
            seat.end(CloseReason.REPLACED)

        for name in (session.name, session.wish):
            if name:
                self._ask(seat, name, partial(answered, name))

    def _ask(self, seat: Seat, name: str, answered: Callable[[Answer | None], None]) -> None:
        id = seat.session.id

        def wanted() -> bool:
            if seat.leaving or seat.session.id != id:
                return False
            # A gateway that was stopped wakes to lines of clients that gave up, and whose
            # sessions are elsewhere by now.  Who has a generation is fenced, and waits.
            return bool(seat.generation) or not (seat.resumable and seat.connection.hung_up)

        self._registry.claim(
            fold_name(name),
            name,
            id,
            seat.generation,
            seat.session.room,
            answered,
            wanted,
        )

    def _granted(self, seat: Seat, answer: Granted) -> None:
        session, held = seat.session, (fold_name(answer.name), answer.generation)
        if seat.leaving:
            self._decline(seat, *held, answer.room)
            return
        seat.generation = answer.generation
        _give(seat, held)
        self._host.no_longer_new(seat)
        before = self._by_session.get(session.id)
        if before and before is not seat and not before.leaving:
            _give(seat, *before.held)
            before.held = ()
            room, there = before.session.room, before.session.present
            before.hand_over()
            if there and room != answer.room:
                self._host.leave(before, room)
            else:
                self._host.cluster.rooms.let_go(room, session.id, before)
        self._by_session[session.id] = seat
        # A session that was here before keeps its name, and its place.
        session.room = answer.room
        session.granted(answer.name)

    def _decline(self, seat: Seat, folded: str, generation: int, room: str) -> None:
        """What was granted is not wanted any more: whoever it was meant for is gone.

        What it had goes by itself, and behind its ``left``: this must not hurry that.
        """
        if heir := self._heir(seat):
            _give(heir, (folded, generation))  # it is the session's, not the connection's
            if room != heir.session.room:
                self.claim_again(heir)  # the registry must not have it go on in that room
        elif (folded, generation) not in seat.held:
            holder = Holder(self._host.gateway, seat.session.id, generation)
            self._registry.release(folded, holder)

    def release(
        self,
        seat: Seat,
        keep: str = "",
        freed: Callable[[Answer | None], None] = lambda _answer: None,
    ) -> None:
        """Free the names that the session holds, but for ``keep``; ``freed`` when it is done."""
        if not keep and (heir := self._heir(seat)):
            _give(heir, *seat.held)  # they are the session's, not the connection's
            seat.held = ()
        kept = fold_name(keep)
        freeing = [held for held in seat.held if held[0] != kept]
        seat.held = tuple(held for held in seat.held if held[0] == kept)
        if not freeing:
            freed(None)
        for index, (folded, generation) in enumerate(freeing, 1):
            holder = Holder(self._host.gateway, seat.session.id, generation)
            last = index == len(freeing)
            self._registry.release(folded, holder, freed if last else None)
