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

    __slots__ = (
        "_due",
        "_is_due",
        "_look_at",
        "_loop",
        "_pace",
        "_people",
        "_seen",
        "_since",
        "_taken_at",
        "_timer",
        "_until",
        "count",
    )

    def __init__(self, pace: Pace, people: Callable[[], int], due: Callable[[], None]) -> None:
        """It is for ``people()``; ``due`` is called once, then not before ``taken``."""
        self.count = 0
        """How many wait."""
        self._loop = asyncio.get_running_loop()  # to ask for it each time is a system call
        self._pace = pace
        self._people = people
        self._due = due
        self._is_due = False
        self._taken_at = -math.inf
        self._since = 0.0  # when the first came that waits
        self._until = 0.0  # how long it waits at most
        self._timer: asyncio.Handle | None = None
        self._look_at = math.inf  # by the timer
        self._seen = 0  # how many waited when it was set

    @property
    def waited_s(self) -> float:
        """How long the first has waited of those that wait."""
        return self._loop.time() - self._since if self.count else 0.0

    def one_more(self) -> None:
        """One more waits."""
        self.count += 1
        if self._is_due or not self._pace.matters(self.count):
            return
        now = self._loop.time()
        if self.count == 1:
            self._since = now
        people = self._people()
        self._until = self._since
        if self._since < self._taken_at + self._pace.wait_s(0, people):
            self._until += self._pace.wait_s(self.count, people)
        self._look(now)

    def taken(self) -> None:
        """What waited is on its way; what comes from now on waits anew."""
        self._stop()
        self._is_due = False
        self.count = 0
        self._taken_at = self._loop.time()

    def _look(self, now: float) -> None:
        """Tell that it is due, or see to it that somebody looks in time."""
        if now >= self._until:
            self._is_due = True
            self._due()
            return
        look_at = self._until
        if self.count >= self._pace.few:
            look_at = min(look_at, now + self._pace.lull_s)
        if look_at < self._look_at:
            self._stop()
            self._look_at, self._seen = look_at, self.count
            self._timer = self._loop.call_at(look_at, self._look_again)

    def _look_again(self) -> None:
        now = self._loop.time()
        if self.count == self._seen:
            self._until = now  # nothing comes any more
        self._stop()
        self._look(now)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer, self._look_at = None, math.inf
