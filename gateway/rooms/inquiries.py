"""Questions of single sessions to rooms' logs: asked in one pipeline, answered once.

What can't be answered now is said to be so: nothing is repeated here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from redis.exceptions import RedisError

from gateway.broker.calls import Unreachable
from gateway.broker.reader import Question, Reader, Snapshot
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_ASKED_AT_ONCE = 32

Answered = Callable[[Snapshot | None], None]
"""Gets the snapshot, or None if Redis did not give one."""


class Inquiries:
    """Asks for its owner; one question a session at a time bounds the queue."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: deque[tuple[Question, Answered]] = deque()
        self._wake = asyncio.Event()

    def ask(self, question: Question, answered: Answered) -> None:
        """Have a room read; ``answered`` is called once, in a later iteration of the loop."""
        self._waiting.append((question, answered))
        self._wake.set()

    async def run_forever(self) -> None:
        """Ask what waits, as long as the task lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._run_once()

    async def _run_once(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), _ASKED_AT_ONCE))]
        try:
            replies = await self._reader.read([question for question, _ in some])
        except Unreachable:
            # Those behind would wait as long for as little.
            some += self._waiting
            self._waiting.clear()
            for _, answered in some:
                answered(None)
            return
        for (question, answered), reply in zip(some, replies, strict=True):
            if isinstance(reply, RedisError):
                log.warning("log unreadable", room=question.room, error=str(reply))
                answered(None)
            else:
                answered(reply)
