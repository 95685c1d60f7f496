"""Who comes to a room and who goes: summed up where many hear of it.

Tells what it summed up to who made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.chat.events import Joined, Left, SessionId, Summary

Tell = Callable[[Summary, Mapping[SessionId, Summary | None]], None]
"""Gets the sum, and what of it is for those who came meanwhile; None if nothing is."""

_SUMMARY_S = 2.0
_NEWCOMERS = 500
"""Of so many it is known what they have missed."""
_SUMMARY_PERSON_S = 0.000_5
"""Each gets a write then: in a crowd no more than 2,000 of them a second."""


class Comings:
    """One room's sum of joins and leaves, while it has more than ``quiet_above`` people."""

    __slots__ = ("_came_at", "_joined", "_left", "_quiet_above", "_tell", "_timer")

    def __init__(self, quiet_above: int, tell: Tell) -> None:
        self._quiet_above = quiet_above
        self._tell = tell
        self._joined = self._left = 0
        self._came_at: dict[SessionId, tuple[int, int]] = {}  # to what was summed up by then
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

    def came(self, session: SessionId) -> None:
        """From here on somebody hears what happens; what was before is not for it.

        In a crowd that comes in at once it is: to tell each of thousands another sum is work.
        """
        if self._timer and len(self._came_at) < _NEWCOMERS:
            self._came_at[session] = self._joined, self._left

    def stop(self) -> None:
        """Nobody is here any more who could be told."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _tell_sum(self) -> None:
        joined, left = self._joined, self._left
        since = {
            session: None
            if before == (joined, left)
            else Summary(joined - before[0], left - before[1])
            for session, before in self._came_at.items()
        }
        self._joined = self._left = 0
        self._came_at.clear()
        self._timer = None
        self._tell(Summary(joined, left), since)
