"""A gateway's lease, and the end of gateways that lost theirs.

Beats with Redis's clock.  Each beat is one small script call: it renews the
lease, ages the others, and publishes a probe that has to come back through
the subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from gateway.broker.calls import BEAT, Call, Caller, Unreachable, from_replica
from gateway.broker.clock import RedisClock
from gateway.broker.keys import Keys
from gateway.chat.events import GatewayId
from gateway.config import Config
from gateway.ops.logs import get_logger

log = get_logger(__name__)


class Presence:
    """This gateway's proof of life.  Each beat also tells ``clock`` Redis's time.

    ``on_ready()`` tells when Redis is proven end to end, ``on_away(error)`` when
    it is not any more; ``on_lease_anew`` that the registry had forgotten this
    gateway (it was reaped, or Redis came back empty); ``on_dead`` gets each
    gateway that this one is to reap; ``on_unproven`` is called when probes
    are published but do not come back, or may be published to another server.
    """

    def __init__(
        self,
        caller: Caller,
        keys: Keys,
        config: Config,
        gateway: GatewayId,
        clock: RedisClock,
        *,
        describe: Callable[[], str],
        on_ready: Callable[[], None],
        on_away: Callable[[str], None],
        on_lease_anew: Callable[[], None],
        on_dead: Callable[[GatewayId], None],
        on_unproven: Callable[[], None],
    ) -> None:
        self.ready = False
        self._caller = caller
        self._keys = keys
        self._config = config
        self._gateway = gateway
        self._clock = clock
        self._describe = describe
        self._on_ready = on_ready
        self._on_away = on_away
        self._on_lease_anew = on_lease_anew
        self._on_dead = on_dead
        self._on_unproven = on_unproven
        self._leased = False
        self._was_leased = False
        self._beaten_at = float("-inf")
        self._proven_at = float("-inf")
        self._doubted_at = 0.0  # when the subscription was made or given up
        self._error = ""
        self._demoted = False  # the server that was asked last is a replica
        self._held = False  # the subscription is not read: that no probe comes says nothing
        self._hurry = asyncio.Event()

    def probe_came_back(self) -> None:
        """A probe arrived through the subscription."""
        self._proven_at = asyncio.get_running_loop().time()
        self._judge()

    def hold(self, held: bool) -> None:
        """The subscription is not read for a while, or is again: then a probe may come."""
        self._held = held
        self._proven_at = asyncio.get_running_loop().time()

    def subscribed(self) -> None:
        """The subscription stands (again): a probe sent now can come back."""
        self._doubted_at = asyncio.get_running_loop().time()
        self._hurry.set()

    async def run_forever(self) -> None:
        """Beat, as long as the task lives."""
        loop = asyncio.get_running_loop()
        due = self._doubted_at = loop.time()
        while True:
            try:
                await self._beat()
                self._error = ""
            except Unreachable as error:
                self._error = str(error) or type(error).__name__
                self._demoted |= from_replica(error)
            self._judge()
            now = loop.time()
            due = max(due + self._config.beat_s, now)
            due = min(due, now + self._config.beat_s)  # one that was hurried puts off no other
            await self._watch_until(due)

    async def _watch_until(self, due: float) -> None:
        """Wait for the next beat; notice then when the proof has grown old."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(max(due, loop.time())):
                await self._hurry.wait()
        self._hurry.clear()
        self._judge()
        limit_s = self._config.probe_timeout_s
        since = max(self._proven_at, self._doubted_at)
        if self._beaten_at - since > limit_s and self._was_leased and not self._held:
            self._doubt()

    def _doubt(self) -> None:
        # A new one gets as long: given up at each beat, it would miss every probe.
        self._doubted_at = asyncio.get_running_loop().time()
        self._on_unproven()

    async def _beat(self) -> None:
        keys, config = self._keys, self._config
        where = (
            keys.clock,
            keys.beats,
            keys.dying,
            keys.gateways,
            keys.names,
            keys.holds(self._gateway),
            keys.rooms,
            keys.calls,
            keys.sessions,
        )
        args = (
            self._gateway,
            int(config.beat_s * 1000),
            config.dead_ticks,
            config.retention_s,
            self._describe(),
            keys.probes(self._gateway),
            "probe",
        )
        asked_at = time.monotonic()
        (reply,) = await self._caller.call([Call(BEAT, where, args)])
        if isinstance(reply, RedisError):
            raise reply
        if self._demoted:
            # The subscription may still be with the replica, and must follow.
            self._demoted = False
            self._doubt()
        state, _tick, seconds, microseconds, *dead = reply
        self._clock.heard(seconds + microseconds / 1e6, asked_at, time.monotonic())
        self._beaten_at = asyncio.get_running_loop().time()
        self._leased = state != b"dying"
        if state == b"new":
            if self._was_leased:
                log.warning("lease lost")
                self._on_lease_anew()
            self._was_leased = True
        for gateway in dead:
            self._on_dead(GatewayId(gateway.decode()))

    def _judge(self) -> None:
        """Readiness: leased, answered and heard of oneself, all within the limit."""
        now = asyncio.get_running_loop().time()
        oldest = self._beaten_at if self._held else min(self._beaten_at, self._proven_at)
        ready = self._leased and now - oldest <= self._config.probe_timeout_s
        if ready == self.ready:
            return
        self.ready = ready
        if ready:
            self._on_ready()
        else:
            self._on_away(self._error or "no probe came back")
