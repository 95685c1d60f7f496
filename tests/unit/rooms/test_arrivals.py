"""Who becomes a member by which ``joined``."""

from types import SimpleNamespace

import pytest

from gateway.broker.outbox import Holder, Operation, whatever
from gateway.chat.events import Joined, decode_envelope, encode_event
from gateway.rooms.arrivals import Arrivals

JOINED = Joined("s1", "alice")


def join(place):
    return Operation("lobby", Holder("G1", "s1", 1), JOINED, whatever, place=place)


def envelope(batch, index):
    return decode_envelope(f"7 a 0 G1 {batch} {index} ".encode() + encode_event(JOINED))


@pytest.fixture
def arrivals():
    return Arrivals()


@pytest.fixture
def alice(arrivals):
    resident = SimpleNamespace(session_id="s1")
    arrivals.add(resident)
    arrivals.asked(resident, join((3, 1)))
    return resident


def test_a_session_joins_by_what_it_asked_for_be_it_again(arrivals, alice):
    """DESIGN 3: a gateway knows its own events by (batch, index)."""
    arrivals.asked(alice, join((5, 0)))
    assert [arrivals.by(envelope(*place), "s1") for place in ((3, 1), (5, 0), (3, 0))] == [
        alice,
        alice,
        None,
    ]


def test_what_a_former_connection_asked_for_is_not_for_who_came_after_it(arrivals, alice):
    """The session is the same, and so is the event."""
    again = SimpleNamespace(session_id="s1")
    arrivals.add(again)
    assert arrivals.by(envelope(3, 1), "s1") is None
    assert not arrivals.remove("s1", alice)
    assert list(arrivals) == [again]


def test_who_joins_no_more_is_none_of_them(arrivals, alice):
    assert arrivals.remove("s1", alice)
    assert not arrivals.remove("s1", alice)
    assert arrivals.by(envelope(3, 1), "s1") is None
    assert not arrivals
