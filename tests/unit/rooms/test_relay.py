"""The relay's promises one by one; ``test_relay_properties`` has them all at once."""

import pytest

from gateway.chat.events import Message, Missed, decode_envelope, encode_event
from gateway.rooms.relay import Counts, Reading, Relay

BODY = encode_event(Message("s1", "alice", "hi"))


def event(offset, epoch="a", batch=0):
    """``batch`` tells events apart that different histories have at the same offset."""
    return decode_envelope(b"%d %s 0 G1 %d 0 %s" % (offset, epoch.encode(), batch, BODY))


def events(*offsets, epoch="a", batch=0):
    return [event(offset, epoch, batch) for offset in offsets]


def reading(last, *offsets, known=0, epoch="a", batch=0):
    """The log ends at ``last``; its lines at ``offsets`` were read, and the one at ``known``."""
    at_known = event(known, epoch, batch).raw if known else b""
    at_last = event(last, epoch, batch).raw
    return Reading(epoch, last, at_known, events(*offsets, epoch=epoch, batch=batch), at_last)


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def relay(counts):
    """It has delivered all up to 5."""
    relay = Relay(hold_bytes=10_000, counts=counts)
    relay.read(reading(4))
    relay.take(events(5))
    return relay


def place(relay):
    return relay.epoch, relay.offset, relay.behind


def test_a_new_relay_starts_where_the_log_ends(counts):
    """DESIGN 3: the session gets what comes after it joined; what was before is history."""
    relay = Relay(hold_bytes=100, counts=counts)
    assert relay.behind
    assert relay.read(reading(7)) == []
    assert place(relay) == ("a", 7, False)


def test_what_came_while_the_log_was_first_read_is_delivered_once(counts):
    """DESIGN 3: joining has no race."""
    relay = Relay(hold_bytes=10_000, counts=counts)
    assert relay.take(events(6, 7, 8)) == []
    assert relay.read(reading(7)) == events(8)
    assert place(relay) == ("a", 8, False)


def test_events_in_order_are_delivered_at_once(relay):
    """Promise 1: order."""
    assert relay.take(events(6, 7)) == events(6, 7)
    assert place(relay) == ("a", 7, False)


def test_a_hole_holds_what_follows_until_it_is_filled(relay, counts):
    """DESIGN 3: a hole: read it from the log, deliver, go on."""
    assert relay.take(events(6, 9, 10)) == events(6)
    assert relay.behind
    assert relay.take(events(11)) == []
    assert relay.read(reading(10, 7, 8, 9, 10, known=6)) == events(7, 8, 9, 10, 11)
    assert place(relay) == ("a", 11, False)
    assert (counts.holes, counts.filled, counts.unfillable) == (1, 4, 0)


def test_what_comes_in_another_order_is_delivered_in_the_logs(relay):
    """Promise 1: every client of a room sees the room's events in log order."""
    assert relay.take(events(8, 6, 7)) == []
    assert relay.read(reading(6, 6, known=5)) == events(6, 7, 8)
    assert not relay.behind


def test_what_comes_twice_is_delivered_once(relay):
    """Promise 2: once."""
    assert relay.take(events(5, 4)) == []
    assert relay.take(events(6, 6)) == []
    assert relay.read(reading(6, 6, known=5)) == events(6)
    assert relay.read(reading(6, known=6)) == []


def test_a_lost_tail_shows_when_the_log_is_compared(relay):
    """DESIGN 3: pub/sub can lose the tail; the log's last offset is compared, too."""
    assert relay.read(reading(7, 6, 7, known=5)) == events(6, 7)


def test_a_page_that_does_not_reach_the_end_leaves_it_behind(relay):
    """DESIGN 3: the range read is bounded."""
    assert relay.take(events(9)) == []
    assert relay.read(reading(9, 6, 7, known=5)) == events(6, 7)
    assert place(relay) == ("a", 7, True)
    assert relay.take(events(10)) == []
    assert relay.read(reading(9, 8, 9, known=7)) == events(8, 9, 10)
    assert place(relay) == ("a", 10, False)


def test_a_hole_behind_a_hole_is_read_next(relay):
    """DESIGN 3: events arriving meanwhile are held and merged."""
    relay.take(events(8, 12))
    assert relay.read(reading(8, 6, 7, 8, known=5)) == events(6, 7, 8)
    assert relay.behind
    assert relay.read(reading(12, 9, 10, 11, 12, known=8)) == events(9, 10, 11, 12)


def test_what_the_log_no_longer_has_is_said_to_be_missed_at_its_place(relay, counts):
    """Promise 4: a gap that can't be filled is reported to its readers."""
    relay.take(events(12))
    assert relay.read(reading(12, 10, 11, 12)) == [Missed(), *events(10, 11, 12)]
    assert counts.unfillable == 1


def test_a_log_without_any_of_it_left_is_said_to_be_missed(relay):
    """Promise 4: never silence."""
    assert relay.read(reading(9)) == [Missed()]
    assert place(relay) == ("a", 9, False)


def test_of_another_log_all_is_news(relay):
    """DESIGN 3: the epoch changed: this is another log; members are told, and go on with it."""
    assert relay.take(events(1, epoch="b")) == []
    assert relay.read(reading(2, 1, 2, epoch="b")) == [Missed(), *events(1, 2, epoch="b")]
    assert place(relay) == ("b", 2, False)
    assert relay.take(events(3, epoch="b")) == events(3, epoch="b")


def test_what_is_left_of_another_log_is_not_delivered(relay):
    """DESIGN 3: what the relay held of the log that is gone has no place in the new one."""
    relay.take(events(1, epoch="b"))
    relay.take(events(2, 6))
    assert relay.read(reading(1, 1, epoch="b")) == [Missed(), *events(1, epoch="b")]


def test_a_log_that_lost_its_end_is_another_one(relay):
    """DESIGN 3: a failover that lost writes."""
    assert relay.read(reading(3)) == [Missed()]
    assert place(relay) == ("a", 3, False)
    assert relay.take(events(4, batch=1)) == events(4, batch=1)


def test_what_was_held_when_a_log_was_asked_that_does_not_have_it_is_of_another_one(relay):
    """A failover lost the end: what was published of it is never delivered, nor waited for."""
    assert relay.take(events(8)) == []
    relay.asked()
    relay.take(events(9, batch=1))
    assert relay.read(reading(7, 6, 7, known=5)) == events(6, 7)
    assert relay.behind  # for 9, which is held
    relay.asked()
    of_now = events(8, 9, batch=1)
    assert relay.read(Reading("a", 9, event(7).raw, of_now, of_now[-1].raw)) == of_now
    assert place(relay) == ("a", 9, False)


def test_what_came_after_a_log_was_asked_may_be_newer_than_it(relay):
    relay.asked()
    relay.take(events(8))
    assert relay.read(reading(7, 6, 7, known=5)) == events(6, 7, 8)


@pytest.mark.parametrize("last", [5, 6, 9])
def test_a_log_that_grew_again_is_known_by_the_entry_at_ones_own_offset(relay, last):
    """DESIGN 3: the entry at one's own last offset is compared by identity."""
    follows = range(6, last + 1)
    assert relay.read(reading(last, *follows, known=5, batch=1)) == [Missed()]
    assert place(relay) == ("a", last, False)


@pytest.mark.parametrize("last", [7, 8])
def test_a_log_is_known_again_by_the_entry_at_which_the_relay_started(counts, last):
    """DESIGN 3: a failover that lost writes, before anything was delivered from it."""
    relay = Relay(hold_bytes=10_000, counts=counts)
    relay.read(reading(7))
    assert relay.read(reading(7, known=7)) == []
    follows = range(8, last + 1)
    assert relay.read(reading(last, *follows, known=7, batch=1)) == [Missed()]
    assert place(relay) == ("a", last, False)
    # And again, from where it went on then.
    assert relay.read(reading(last, known=last, batch=1)) == []
    assert relay.read(reading(last, known=last, batch=2)) == [Missed()]


def test_holding_is_bounded_and_the_rest_is_read_from_the_log(counts):
    """Promise 7: every queue has a cap, a counter and a stated overflow rule."""
    size = len(event(6).raw)
    relay = Relay(hold_bytes=2 * size, counts=counts)
    relay.read(reading(4))
    relay.take(events(6, 7, 8, 9))
    assert counts.hold_overflows == 2
    assert relay.read(reading(7, 5, 6, 7)) == events(5, 6, 7)
    relay.take(events(9))
    assert relay.read(reading(9, 8, 9, known=7)) == events(8, 9)
    assert not relay.behind


def test_events_of_an_unknown_kind_have_their_place(relay):
    """chat.events: a kind of event that only a newer version knows has a place, no more."""
    newer = decode_envelope(b'6 a 0 G1 0 0 {"type":"dance","session":"s1","name":"alice"}')
    assert newer.event is None
    assert relay.take([newer, *events(7)]) == [newer, *events(7)]
