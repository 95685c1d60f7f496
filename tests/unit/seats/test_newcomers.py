"""By when a name must have been given."""

import pytest

from gateway.chat.reasons import CloseReason
from gateway.chat.session import State
from gateway.seats.newcomers import Newcomers


class Seat:
    def __init__(self):
        self.session = self
        self.state = State.NAMING
        self.name_by = 0.0
        self.told, self.ended = [], None

    def tell(self, item):
        self.told.append(item.text)

    def end(self, reason):
        self.ended = reason


@pytest.fixture
def newcomers():
    return Newcomers(timeout_s=9, tick_s=1)


@pytest.fixture
def seat(newcomers):
    seat = Seat()
    newcomers.came(seat)
    return seat


def test_who_gives_no_name_in_time_is_told_and_ended(newcomers, seat):
    """Issue 2: an absolute deadline for the name."""
    newcomers.tick(9.9, ready=True)
    assert seat.ended is None
    newcomers.tick(0.2, ready=True)
    assert seat.told == ["no name was given in time, goodbye"]
    assert seat.ended is CloseReason.NAME_TIMEOUT


def test_the_deadline_stands_still_while_redis_is_away(newcomers, seat):
    """DESIGN 4: while Redis is away the name deadline stands still."""
    newcomers.tick(1000, ready=False)
    newcomers.tick(9.9, ready=True)
    assert seat.ended is None


def test_who_gave_a_name_that_is_refused_late_has_a_moment_for_another(newcomers, seat):
    seat.state = State.CLAIMING
    newcomers.tick(20, ready=True)
    seat.state = State.NAMING
    newcomers.tick(0.1, ready=True)
    assert seat.ended is None
    newcomers.tick(0.2, ready=True)
    assert seat.ended is CloseReason.NAME_TIMEOUT


def test_the_late_do_not_hide_behind_those_who_came_after_them(newcomers, seat):
    newcomers.tick(5, ready=True)
    newcomers.came(Seat())
    seat.state = State.CLAIMING
    newcomers.tick(6, ready=True)
    seat.state = State.NAMING
    newcomers.tick(1, ready=True)
    assert seat.ended is CloseReason.NAME_TIMEOUT


def test_who_has_a_name_is_a_newcomer_no_more(newcomers, seat):
    newcomers.gone(seat)
    newcomers.tick(1000, ready=True)
    assert seat.ended is None
