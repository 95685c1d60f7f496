"""Backpressure at the outbox's cap: who speaks next."""

from types import SimpleNamespace

import pytest

from gateway.seats.speakers import Speakers


class Seat:
    """Says one line when it is its turn, and has more to say."""

    def __init__(self, name, said, outbox, speakers):
        self.name, self.said, self.outbox, self.speakers = name, said, outbox, speakers

    def pump(self):
        if self.speakers.admits(outstanding=0):
            self.said.append(self.name)
            self.outbox.size_bytes += 1
        self.speakers.wait(self)


@pytest.fixture
def outbox():
    return SimpleNamespace(size_bytes=0)


@pytest.fixture
def said():
    return []


@pytest.fixture
def flood():
    return SimpleNamespace(gathers=False, on_gathered=None)


@pytest.fixture
def speakers(outbox, flood, said):
    speakers = Speakers(outbox, most_bytes=3, flood=flood)
    speakers.seats = [Seat(name, said, outbox, speakers) for name in "abcde"]
    return speakers


def test_those_who_wait_speak_in_turn(outbox, speakers, said):
    """DESIGN 3: at the outbox's cap every speaker is paused and resumed round-robin."""
    for seat in speakers.seats:
        speakers.wait(seat)
    for _ in range(4):
        outbox.size_bytes = 0
        speakers.go_on()
    assert "".join(said) == "abcdeabcdeab"


def test_nobody_speaks_while_it_is_full(outbox, speakers, said):
    """Promise 7: every queue has a cap."""
    outbox.size_bytes = 3
    speakers.wait(speakers.seats[0])
    speakers.go_on()
    assert not speakers.admits(0)
    assert (said, speakers.kept_waiting) == ([], 1)


def test_who_has_a_part_in_a_flood_waits_until_it_is_gathered(outbox, flood, speakers, said):
    """Flood: nobody else does; and that the outbox is full is not said of it."""
    flood.gathers = True
    assert (speakers.admits(0), speakers.admits(1)) == (True, False)
    for seat in speakers.seats[:2]:
        speakers.wait(seat)
    speakers.go_on()
    assert (said, speakers.kept_waiting) == ([], 0)
    flood.gathers = False
    flood.on_gathered()
    assert said[:2] == ["a", "b"]
    outbox.size_bytes = 0
    assert speakers.admits(1)


def test_a_gateway_that_drains_waits_for_no_flood(outbox, flood, speakers, said):
    """Seat: who is heard out before it is let go has all lines that came taken."""
    flood.gathers = True
    speakers.wait(speakers.seats[0])
    speakers.hurry()
    assert said[:1] == ["a"]
    outbox.size_bytes = 0
    assert speakers.admits(1)


def test_who_is_gone_does_not_speak(outbox, speakers, said):
    first, second, *_ = speakers.seats
    outbox.size_bytes = 3
    speakers.wait(first)
    speakers.wait(second)
    speakers.gone(first)
    speakers.gone(first)
    outbox.size_bytes = 2
    speakers.go_on()
    assert said == ["b"]
