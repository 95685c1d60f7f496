"""What single sessions ask of the cluster: who is where, and what was said.

Each is answered by telling the session that asked.
"""

from __future__ import annotations

from collections.abc import Sequence
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
            if isinstance(answer, RoomCounts):
                self._count(seat, [room for room, _ in answer.rooms])
            else:
                seat.answer(_UNAVAILABLE)

        self._rooms.report()  # what was just done here is to be seen
        self._registry.rooms(self._config.rooms_listed, answered)

    def _count(self, seat: Seat, rooms: Sequence[str]) -> None:
        """Tell how many are in each by what the rooms themselves say.

        The registry has it from gateways, of which one can be late.
        """
        counts: dict[str, int] = {}

        def answered(room: str, snapshot: Snapshot | None) -> None:
            counts[room] = snapshot.people if snapshot else 0
            if snapshot and not snapshot.people:
                self._registry.set_people(room, 0)
            if len(counts) == len(rooms):
                found = [(room, people) for room, people in counts.items() if people]
                seat.answer(RoomList(sorted(found, key=lambda each: (-each[1], each[0]))))

        for room in rooms:
            self._inquiries.ask(Question(room), partial(answered, room))
        if not rooms:
            seat.answer(RoomList(()))

    def show_history(self, seat: Seat, count: int | None) -> None:
        room = seat.session.room
        wanted = count or self._config.history or Config().history

        def answered(snapshot: Snapshot | None) -> None:
            if snapshot is None:
                seat.answer(_UNAVAILABLE)
                return
            seat.answer(History([Said(room, envelope) for envelope in snapshot.history]))

        most = self._config.history_length
        question = Question(room, history=min(wanted, most))
        self._inquiries.ask(question, answered)
