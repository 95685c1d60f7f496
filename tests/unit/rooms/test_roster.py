"""``gateway.rooms.roster``: who is in a room, and when what was read may not know it yet."""

import pytest

from gateway.rooms.roster import Roster


@pytest.fixture
def roster():
    roster = Roster()
    roster.asked()
    roster.read({"s1": "bob", "s2": "Alice"})
    return roster


def test_a_new_one_is_to_be_read():
    assert Roster().doubted


def test_names_are_in_alphabetical_order_whatever_their_case(roster):
    """DESIGN 4: ``/who`` lists everybody."""
    assert roster.names() == ["Alice", "bob"]


def test_each_change_shows_in_the_names(roster):
    assert roster.names() == ["Alice", "bob"]
    roster.add("s1", "zoe")
    assert roster.names() == ["Alice", "zoe"]
    roster.remove("s2")
    assert roster.names() == ["zoe"]
    roster.settled("s3", "carol")
    assert roster.names() == ["carol", "zoe"]
    roster.read({"s9": "dora"})
    assert roster.names() == ["dora"]


def test_who_was_not_there_can_be_removed(roster):
    roster.remove("s7")
    assert len(roster) == 2


def test_another_number_than_the_logs_is_a_doubt(roster):
    roster.counted(2)
    assert not roster.doubted
    roster.counted(3)
    assert roster.doubted


def test_what_was_asked_before_somebody_settled_may_not_know_it(roster):
    """Promise 6: nobody living is taken for gone by a reading that is older than they are."""
    assert not roster.ahead
    roster.settled("s3", "carol")
    assert roster.ahead
    roster.asked()
    assert not roster.ahead


def test_while_memberships_are_written_anew_no_reading_knows_them_all(roster):
    """Promise 6, after a Redis came back empty: others' may be there when all of ours are."""
    roster.keeping()
    roster.keeping()
    roster.counted(0)
    assert not roster.doubted
    assert not roster.kept()
    roster.asked()
    assert roster.ahead
    assert roster.kept()
    assert roster.doubted
    roster.asked()
    assert not roster.ahead
