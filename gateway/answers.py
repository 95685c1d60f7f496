"""What single sessions ask of the cluster: who is where, what was said, to tell one person.

Each is answered by telling the session that asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.broker.keys import inbox
from gateway.broker.outbox import Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Question, Snapshot
from gateway.broker.registry import Answer, Found, Registry, RoomCounts
from gateway.chat.events import (
    Delivered,
    History,
    Notice,
    People,
    Private,
    RoomList,
    Said,
    decode_envelope,
)
from gateway.chat.text import fold_name
from gateway.config import Config
from gateway.inquiries import Inquiries
from gateway.rooms import Rooms

if TYPE_CHECKING:
    from gateway.seat import Seat

_UNAVAILABLE = Notice("that can't be answered right now", "unavailable")


class Answers:
    """Answers seats; knows no other seat than the one that asks."""

    def __init__(
        self,
        config: Config,
        rooms: Rooms,
        publisher: Publisher,
        registry: Registry,
        inquiries: Inquiries,
    ) -> None:
        self._config = config
        self._rooms = rooms
        self._publisher = publisher
        self._registry = registry
        self._inquiries = inquiries

    def post(self, seat: Seat, to: str, text: str, ref: int) -> None:
        """Find who is called ``to``, and put the line into the inbox of that gateway."""

        if not seat.redis_ready:
            # Whether somebody of that name is here can't be known; lines to come need not wait.
            seat.answer(Notice(f"not delivered: {text}", "not_delivered", ref))
            return

        def found(answer: Answer | None) -> None:
            if answer is None:
                seat.answer(Notice(f"not delivered: {text}", "not_delivered", ref))
            elif isinstance(answer, Found):
                self._post_to(seat, answer, text, ref)
                seat.session.answered()
                seat.pump()
            else:
                seat.answer(Notice(f"{to} is not here", "absent", ref))

        self._registry.find(fold_name(to), found)

    def _post_to(self, seat: Seat, found: Found, text: str, ref: int) -> None:
        holder, session = found.holder, seat.session
        event = Private(session.id, session.name, holder.session, found.name, text, ref)
        seat.outstanding += 1

        def told(outcome: Outcome, offset: int) -> None:
            seat.outstanding -= 1
            if seat.leaving:
                pass
            elif outcome in (Outcome.CONFIRMED, Outcome.REPEATED):
                seat.tell(Delivered(found.name, text, ref, offset))
            elif outcome is Outcome.REFUSED:
                seat.tell(Notice(f"{found.name} is not here", "absent", ref))
            else:
                certain = outcome is Outcome.NOT_DELIVERED
                session.not_delivered(event, certain=certain)
            seat.confirmed()

        operation = Operation(inbox(holder.gateway), seat.holder, event, told)
        self._publisher.submit(operation)

    def list_people(self, seat: Seat, room: str) -> None:
        here = self._rooms.people(room)
        if here is not None:
            seat.answer(People(room, here))
            return

        def answered(snapshot: Snapshot | None) -> None:
            if snapshot is None:
                seat.answer(_UNAVAILABLE)
                return
            names = [member.name for member in (snapshot.members or {}).values()]
            seat.answer(People(room, sorted(names, key=str.casefold)))

        self._inquiries.ask(Question(room, members=True), answered)

    def list_rooms(self, seat: Seat) -> None:
        if not seat.redis_ready:
            seat.answer(_UNAVAILABLE)
            return

        def answered(answer: Answer | None) -> None:
            seat.answer(RoomList(answer.rooms) if isinstance(answer, RoomCounts) else _UNAVAILABLE)

        self._rooms.report()  # what was just done here is to be seen
        self._registry.rooms(self._config.rooms_listed, answered)

    def show_history(self, seat: Seat, count: int | None) -> None:
        room = seat.session.room
        wanted = self._config.history if count is None else min(count, self._config.history_length)

        def answered(snapshot: Snapshot | None) -> None:
            if snapshot is None:
                seat.answer(_UNAVAILABLE)
                return
            seat.answer(History([Said(room, decode_envelope(line)) for line in snapshot.history]))

        question = Question(room, members=True, history=max(wanted, 1))
        self._inquiries.ask(question, answered)
