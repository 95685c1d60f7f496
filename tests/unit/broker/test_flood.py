"""When lines are left to come: in a flood, and in nothing that only looks like one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gateway.broker import flood as module
from gateway.broker.flood import Flood
from gateway.config import Config

CONFIG = Config()
PEOPLE = 1000
WINDOW_S = CONFIG.publish_pace.window_s
CYCLE_S = 0.015
"""From one batch to the next, while nothing is gathered."""
A_CYCLE = round(CONFIG.flood_per_s * CYCLE_S) + 1
"""Lines of a flood in that time."""
GATHERED = round(CONFIG.flood_per_s * CONFIG.flood_wait_s) + 1


class Stage:
    """A flood, its clock, and those who speak: while they are not read their lines pile up."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        self.people = PEOPLE
        self.piles_up = GATHERED
        self.slept = []
        self.read_again = 0
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        monkeypatch.setattr(
            module,
            "asyncio",
            SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=self._sleep),
        )
        self.cadence = SimpleNamespace(count=0, waited_s=0.0)
        self.outbox = SimpleNamespace(ready={"lobby"})
        self.flood = Flood(CONFIG, self.outbox, self.cadence, lambda: self.people)
        self.flood.on_gathered = self._read_again

    def _read_again(self):
        assert not self.flood.gathers
        self.read_again += 1

    async def _sleep(self, seconds):
        self.now_s += seconds
        if self.flood.gathers:
            self.slept.append(round(seconds, 6))
        else:
            self.flood.lines += self.piles_up

    async def batch(self, lines=A_CYCLE, waited_s=WINDOW_S, joins=False):
        """One is due.  Returns whether more of it was left to come."""
        before = self.flood.gathered
        self.now_s += CYCLE_S
        self.flood.lines += lines * (not joins)
        self.cadence.count, self.cadence.waited_s = lines, waited_s
        await self.flood.gather()
        assert not self.flood.gathers
        assert self.flood.gathered == self.read_again
        return self.flood.gathered > before

    async def batches(self, count=10, **what):
        return [await self.batch(**what) for _ in range(count)]


@pytest.fixture
async def stage(monkeypatch):
    return Stage(monkeypatch)


async def test_a_flood_is_left_to_come_when_it_was_seen_for_a_while(stage):
    """Reads and writes are shared by what comes within the longer wait."""
    found = await stage.batches()
    first = found.index(True)
    assert first * CYCLE_S < 0.1 <= (first + 1) * CYCLE_S
    assert all(found[first:])
    assert stage.slept[0] == pytest.approx(CONFIG.flood_wait_s - WINDOW_S)


async def test_it_goes_on_without_being_seen_anew(stage):
    """What came while the last of it was published has not waited for the window."""
    await stage.batches()
    assert await stage.batch(lines=1, waited_s=0.001)
    assert await stage.batch(lines=0, waited_s=0.0)
    assert stage.slept[-2:] == pytest.approx([CONFIG.flood_wait_s - 0.001, CONFIG.flood_wait_s])


@pytest.mark.parametrize(
    "what",
    [
        {"lines": A_CYCLE * 2 // 3},  # too few
        {"lines": CONFIG.publish_pace.enough},  # they went for being enough,
        {"waited_s": WINDOW_S / 2},  # or for a lull
        {"waited_s": 0.06},  # as long as half of the longer wait
        {"joins": True},  # a crowd comes in
    ],
)
async def test_what_is_no_flood_is_not_left_to_come(stage, what):
    assert not any(await stage.batches(30, **what))


async def test_to_many_rooms_it_is_no_flood(stage):
    """In each of them little is said, and nothing is shared."""
    stage.outbox.ready = {"lobby", "tea"}
    assert not any(await stage.batches(30))
    assert any(await stage.batches(30, lines=2 * A_CYCLE))


async def test_with_few_people_nothing_is_left_to_come(stage):
    stage.people = 50
    assert not any(await stage.batches(30))


async def test_it_waits_no_longer_than_the_people_are_worth(stage):
    stage.people = 300
    await stage.batches()
    assert stage.slept[0] == pytest.approx(0.06 - WINDOW_S)


async def test_a_long_silence_is_a_part_of_the_rate(stage):
    """What comes at once after an hour is no flood yet."""
    stage.now_s += 3600
    assert not await stage.batch(lines=A_CYCLE * 2)


async def test_who_waits_for_answers_is_not_kept_waiting_again(stage):
    """Closed loops: they say nothing more until they hear of what they said."""
    stage.piles_up = GATHERED // 2
    assert sum(await stage.batches(int(CONFIG.flood_again_s / CYCLE_S))) == 1
    stage.piles_up = GATHERED
    assert any(await stage.batches(20))


async def test_a_flood_ends(stage):
    """What comes then waits no longer than before it."""
    await stage.batches()
    stage.piles_up = 0
    assert await stage.batch()
    assert not any(await stage.batches())


async def test_a_flood_ends_when_nobody_is_left_to_hear_of_it(stage):
    """Nothing would be waited for, again and again."""
    await stage.batches()
    assert stage.flood.on
    stage.people = 0
    assert not any(await stage.batches())
    assert not stage.flood.on


async def test_a_flood_ends_when_its_lines_have_waited_long_enough(stage):
    """Redis was slow: what it kept waiting is not kept waiting for more."""
    await stage.batches()
    assert not await stage.batch(waited_s=CONFIG.flood_wait_s)
    assert not stage.flood.on


async def test_who_speaks_is_read_again_if_the_publisher_ends(stage):
    await stage.batches()
    before = stage.read_again

    async def cancelled(_seconds):
        raise asyncio.CancelledError

    module.asyncio.sleep = cancelled
    with pytest.raises(asyncio.CancelledError):
        await stage.flood.gather()
    assert (stage.flood.gathers, stage.read_again) == (False, before + 1)
