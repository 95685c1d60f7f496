"""Counting into buckets, at the price of an addition; ``gateway.ops.metrics`` shows them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
EVENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class Histogram:
    """How many values fell into each bucket, and their sum.

    ``counts`` has one more entry than ``bounds``: what is above all of them.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """A bucket holds what is at most its bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class RecentMax:
    """The highest value of about the last minute."""

    _SLICES, _SLICE_S = 6, 10.0

    def __init__(self) -> None:
        self._highest: dict[int, float] = {}

    def observe(self, value: float, now: float) -> None:
        """``now``: any clock in seconds that does not go back."""
        place = int(now // self._SLICE_S)
        if value > self._highest.get(place, 0.0):
            self._highest[place] = value
            if len(self._highest) > self._SLICES:
                self._forget(place)

    def value(self, now: float) -> float:
        self._forget(int(now // self._SLICE_S))
        return max(self._highest.values(), default=0.0)

    def _forget(self, place: int) -> None:
        for old in [each for each in self._highest if each <= place - self._SLICES]:
            del self._highest[old]
