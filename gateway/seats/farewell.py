"""One seat's way out, when it is owed something yet.

Knows not why it goes: a drain, a quit or an end of the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.chat.reasons import CloseReason

if TYPE_CHECKING:
    from gateway.seats.host import Host
    from gateway.seats.seat import Seat

_LAST_WORDS_S = 0.05
"""For what came and was not read yet: who said it is told that it is lost."""


class Farewell:
    """Has a seat closed when it has heard everything up to its own ``left``.

    So it knows what became of all that it said; and its name is free then: who reconnects at
    once is not refused for an own ghost.  What is not known at ``hear_until`` is not waited
    for, and what is not taken at ``close_by`` is dropped; both in the loop's time.
    """

    def __init__(
        self, host: Host, seat: Seat, reason: CloseReason, *, hear_until: float, close_by: float
    ) -> None:
        self._host = host
        self._seat = seat
        self._reason = reason
        self._close_by = close_by
        self._waits_for = 2
        self._loop = asyncio.get_running_loop()
        self._latest = self._loop.call_at(hear_until, self._close)

    def begin(self) -> None:
        """Say ``left`` if others know of it; the seat takes no more commands."""
        host, seat = self._host, self._seat
        seat.retire()
        if seat.session.present:
            host.leave(seat, seat.session.room, self._heard_all, self._one_more)
        else:
            host.depart(seat)
            self._loop.call_later(_LAST_WORDS_S, self._close)

    def _heard_all(self) -> None:
        self._host.announce_left(self._seat, self._seat.session.room)
        self._one_more()

    def _one_more(self) -> None:
        self._waits_for -= 1
        if not self._waits_for:
            self._close()

    def _close(self) -> None:
        self._latest.cancel()
        self._seat.close(self._reason, timeout_s=self._close_by - self._loop.time())
