"""When what waits is due, so that one write carries several things.

Knows nothing of what they are, or where they go.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from gateway.config import Pace


class Cadence:
    """Tells when what waits is due: after a quiet moment at once, else at a ``Pace``."""

    __slots__ = ("_due", "_due_at", "_is_due", "_pace", "_since", "_taken_at", "_timer")

    def __init__(self, pace: Pace, due: Callable[[], None]) -> None:
        """``due`` is called once, then not before ``taken``."""
        self._pace = pace
        self._due = due
        self._since: float | None = None  # when the first came that waits
        self._is_due = False
        self._taken_at = -math.inf
        self._timer: asyncio.Handle | None = None
        self._due_at = math.inf  # by the timer

    def waiting(self, count: int, people: int) -> None:
        """One more waits: ``count`` by now, for so many people."""
        if self._is_due:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._since is None:
            self._since = now
        due_at = self._since
        if due_at < self._taken_at + self._pace.wait_s(0, people):
            due_at += self._pace.wait_s(count, people)
        if due_at <= now:
            self._tell()
        elif due_at < self._due_at:
            self._stop()
            self._due_at = due_at
            self._timer = loop.call_at(due_at, self._tell)

    def taken(self) -> None:
        """What waited is on its way; what comes from now on waits anew."""
        self._stop()
        self._is_due = False
        self._since = None
        self._taken_at = asyncio.get_running_loop().time()

    def _tell(self) -> None:
        self._is_due = True
        self._due()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer, self._due_at = None, math.inf
