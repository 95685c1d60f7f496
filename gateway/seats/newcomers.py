"""Newcomers, until they have a name: by when they must have given one, and what holds it up.

While Redis is away the deadlines stand still, since no name can be had then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.chat.events import Notice
from gateway.chat.reasons import CloseReason
from gateway.chat.session import State

if TYPE_CHECKING:
    from gateway.seats.seat import Seat

_AGAIN_S = 0.25
"""What is left for another name when one is refused past the deadline."""


class Newcomers:
    """The seats without a name."""

    def __init__(self, timeout_s: float, tick_s: float) -> None:
        """``tick`` is called each ``tick_s``: who comes in between has its time from the next."""
        self._timeout_s = timeout_s + tick_s
        self._ready_s = 0.0  # how long Redis has been there
        self._asked: dict[Seat, None] = {}  # in the order of their deadlines
        self._late: dict[Seat, None] = {}  # past theirs, with a name that is being claimed

    def came(self, seat: Seat) -> None:
        seat.name_by = self._ready_s + self._timeout_s
        self._asked[seat] = None

    def gone(self, seat: Seat) -> None:
        """It has a name, or ended."""
        self._asked.pop(seat, None)
        self._late.pop(seat, None)

    def tick(self, passed_s: float, *, ready: bool) -> None:
        """End those who gave no name in time."""
        if ready:
            self._ready_s += passed_s
        while self._asked and (seat := next(iter(self._asked))).name_by <= self._ready_s:
            del self._asked[seat]
            self._late[seat] = None
        for seat in list(self._late):
            if seat.session.state is not State.NAMING:
                seat.name_by = self._ready_s + _AGAIN_S  # it gave one, and waits for us
            elif seat.name_by <= self._ready_s:
                seat.tell(Notice("no name was given in time, goodbye"))
                seat.end(CloseReason.NAME_TIMEOUT)
