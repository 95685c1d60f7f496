"""One seat, its host on a stage: what becomes of what it said, and of its name."""

from types import SimpleNamespace

import pytest

from gateway.broker.outbox import Outcome
from gateway.chat.commands import Say
from gateway.chat.events import Notice
from gateway.chat.session import State
from gateway.config import Config
from gateway.fronts.line import LineFront
from gateway.seats.seat import Seat


class Host:
    """A room that is at ``here``; ``said`` are the ends of what was published to it."""

    config, gateway, ready = Config(), "G1", True

    def __init__(self):
        self.here, self.said, self.told, self.kept = 0, [], [], []
        self.names = SimpleNamespace(release=lambda _seat, keep="": self.kept.append(keep))
        self.cluster = SimpleNamespace(speakers=SimpleNamespace(go_on=lambda: None))

    def opened(self, seat):
        pass

    def offset(self, _room):
        return self.here

    def publish(self, _seat, _event, told):
        self.said.append(told)

    def tell(self, _seat, item):
        self.told.append(item)

    @property
    def not_confirmed(self):
        return [item.text for item in self.told if isinstance(item, Notice)]


class Connection:
    reason = None

    def send(self, _data):
        pass

    def held(self, _hold):
        return False

    def release(self, _holds):
        pass


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def alice(host):
    seat = Seat(host, Connection(), LineFront(max_line_bytes=4096, detect_unended=False))
    seat.session.name, seat.session.state = "alice", State.MEMBER
    return seat


def says(seat, host, *texts):
    """Returns what tells how each ended."""
    before = len(host.said)
    for text in texts:
        seat.session.handle(Say(text))
    return host.said[before:]


def test_of_what_is_lost_with_its_log_only_what_was_not_heard_is_told(alice, host):
    """Promise 4: told once, and not of what has come back."""
    one, two, three = says(alice, host, "one", "two", "three")
    for offset, told in enumerate((one, two, three), 1):
        told(Outcome.CONFIRMED, offset)
    alice.missed(lambda offset: offset > 1)
    assert host.not_confirmed == ["not confirmed: two", "not confirmed: three"]
    alice.missed(lambda offset: offset > 1)
    assert len(host.told) == 2


def test_what_was_heard_before_its_answer_came_is_not_lost(alice, host):
    """Pub/sub and the answer come by two connections."""
    host.here = 5
    (one,) = says(alice, host, "one")
    one(Outcome.CONFIRMED, 5)
    alice.missed(lambda _offset: True)
    assert host.told == []


def test_what_was_repeated_and_is_still_to_come_can_be_lost_too(alice, host):
    """DESIGN 4: its ack takes its event's place, which may never come."""
    (one,) = says(alice, host, "one")
    one(Outcome.REPEATED, 5)
    assert host.told == []
    alice.missed(lambda offset: offset == 5)
    assert host.not_confirmed == ["not confirmed: one"]


def test_a_name_that_the_room_hears_of_late_does_not_end_the_wait_for_a_newer_one(alice, host):
    """Names: what is not kept then is freed, and the newer one would be anybody's."""
    alice.session.wish, alice.session.state = "al", State.RENAMING
    alice.renamed("alice")
    assert (alice.session.wish, alice.session.state, host.kept) == ("al", State.RENAMING, [])
    alice.renamed("al")
    assert (alice.session.name, alice.session.wish, host.kept) == ("al", "", ["al"])
