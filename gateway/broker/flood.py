"""A flood: left in the kernel for a while, to be read, published and delivered together."""

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
    """Sees a flood come, and has nobody who speaks read until much of it is there.

    Where so much is said that nobody follows each line, reads and writes are what keeps a
    gateway busy, and a little more patience saves most of them.  Who waits for answers before
    going on says less meanwhile: then it was no flood, and the next one is not believed soon.
    """

    def __init__(
        self, config: Config, outbox: Outbox, cadence: Cadence, people: Callable[[], int]
    ) -> None:
        self.on = False
        """Whether there is one."""
        self.gathers = False
        """Whether those who speak are not to be read."""
        self.gathered = 0
        """How often they were not."""
        self.on_gathered: Callable[[], None] = lambda: None
        """Called when they are to be read again."""
        self._config = config
        self._outbox = outbox
        self._cadence = cadence
        self._people = people
        self._loop = asyncio.get_running_loop()
        self._came = 0
        self._since = self._loop.time()
        self._per_s = 0.0  # came lately, while it was not gathered
        self._believed_from = -math.inf

    async def gather(self) -> None:
        """What waits is due: let more of it come, if that is a part of a flood."""
        cadence, config = self._cadence, self._config
        waited_s = cadence.waited_s
        wait_s = config.publish_pace.at_most(config.flood_wait_s, self._people())
        self.on = self.on or (self._begins(waited_s) and wait_s > 2 * waited_s)
        if not self.on:
            return
        self.gathers = True
        try:
            await asyncio.sleep(wait_s - waited_s)
        finally:
            self.gathers = False
            self.gathered += 1
            self.on_gathered()
        await asyncio.sleep(_READ_S)
        self.on = cadence.count >= self._per_s * wait_s * _GOES_ON
        if not self.on:
            self._believed_from = self._loop.time() + config.flood_again_s

    def _begins(self, waited_s: float) -> bool:
        now, count = self._loop.time(), self._cadence.count
        pace, flood_per_s = self._config.publish_pace, self._config.flood_per_s
        self._came += count
        if now >= self._since + _SEEN_FOR_S:
            self._per_s = self._came / (now - self._since)
            self._since, self._came = now, 0
        much = 0 < flood_per_s * len(self._outbox.ready) <= self._per_s
        by_time = waited_s > pace.window_s - _GRAIN_S and count < pace.enough
        return much and by_time and now >= self._believed_from
