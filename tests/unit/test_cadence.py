"""How long things wait for each other: for next to nothing, or for company."""

from __future__ import annotations

import asyncio

import pytest

from gateway.cadence import Cadence
from gateway.config import Pace

FOR_EVER_S = 3600.0
MANY = 10**6
PACE = Pace(0.010, 0.024, few=3, enough=20, lull_s=0.003, person_s=0.0001)


@pytest.mark.parametrize(
    ("count", "people", "wait_s"),
    [
        (1, MANY, 0.024),
        (2, MANY, 0.024),
        (3, MANY, 0.010),
        (19, MANY, 0.010),
        (20, MANY, 0.0),
        (1, 5, 0.0005),
        (1, 100, 0.010),
        (1, 0, 0.0),
    ],
)
def test_the_wait_is_long_where_it_saves_much(count, people, wait_s):
    """DESIGN 3: few things save the most by company, and nothing is saved where few people are."""
    assert PACE.wait_s(count, people) == pytest.approx(wait_s)


@pytest.mark.parametrize("people", [0, 5, 100, MANY])
def test_it_is_reckoned_anew_wherever_it_differs(people):
    """Cadence: at the other counts it only counts."""
    differs = [n for n in range(2, 30) if PACE.wait_s(n, people) != PACE.wait_s(n - 1, people)]
    assert all(map(PACE.matters, [1, *differs]))
    assert not any(map(PACE.matters, [2, *range(4, 20)]))


class Clock:
    """The running loop's, which moves by itself no more; timers run when it is moved."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        self._timers = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        monkeypatch.setattr(loop, "call_at", self._call_at)

    def _call_at(self, when_s, callback):
        timer = asyncio.TimerHandle(when_s, callback, (), asyncio.get_running_loop())
        self._timers.append(timer)
        return timer

    def move(self, to_s):
        self.now_s = to_s
        for timer in [t for t in self._timers if t.when() <= to_s]:
            self._timers.remove(timer)
            if not timer.cancelled():
                timer._run()


@pytest.fixture
async def clock(monkeypatch):
    return Clock(monkeypatch)


class Sender:
    """Takes all that waits whenever it is due."""

    def __init__(self, clock, pace=PACE, people=MANY):
        self.taken = []
        self._clock = clock
        self.cadence = Cadence(pace, lambda: people, self._take)

    def wait(self, at_s):
        self._clock.move(at_s)
        self.cadence.one_more()

    def _take(self):
        self.taken.append((round(self._clock.now_s, 6), self.cadence.count))
        self.cadence.taken()


async def test_what_comes_after_a_quiet_moment_goes_at_once(clock):
    sender = Sender(clock)
    for at_s in (1.0, 1.024, 1.050):
        sender.wait(at_s)
    assert sender.taken == [(1.0, 1), (1.024, 1), (1.050, 1)]


async def test_one_that_comes_soon_waits_for_company(clock):
    sender = Sender(clock)
    for at_s in (1.0, 1.005):
        sender.wait(at_s)
    clock.move(1.028)
    assert sender.taken == [(1.0, 1)]
    clock.move(1.029)
    assert sender.taken == [(1.0, 1), (1.029, 1)]


async def test_with_company_the_first_waits_no_longer_than_the_window(clock):
    sender = Sender(clock)
    for at_s in (1.0, 1.002, 1.004, 1.006, 1.0121):
        sender.wait(at_s)
    assert sender.taken == [(1.0, 1), (1.0121, 3)]
    clock.move(1.0362)
    assert sender.taken == [(1.0, 1), (1.0121, 3), (1.0362, 1)]


async def test_company_that_comes_late_is_taken_at_once(clock):
    """The first has waited for as long as with company already."""
    sender = Sender(clock)
    for at_s in (1.0, 1.001, 1.015, 1.016):
        sender.wait(at_s)
    assert sender.taken == [(1.0, 1), (1.016, 3)]


async def test_with_company_a_lull_ends_the_wait(clock):
    """Who waits for an answer before going on says nothing more: there is no use in waiting."""
    sender = Sender(clock)
    for at_s in (1.0, 1.001, 1.002, 1.003, 1.0045):
        sender.wait(at_s)
    clock.move(1.0061)  # somebody came since the third did, 3 ms ago
    assert sender.taken == [(1.0, 1)]
    clock.move(1.0091)
    assert sender.taken == [(1.0, 1), (1.0091, 4)]


async def test_enough_waits_for_nothing_more(clock):
    sender = Sender(clock)
    for number in range(PACE.enough + 1):
        sender.wait(1.0 + number / 10_000)
    assert sender.taken == [(1.0, 1), (1.002, PACE.enough)]


async def test_how_long_the_first_has_waited(clock):
    sender = Sender(clock)
    assert sender.cadence.waited_s == 0
    sender.wait(1.0)
    assert sender.cadence.waited_s == 0  # it was taken
    sender.wait(1.002)
    sender.wait(1.003)
    clock.move(1.007)
    assert sender.cadence.waited_s == pytest.approx(0.005)


async def test_a_full_rate_is_a_few_writes(clock):
    """What the pace is for: 1,000 things in a second go out in a tenth as many writes."""
    sender = Sender(clock)
    for number in range(1000):
        sender.wait(1.0 + number / 1000)
    assert len(sender.taken) <= 100
