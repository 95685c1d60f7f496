"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from ``first_s`` to ``cap_s`` with full jitter; ``reset()`` after a success.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, first_s: float = 0.05, cap_s: float = 1.0) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._ceiling_s = first_s

    def next_s(self) -> float:
        delay_s = random.uniform(self._first_s / 2, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * 2, self._cap_s)
        return delay_s

    def reset(self) -> None:
        self._ceiling_s = self._first_s
