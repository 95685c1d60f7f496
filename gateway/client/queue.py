"""Events on their way to who iterates.  Knows nothing of where they come from."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.client.events import Event, Missed

READ_AHEAD_EVENTS = 1024
"""More are not read while nothing is waited for."""
MOST_EVENTS = 4096
"""What comes beyond, because an answer is waited for, is dropped and told as ``Missed``."""


class EventQueue:
    """In order, bounded, for one reader."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._come = asyncio.Event()
        self._taken = asyncio.Event()
        self._ended = False

    @property
    def full(self) -> bool:
        return len(self._events) >= READ_AHEAD_EVENTS

    def put(self, event: Event) -> None:
        if len(self._events) < MOST_EVENTS:
            self._events.append(event)
        elif len(self._events) == MOST_EVENTS:
            self._events.append(Missed())
        self._come.set()

    def end(self) -> None:
        """Nothing will come."""
        self._ended = True
        self._come.set()
        self.nudge()

    async def get(self) -> Event | None:
        """The next event; None after the last one."""
        while not self._events:
            if self._ended:
                return None
            self._come.clear()
            await self._come.wait()
        event = self._events.popleft()
        if not self.full:
            self.nudge()
        return event

    async def taken(self) -> None:
        """Wait until the queue has changed, or ``nudge``."""
        self._taken.clear()
        await self._taken.wait()

    def nudge(self) -> None:
        self._taken.set()
