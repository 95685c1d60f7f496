"""Comings and goings: each is told where few people are, and their sum where many are."""

from __future__ import annotations

import asyncio

import pytest

from gateway.chat.events import Joined, Left, Summary
from gateway.rooms.comings import Comings

QUIET_ABOVE = 200
BOB_CAME, BOB_WENT = Joined("s2", "bob"), Left("s2", "bob")


class Stage:
    """A room's comings, whose timers run when the test says so."""

    def __init__(self, monkeypatch):
        self.timers, self.told = [], []
        self.comings = Comings(QUIET_ABOVE, lambda *told: self.told.append(told))
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, after_s, callback):
        self.timers.append(asyncio.TimerHandle(after_s, callback, (), asyncio.get_running_loop()))
        return self.timers[-1]

    def run(self):
        """Returns how long what runs now had to wait."""
        timer = self.timers.pop()
        if not timer.cancelled():
            timer._run()
        return timer.when()


@pytest.fixture
async def stage(monkeypatch):
    return Stage(monkeypatch)


async def test_among_few_nothing_is_summed_up(stage):
    assert not stage.comings.sums_up(BOB_CAME, QUIET_ABOVE)
    assert stage.timers == []


async def test_among_many_all_of_2_s_is_told_at_once(stage):
    """DESIGN 4: ``* 31 joined, 12 left``, at most every 2 s."""
    for event in (BOB_CAME, BOB_CAME, BOB_WENT):
        assert stage.comings.sums_up(event, QUIET_ABOVE + 1)
    assert stage.told == []
    assert stage.run() == 2.0
    assert stage.told == [(Summary(joined=2, left=1), {})]
    assert stage.timers == []


async def test_what_is_told_is_not_told_again(stage):
    for event in (BOB_CAME, BOB_WENT):
        stage.comings.sums_up(event, QUIET_ABOVE + 1)
        stage.run()
    assert stage.told == [(Summary(joined=1, left=0), {}), (Summary(joined=0, left=1), {})]


async def test_who_comes_meanwhile_is_not_told_of_itself_and_of_before(stage):
    """Promise 2: a connected client gets every event of its room, and no other."""
    stage.comings.came("early")
    stage.comings.sums_up(BOB_CAME, QUIET_ABOVE + 1)
    stage.comings.came("s2")
    stage.comings.sums_up(BOB_WENT, QUIET_ABOVE + 1)
    stage.comings.came("late")
    stage.run()
    stage.comings.sums_up(BOB_CAME, QUIET_ABOVE + 1)
    stage.run()
    assert stage.told == [
        (Summary(joined=1, left=1), {"s2": Summary(joined=0, left=1), "late": None}),
        (Summary(joined=1, left=0), {}),
    ]


async def test_of_a_crowd_that_comes_in_at_once_not_each_is_told_another_sum(stage):
    """Promise 7: what is kept of newcomers is bounded."""
    stage.comings.sums_up(BOB_CAME, QUIET_ABOVE + 1)
    for number in range(10_000):
        stage.comings.came(f"s{number}")
    stage.run()
    ((_, newcomers),) = stage.told
    assert len(newcomers) == 500


async def test_a_sum_that_was_begun_is_ended_among_few(stage):
    """Else who left would be told before those who came earlier."""
    stage.comings.sums_up(BOB_CAME, QUIET_ABOVE + 1)
    assert stage.comings.sums_up(BOB_WENT, QUIET_ABOVE)
    stage.run()
    assert stage.told == [(Summary(joined=1, left=1), {})]
    assert not stage.comings.sums_up(BOB_CAME, QUIET_ABOVE)


@pytest.mark.parametrize(("people", "wait_s"), [(4000, 2.0), (8000, 4.0), (15_000, 7.5)])
async def test_a_crowd_is_told_more_seldom(stage, people, wait_s):
    """Promise 5, alone: one that comes is not to cost each of thousands a write."""
    stage.comings.sums_up(BOB_CAME, people)
    assert stage.run() == wait_s


async def test_a_room_that_is_left_by_all_tells_nobody(stage):
    stage.comings.sums_up(BOB_CAME, QUIET_ABOVE + 1)
    stage.comings.stop()
    stage.run()
    assert stage.told == []
