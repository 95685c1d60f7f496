"""How long to wait before the next attempt."""

import random

import pytest

from gateway.broker.backoff import Backoff


@pytest.fixture(autouse=True)
def _same_chance_each_time():
    random.seed(1)


def longest(backoff, times):
    """The longest of many waits, each the last of ``times`` in a row."""
    waits = []
    for _ in range(500):
        backoff.reset()
        waits.append([backoff.next_s() for _ in range(times)][-1])
    return max(waits)


def test_it_doubles_up_to_its_cap():
    """Issue 3: backoff with jitter."""
    backoff = Backoff(first_s=1.0, cap_s=5.0)
    for times, ceiling_s in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (9, 5.0)]:
        assert 0.95 * ceiling_s < longest(backoff, times) <= ceiling_s


def test_it_is_spread_out_so_that_not_all_come_at_once():
    """AWS Architecture Blog, 2015: full jitter.  But never at once: that would spin."""
    backoff = Backoff(first_s=1.0, cap_s=8.0)
    waits = [backoff.next_s() for _ in range(1000)]
    assert len(set(waits)) == len(waits)
    assert min(waits) >= 0.5
    assert sum(wait < 4.0 for wait in waits[3:]) > 300


def test_after_a_success_it_starts_anew():
    """Issue 3: reset after success."""
    backoff = Backoff(first_s=1.0, cap_s=100.0)
    for _ in range(20):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1.0
