"""A gateway leaves service: everybody is told, heard out and let go, a few at a time.

Knows not how a process ends.
"""

from __future__ import annotations

import asyncio
import random

from gateway.chat.events import Notice
from gateway.chat.reasons import CloseReason
from gateway.seats.farewell import Farewell
from gateway.seats.host import Host
from gateway.seats.seat import Seat

_SEATS_PER_S = 100.0
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
    hear_until, close_by = begun_at + within_s * 3 / 4, begun_at + within_s * 7 / 8
    for place, seat in enumerate(seats):
        await asyncio.sleep(begun_at + turn_s * (place + random.random()) - loop.time())
        _tell_and_let_go(host, seat, hear_until=hear_until, close_by=close_by)
    try:
        async with asyncio.timeout_at(hear_until):
            await host.emptied()
    except TimeoutError:
        for seat in list(host.seats):
            seat.close(CloseReason.DRAINED, timeout_s=close_by - loop.time())
        await host.emptied()


def _tell_and_let_go(host: Host, seat: Seat, *, hear_until: float, close_by: float) -> None:
    if seat.leaving:
        return
    seat.tell(_RESTARTING)
    seat.hear_out()
    if not seat.leaving:  # it may have said so itself
        reason = CloseReason.DRAINED
        Farewell(host, seat, reason, hear_until=hear_until, close_by=close_by).begin()
