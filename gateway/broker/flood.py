"""A flood of lines: left in the kernel for a while, to be read and written together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from gateway.broker.outbox import Outbox
from gateway.cadence import Cadence
from gateway.config import Config

_SEEN_FOR_S = 0.1
"""For so long it is counted what comes, before that is taken for a flood."""
_READ_S = 0.002
"""For what was left in the kernel to be read."""
_GRAIN_S = 0.001
"""The loop's clock is no finer."""
_GOES_ON = 0.75
"""A flood brings at least this part of what it brought before it was gathered."""


class Flood:
    """Sees a flood come, and has nobody who said something read until much of it is there.

    Where so much is said that nobody follows each line, reads and writes are what keeps a
    gateway busy, and a little more patience saves most of them.  Who waits for answers before
    going on says less meanwhile: then it was no flood, and the next one is not believed soon.
    """

    def __init__(
        self, config: Config, outbox: Outbox, cadence: Cadence, people: Callable[[], int]
    ) -> None:
        self.lines = 0
        """That were said in all; counted by who knows."""
        self.on = False
        """Whether there is one."""
        self.gathers = False
        """Whether who said something that waits is not to be read."""
        self.gathered = 0
        """How often they were not."""
        self.on_gathered: Callable[[], None] = lambda: None
        """Called when they are to be read again."""
        self._config = config
        self._outbox = outbox
        self._cadence = cadence
        self._people = people
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._lines_then = 0
        self._per_s = 0.0  # were said lately, while nothing was gathered
        self._believed_from = -math.inf

    async def gather(self) -> None:
        """What waits is due: let more of it come, if that is a part of a flood."""
        cadence, config = self._cadence, self._config
        waited_s = cadence.waited_s
        left_s = config.publish_pace.at_most(config.flood_wait_s, self._people()) - waited_s
        begins = self.on or (self._begins(waited_s) and left_s > waited_s)
        # Not where everybody is gone, or Redis was slow: nothing would be left to come.
        self.on = begins and left_s > 0
        if not self.on:
            return
        before = self.lines
        self.gathers = True
        try:
            await asyncio.sleep(left_s)
        finally:
            self.gathers = False
            self.gathered += 1
            self.on_gathered()
        await asyncio.sleep(_READ_S)
        self.on = self.lines - before >= self._per_s * left_s * _GOES_ON
        if not self.on:
            self._believed_from = self._loop.time() + config.flood_again_s

    def _begins(self, waited_s: float) -> bool:
        now, pace = self._loop.time(), self._config.publish_pace
        seen_s = now - self._since
        if seen_s >= _SEEN_FOR_S:
            self._per_s = (self.lines - self._lines_then) / seen_s
            self._since, self._lines_then = now, self.lines
        much = 0 < self._config.flood_per_s * len(self._outbox.ready) <= self._per_s
        by_time = waited_s > pace.window_s - _GRAIN_S and self._cadence.count < pace.enough
        return much and by_time and now >= self._believed_from
