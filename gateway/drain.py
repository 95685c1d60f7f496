"""A gateway leaves service: everybody is told, heard out and let go, a few at a time.

Knows what a seat needs before it can be closed; not how a process ends.
"""

from __future__ import annotations

import asyncio
import random

from gateway.broker.outbox import Outcome
from gateway.chat.events import Notice
from gateway.chat.reasons import CloseReason
from gateway.host import Host
from gateway.seat import Seat

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
        self._room = seat.session.room
        self._session = seat.session.id
        self._close_by = close_by
        self._heard_all = False
        self._freed = False

    @property
    def _close_timeout_s(self) -> float:
        return self._close_by - asyncio.get_running_loop().time()

    def begin(self) -> None:
        seat = self._seat
        if seat.leaving:
            return
        seat.tell(_RESTARTING)
        seat.hear_out()
        if not seat.session.present:
            seat.end(CloseReason.DRAINED, timeout_s=self._close_timeout_s)
            return
        seat.retire(self._reached)
        self._host.cluster.rooms.leave(self._room, seat, self._told)

    def _told(self, outcome: Outcome, offset: int) -> None:
        """Redis has the ``left``; the relay may have to come to it yet."""
        reached = self._host.cluster.rooms.offset(self._room)
        if outcome is not Outcome.CONFIRMED or offset <= reached:
            self._reached()
        self._host.release_names(self._seat, freed=self._free)

    def _reached(self) -> None:
        """The relay has given out the ``left``, and everything before it."""
        if not self._heard_all:
            self._heard_all = True
            rooms = self._host.cluster.rooms
            self._host.announce("left", self._seat, people=len(rooms.people(self._room) or ()))
            rooms.gone(self._room, self._session, self._seat)
            self._close_if_done()

    def _free(self, _answer: object) -> None:
        """The registry has freed the names."""
        self._freed = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._heard_all and self._freed:
            self._seat.close(CloseReason.DRAINED, timeout_s=self._close_timeout_s)
