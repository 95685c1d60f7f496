"""A gateway leaves service: everybody is told, heard out and let go, a few at a time.

Knows what a seat needs before it can be closed; not how a process ends.
"""

from __future__ import annotations

import asyncio
import random

from gateway.chat.events import Notice
from gateway.chat.reasons import CloseReason
from gateway.seats.host import Host
from gateway.seats.seat import Seat

_SEATS_PER_S = 100.0
_LAST_WORDS_S = 0.05
"""For what came and was not read yet: who said it is told that it is lost."""
_RESTARTING = Notice("this gateway is restarting, please reconnect", "draining")


async def drain(host: Host, *, within_s: float) -> None:
    """Let everybody go; returns when all connections are closed and all names freed.

    The others must not be stormed by those who reconnect: so seats end in random order,
    each at a random moment of its turn, about a hundred a second, but in half of
    ``within_s`` at most.  After three quarters of it what is open is closed as it is, and an
    eighth later what somebody has not taken yet is dropped.
    """
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    host.cluster.speakers.hurry()
    seats = list(host.seats)
    random.shuffle(seats)
    turn_s = min(1 / _SEATS_PER_S, within_s / 2 / max(len(seats), 1))
    close_by = begun_at + within_s * 7 / 8
    for place, seat in enumerate(seats):
        await asyncio.sleep(begun_at + turn_s * (place + random.random()) - loop.time())
        _Farewell(host, seat, close_by).begin()
    try:
        async with asyncio.timeout_at(begun_at + within_s * 3 / 4):
            await host.emptied()
    except TimeoutError:
        for seat in list(host.seats):
            seat.close(CloseReason.DRAINED, timeout_s=close_by - loop.time())
        await host.emptied()


class _Farewell:
    """One seat's way out.

    It is closed when it has heard everything up to its own ``left``, and when its
    name is free: so who reconnects at once is not refused for an own ghost.
    """

    def __init__(self, host: Host, seat: Seat, close_by: float) -> None:
        self._host = host
        self._seat = seat
        self._close_by = close_by
        self._waits_for = 2

    def begin(self) -> None:
        host, seat = self._host, self._seat
        if seat.leaving:
            return
        seat.tell(_RESTARTING)
        seat.hear_out()
        if seat.leaving:
            return  # it said so itself
        seat.retire()
        if seat.session.present:
            host.leave(seat, seat.session.room, self._heard_all, self._one_more)
        else:
            host.depart(seat)
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._close)

    def _heard_all(self) -> None:
        self._host.announce_left(self._seat, self._seat.session.room)
        self._one_more()

    def _one_more(self) -> None:
        self._waits_for -= 1
        if not self._waits_for:
            self._close()

    def _close(self) -> None:
        left_s = self._close_by - asyncio.get_running_loop().time()
        self._seat.close(CloseReason.DRAINED, timeout_s=left_s)
