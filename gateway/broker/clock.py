"""Redis's clock, as seen from here: events carry its time, not that of a gateway."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from redis.asyncio import Redis

from gateway.broker.calls import Unreachable

_ASK_EVERY_S = 5.0
_ASKED_REMEMBERED = 12


class RedisClock:
    """Asks Redis for the time now and then, and goes on by the clock of this machine.

    Of the last minute's answers the quickest counts: it is wrong by half its
    round trip at most (Cristian's algorithm, 1989).
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._heard: deque[tuple[float, float]] = deque(maxlen=_ASKED_REMEMBERED)
        self._ahead_s: float | None = None

    def now_s(self) -> float | None:
        """Redis's time in seconds since 1970, or None before it was heard."""
        if self._ahead_s is None:
            return None
        return time.monotonic() + self._ahead_s

    async def run_forever(self) -> None:
        """Ask, as long as the task lives."""
        while True:
            asked_at = time.monotonic()
            try:
                seconds, microseconds = await self._client.time()
            except Unreachable:
                pass  # the clock goes on
            else:
                self.heard(seconds + microseconds / 1e6, asked_at, time.monotonic())
            await asyncio.sleep(_ASK_EVERY_S)

    def heard(self, redis_s: float, asked_at: float, answered_at: float) -> None:
        """Redis's time at some moment between the two, which are monotonic."""
        self._heard.append((answered_at - asked_at, redis_s - (asked_at + answered_at) / 2))
        self._ahead_s = min(self._heard)[1]
