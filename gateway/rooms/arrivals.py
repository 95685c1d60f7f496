"""Who is about to be a member of one room, and by which event it will be one.

Knows no log: it is told what was asked of Redis, and shown what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.broker.outbox import Operation
from gateway.chat.events import Envelope, SessionId
from gateway.rooms.resident import Resident


@dataclass(slots=True)
class _Arrival:
    resident: Resident
    joins: list[Operation] = field(default_factory=list)
    """How it was asked for: once, or again."""


class Arrivals:
    """Those who join, by their sessions: of each session the one who came last."""

    __slots__ = ("_by_session",)

    def __init__(self) -> None:
        self._by_session: dict[SessionId, _Arrival] = {}

    def __len__(self) -> int:
        return len(self._by_session)

    def __iter__(self) -> Iterator[Resident]:
        return (arrival.resident for arrival in self._by_session.values())

    def add(self, resident: Resident) -> None:
        """It is to be a member."""
        self._by_session[resident.session_id] = _Arrival(resident)

    def asked(self, resident: Resident, join: Operation) -> None:
        """Redis is asked for the membership of one of these."""
        self._by_session[resident.session_id].joins.append(join)

    def remove(self, session: SessionId, resident: Resident) -> bool:
        """It joins no more, or is a member.  Returns whether it was one of these."""
        arrival = self._by_session.get(session)
        if arrival is None or arrival.resident is not resident:
            return False
        del self._by_session[session]
        return True

    def by(self, joined: Envelope, session: SessionId) -> Resident | None:
        """Who becomes a member by this event of this gateway: not by one of a former connection."""
        arrival = self._by_session.get(session)
        if arrival is None:
            return None
        mine = joined.place in [b"%d %d" % join.place for join in arrival.joins]
        return arrival.resident if mine else None
