"""Redis's clock, as seen from here: events carry its time, not that of a gateway."""

from __future__ import annotations

import time
from collections import deque

_HEARD_REMEMBERED = 60
"""About a minute of beats."""


class RedisClock:
    """Hears Redis's time now and then, and goes on by the clock of this machine.

    Of the last minute's answers the quickest counts: it is wrong by half its
    round trip at most (Cristian's algorithm, 1989).
    """

    def __init__(self) -> None:
        self._heard: deque[tuple[float, float]] = deque(maxlen=_HEARD_REMEMBERED)
        self._ahead_s: float | None = None

    def now_s(self) -> float | None:
        """Redis's time in seconds since 1970, or None before it was heard."""
        if self._ahead_s is None:
            return None
        return time.monotonic() + self._ahead_s

    def heard(self, redis_s: float, asked_at: float, answered_at: float) -> None:
        """Redis's time at some moment between the two, which are monotonic."""
        self._heard.append((answered_at - asked_at, redis_s - (asked_at + answered_at) / 2))
        self._ahead_s = min(self._heard)[1]
