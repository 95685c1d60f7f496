"""Who comes to a room and who goes: summed up where many hear of it.

Knows no members; tells what it summed up to who made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.chat.events import Joined, Left, Summary

_SUMMARY_S = 2.0
_SUMMARY_PERSON_S = 0.000_5
"""Each gets a write then: in a crowd no more than 2,000 of them a second."""


class Comings:
    """One room's sum of joins and leaves, while it has more than ``quiet_above`` people."""

    __slots__ = ("_joined", "_left", "_quiet_above", "_tell", "_timer")

    def __init__(self, quiet_above: int, tell: Callable[[Summary], None]) -> None:
        self._quiet_above = quiet_above
        self._tell = tell
        self._joined = self._left = 0
        self._timer: asyncio.TimerHandle | None = None  # while something is summed up

    def sums_up(self, event: Joined | Left, people: int) -> bool:
        """Whether ``event`` is told with others, later.  ``people`` are there after it."""
        if not self._timer:
            if people <= self._quiet_above:
                return False
            wait_s = max(_SUMMARY_S, people * _SUMMARY_PERSON_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tell_sum)
        if isinstance(event, Joined):
            self._joined += 1
        else:
            self._left += 1
        return True

    def stop(self) -> None:
        """Nobody is here any more who could be told."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _tell_sum(self) -> None:
        summary = Summary(self._joined, self._left)
        self._joined = self._left = 0
        self._timer = None
        self._tell(summary)
