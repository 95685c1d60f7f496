"""``gateway.seats.farewell``: when a seat that is owed something yet is closed."""

import asyncio
from types import SimpleNamespace

import pytest

from gateway.chat.reasons import CloseReason
from gateway.seats.farewell import Farewell


class Seat:
    def __init__(self, *, present=True):
        self.session = SimpleNamespace(present=present, room="lobby")
        self.retired, self.closed = False, asyncio.get_running_loop().create_future()

    def retire(self):
        self.retired = True

    def close(self, reason, *, timeout_s):
        self.closed.set_result((reason, timeout_s))


class Host:
    """Says ``left`` when the test does."""

    def __init__(self):
        self.departed, self.announced = [], []

    def leave(self, seat, room, over, freed):
        self.over, self.freed = over, freed

    def depart(self, seat):
        self.departed.append(seat)

    def announce_left(self, seat, room):
        self.announced.append((seat, room))


@pytest.fixture
async def host():
    return Host()


def goes(host, seat, *, hears_s=60.0):
    now = asyncio.get_running_loop().time()
    how = {"hear_until": now + hears_s, "close_by": now + hears_s + 5}
    Farewell(host, seat, CloseReason.QUIT, **how).begin()
    assert seat.retired


@pytest.mark.parametrize("order", [("over", "freed"), ("freed", "over")])
async def test_who_heard_all_and_whose_name_is_free_is_closed(host, order):
    """So who reconnects at once is not refused for an own ghost."""
    seat = Seat()
    goes(host, seat)
    first, second = order
    getattr(host, first)()
    assert not seat.closed.done()
    getattr(host, second)()
    reason, timeout_s = seat.closed.result()
    assert reason is CloseReason.QUIT
    assert 60 < timeout_s <= 65
    assert host.announced == [(seat, "lobby")]


async def test_what_is_not_known_in_time_is_not_waited_for(host):
    """Promise 7: every wait has a bound."""
    seat = Seat()
    goes(host, seat, hears_s=0.01)
    reason, timeout_s = await asyncio.wait_for(seat.closed, 5)
    assert (reason, timeout_s <= 5) == (CloseReason.QUIT, True)


async def test_who_is_nowhere_yet_has_its_last_words_heard(host):
    seat = Seat(present=False)
    goes(host, seat)
    assert host.departed == [seat]
    assert not seat.closed.done()
    await asyncio.wait_for(seat.closed, 5)
