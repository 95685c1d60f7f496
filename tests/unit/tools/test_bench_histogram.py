"""The bench's histogram: nothing of the tail is lost, and nothing is far off."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.tools.bench.histogram import Histogram

values = st.lists(st.integers(0, 10**9), min_size=1, max_size=300)


def of(recorded: list[int]) -> Histogram:
    histogram = Histogram()
    for value in recorded:
        histogram.record(value)
    return histogram


@given(values, st.floats(0.001, 100))
def test_a_percentile_is_off_by_less_than_two_percent(recorded, percent):
    rank = max(1, math.ceil(len(recorded) * percent / 100 - 1e-9))
    true = sorted(recorded)[rank - 1]
    assert true <= of(recorded).percentile(percent) <= true * 1.02


@given(values)
def test_the_largest_is_kept_exactly(recorded):
    histogram = of(recorded)
    assert histogram.largest == histogram.percentile(100) == max(recorded)


@given(values, values)
def test_two_merged_are_as_one(first, second):
    merged = of(first)
    merged.merge(of(second))
    assert merged.buckets == of(first + second).buckets
    assert merged.largest == max(first + second)


def test_one_in_a_thousand_is_seen_at_p99_9():
    histogram = of([100] * 998 + [50_000] * 2)
    assert histogram.percentile(99) == 100
    assert histogram.percentile(99.9) >= 50_000


def test_without_values_all_is_zero():
    assert Histogram().percentile(99) == Histogram().count == Histogram().largest == 0
