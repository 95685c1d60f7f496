"""A crowd that talks all the time, and what the checker needs to know of it.

Knows nothing of faults but what they mean for those who are hit: who died,
who was taken for dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from checker import Ending, Finding, Record, check
from people import PROMPT, Person
from processes import GatewayProcess

TALK_EVERY_S = 0.25
SETTLE_S = 45.0
RATES = ("--rate", "1000", "--burst", "1000")
"""Flags for gateways that are to let a crowd talk as fast as it likes."""


class Talker:
    """Somebody of the crowd: a person, its gateway and its record."""

    def __init__(self, name: str, gateway: GatewayProcess) -> None:
        self.person = Person(name)
        self.gateway = gateway
        self.record = Record(name, asked_at=time.monotonic(), joined_at=0.0)
        self._count = 0

    async def join(self) -> None:
        self.person = await Person.connect(self.gateway.port, self.record.name)
        self.record.asked_at = time.monotonic()
        await self.person.say(self.record.name)
        await self.person.barrier(timeout=30)
        self.record.joined_at = time.monotonic()

    async def say(self, padding: str = "") -> str:
        """Say something that nobody said before; the line that others are to hear."""
        self._count += 1
        text = f"{self._count} by {self.record.name}{padding}"
        self.record.sent.append((time.monotonic(), text))
        await self.person.say(text)
        return f"{self.record.name}: {text}"

    def ends(self, how: Ending) -> None:
        """To be called before what ends it."""
        self.record.ending = how
        self.record.ended_at = time.monotonic()

    @property
    def there(self) -> bool:
        return self.record.ended_at is None and not self.person.hung_up

    def failed(self, line: str) -> bool:
        """Whether the sender was told that this line was not delivered."""
        text = line.removeprefix(f"{self.record.name}: ")
        return f"* not delivered: {text}" in self.person.lines


class Crowd:
    """``size`` talkers on each gateway."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.talkers: list[Talker] = []
        self._random = random.Random(seed)
        self._talk: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    async def gather(self, *gateways: GatewayProcess) -> None:
        """Fill these gateways with people who start talking."""
        new = [
            Talker(f"{gateway.label}.{number}", gateway)
            for gateway in gateways
            for number in range(self.size)
        ]
        self.talkers += new
        await asyncio.gather(*(talker.join() for talker in new))
        self._talk |= {asyncio.create_task(self._talks(talker)) for talker in new}

    def of(self, gateway: GatewayProcess) -> list[Talker]:
        return [talker for talker in self.talkers if talker.gateway is gateway]

    def there(self) -> list[Talker]:
        return [talker for talker in self.talkers if talker.there]

    async def _talks(self, talker: Talker) -> None:
        while talker.there and not self._quiet.is_set():
            await talker.say()
            pause = self._random.uniform(0.5, 1.5) * TALK_EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._quiet.wait()

    async def settle(self, within_s: float = SETTLE_S) -> None:
        """Everybody stops, says one last line and hears that of all others.

        One order for all: who has heard the last lines has heard everything.
        Says nothing of who did not; the checker will.
        """
        self._quiet.set()
        await asyncio.gather(*self._talk)
        deadline = time.monotonic() + within_s
        while not await self._last_lines(deadline) and time.monotonic() < deadline:
            pass  # somebody's was told not to be delivered: once more

    async def _last_lines(self, deadline: float) -> bool:
        """One last line of everybody; whether all were delivered and all of it was heard."""
        there = self.there()
        last = [await talker.say(" at last") for talker in there]
        left = {
            f"{talker.record.name} has left the chat"
            for talker in self.talkers
            if talker.record.ended_at is not None
        }

        def refused() -> set[str]:
            return {line for talker, line in zip(there, last, strict=True) if talker.failed(line)}

        try:
            for talker, own in zip(there, last, strict=True):
                wanted = {*last, *left} - {own}
                remaining_s = max(deadline - time.monotonic(), 0.01)
                await talker.person.until(
                    lambda: wanted <= {*talker.person.lines, *refused()},  # noqa: B023
                    remaining_s,
                    "the end of all",
                )
        except AssertionError:
            return False
        return not refused()

    def findings(self) -> list[Finding]:
        """What the checker says about everybody's lines so far."""
        for talker in self.talkers:
            lines = talker.person.lines
            talker.record.received = [line for line in lines if line != PROMPT]
            talker.record.hung_up = talker.person.hung_up and talker.record.ended_at is None
        return check([talker.record for talker in self.talkers])

    async def close(self) -> None:
        self._quiet.set()
        for task in self._talk:
            task.cancel()
        await asyncio.gather(*self._talk, return_exceptions=True)
        for talker in self.talkers:
            talker.person.abort()
