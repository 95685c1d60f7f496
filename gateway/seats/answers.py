"""What single sessions ask of the cluster: who is where, and what was said.

Each is answered by telling the session that asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.broker.reader import Question, Snapshot
from gateway.broker.registry import Answer, Registry, RoomCounts
from gateway.chat.events import History, Notice, People, RoomList, Said
from gateway.config import Config
from gateway.rooms.inquiries import Inquiries
from gateway.rooms.served import Rooms

if TYPE_CHECKING:
    from gateway.seats.seat import Seat

_UNAVAILABLE = Notice("that can't be answered right now", "unavailable")


class Answers:
    """Answers seats; knows no other seat than the one that asks."""

    def __init__(
        self,
        config: Config,
        rooms: Rooms,
        registry: Registry,
        inquiries: Inquiries,
    ) -> None:
        self._config = config
        self._rooms = rooms
        self._registry = registry
        self._inquiries = inquiries
        self._want_rooms: list[Seat] = []
        self._asking_for_rooms = False

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
        self._want_rooms.append(seat)
        if not self._asking_for_rooms:
            self._ask_for_rooms()

    def _ask_for_rooms(self) -> None:
        """For all who want them by now: it is a question to each of the rooms.

        Who comes meanwhile is answered by the next one, so that what was done before is seen.
        """
        self._asking_for_rooms = True
        seats, self._want_rooms = self._want_rooms, []

        def answer(told: RoomList | Notice) -> None:
            self._asking_for_rooms = False
            for seat in seats:
                seat.answer(told)
            if self._want_rooms and not self._asking_for_rooms:
                self._ask_for_rooms()

        def answered(rooms: Answer | None) -> None:
            if isinstance(rooms, RoomCounts):
                self._count(dict(rooms.rooms), answer)
            else:
                answer(_UNAVAILABLE)

        self._rooms.report()  # what was just done here is to be seen
        self._registry.rooms(self._config.rooms_listed, answered)

    def _count(self, people: dict[str, int], answer: Callable[[RoomList], None]) -> None:
        """Tell how many are in each room by what it says itself, if it can be asked.

        The registry's ``people`` are from gateways, of which one can be late.
        """
        here = {room: self._rooms.how_many(room) for room in people}
        people |= {room: count for room, count in here.items() if count is not None}
        unasked = {room for room, count in here.items() if count is None}

        def tell_if_all_asked() -> None:
            if not unasked:
                some = [(room, count) for room, count in people.items() if count]
                answer(RoomList(sorted(some, key=lambda each: (-each[1], each[0]))))

        def answered(room: str, snapshot: Snapshot | None) -> None:
            if snapshot is not None:
                people[room] = snapshot.people
                if not snapshot.people:
                    self._registry.set_people(room, 0)
            unasked.discard(room)
            tell_if_all_asked()

        for room in unasked:
            self._inquiries.ask(Question(room), partial(answered, room))
        tell_if_all_asked()

    def show_history(self, seat: Seat, count: int | None) -> None:
        room = seat.session.room
        wanted = count or self._config.history or Config().history

        def answered(snapshot: Snapshot | None) -> None:
            if snapshot is None:
                seat.answer(_UNAVAILABLE)
                return
            seat.answer(History([Said(room, envelope) for envelope in snapshot.said]))

        most = self._config.history_length
        question = Question(room, history=min(wanted, most))
        self._inquiries.ask(question, answered)
