"""The goals that the gateway is held to: each measured, with its figure, met or not.

Most are ratios to Redis's own pub/sub under the same load in the same run; a gateway's
figure includes its Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from gateway.tools.bench.probe import Probe
from gateway.tools.bench.report import machine, progress
from gateway.tools.bench.run import Figures, Side, interleaved, sides
from gateway.tools.bench.systems import BenchError, System, gateways, redis_alone
from gateway.tools.bench.wire import Load, Shape

CROWD = 15_000
_CROWD_PER_S = 1500.0
_STEADY = (Load(rate=50), Load(rate=200), Load(rate=2000))
_FLOOD = (Load(in_flight=64), Load(in_flight=256))
_ONE_LINE = Load(rate=0.8)
_HEAVY = Load(rate=250, payload=2000)
"""Fills the kernel's buffers and a SendQ of a member that never reads."""
_SENDQ_MB = 1.05
_SAMPLE_S = 0.1


class Goal(msgspec.Struct, frozen=True):
    """One figure and its limit, above (``at_least``: below) which the goal is not met."""

    number: int
    what: str
    figure: float
    limit: float
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {self.limit:g} {self.unit}"
        met = "met" if self.met else "NOT MET"
        return f"{self.number}  {self.what:52} {self.figure:8.2f}  {limit:9}  {met}"


class Pair(NamedTuple):
    """What both systems did under one load."""

    gateway: Figures
    redis: Figures

    def ratio(self, figure: Callable[[Figures], float]) -> float:
        return figure(self.gateway) / (figure(self.redis) or 1)


@dataclass(frozen=True)
class Trial:
    """How often and how long each goal's loads run."""

    runs: int
    seconds: float

    async def pairs(self, both: Sequence[Side], *loads: Load, seconds: float = 0) -> list[Pair]:
        """Of a gateway's side and Redis's own, in this order."""
        seconds = seconds or self.seconds
        label = ", ".join(map(str, loads))
        with progress(label, self.runs * len(loads) * len(both)) as told:
            found = await interleaved(both, loads, runs=self.runs, seconds=seconds, told=told)
        return [Pair(*found[place : place + 2]) for place in range(0, len(found), 2)]

    async def one_room(self) -> AsyncIterator[Goal]:
        """Goals 1 to 3."""
        async with against_redis(1, Shape()) as both:
            warm, *_ = await Trial(1, 1.0).pairs(both, Load(rate=200))
            steady = await self.pairs(both, *_STEADY)
            (quiet,) = await self.pairs(both, _ONE_LINE, seconds=3 * self.seconds)
            flood = await self.pairs(both, *_FLOOD)
        for pair, limit in zip(steady, (1.0, 0.5, 0.15), strict=True):
            yield Goal(1, f"CPU a delivery at {pair.gateway.load}", pair.ratio(_cpu), limit)
        later = _p99(steady[1].gateway) - _p99(steady[1].redis)
        yield Goal(2, "p99 at 200 msg/s, later than Redis's", later, 15, "ms")
        yield Goal(2, "p50 of a line after a quiet second", quiet.ratio(_p50), 1.5)
        for pair, least in zip(flood, (2.5, 4.0), strict=True):
            what = f"deliveries/s with {pair.gateway.load}"
            yield Goal(3, what, pair.ratio(_deliveries), least, at_least=True)
        everything = [warm, quiet, *steady, *flood]
        yield Goal(3, "lost, doubled, out of order, cut off", _faults(everything), 0, "")

    async def many_rooms(self) -> AsyncIterator[Goal]:
        """Goal 4."""
        shape = Shape(clients=8000, senders=2000, rooms=2000)
        async with against_redis(2, shape, per_second=1000) as both:
            (pair,) = await self.pairs(both, Load(rate=5000))
        yield Goal(4, "CPU a delivery in 2000 rooms of five, 5000 msg/s", pair.ratio(_cpu), 2.5)
        yield Goal(4, "lost, doubled, out of order, cut off", _faults([pair]), 0, "")

    async def crowd(self) -> AsyncIterator[Goal]:
        """Goal 5, and what the crowd has of goal 7."""
        shape = Shape(clients=CROWD - 1, senders=1)
        async with crowded() as system:
            before = system.costs()
            async with sides([system], shape, per_second=_CROWD_PER_S) as (side,):
                after = system.costs()
                (line,) = await interleaved([side], [_ONE_LINE], runs=1, seconds=3 * self.seconds)
                memory = system.costs()["gateway"].rss_bytes - before["gateway"].rss_bytes
        cpu_s = sum(after[role].cpu_s - before[role].cpu_s for role in after)
        yield Goal(5, f"memory of each of {CROWD} connections", memory / CROWD / 1e3, 3, "KB")
        yield Goal(5, "CPU of each join at 1500/s", cpu_s / CROWD * 1e6, 150, "µs")
        yield Goal(5, "one line to all of them, to the last", line.latency_ms["max"], 400, "ms")
        async with crowded() as system, contextlib.AsyncExitStack() as people:
            with Probe(system.targets[0]) as coming:
                crowd = sides([system], shape, per_second=_CROWD_PER_S)
                (side,) = await people.enter_async_context(crowd)
                await side.run(_ONE_LINE, self.seconds)
            with Probe(system.targets[0]) as going:
                await people.aclose()
                await asyncio.sleep(self.seconds)
        yield Goal(7, "the loop's longest turn: a crowd comes in", coming.longest_ms, 50, "ms")
        yield Goal(7, "the loop's longest turn: it goes at once", going.longest_ms, 50, "ms")

    async def stalled(self) -> AsyncIterator[Goal]:
        """Goal 6."""
        async with contextlib.AsyncExitStack() as stack:
            both = []
            for shape in (Shape(stalled=1), Shape()):
                system = await stack.enter_async_context(gateways(1))
                both += await stack.enter_async_context(sides([system], shape, per_second=500))
            rss_mb = [side.system.costs()["gateway"].rss_bytes / 1e6 for side in both]
            async with peaks([side.system for side in both]) as peak_mb:
                (pair,) = await self.pairs(both, _HEAVY, seconds=3 * self.seconds)
        growth = [peak - start for peak, start in zip(peak_mb, rss_mb, strict=True)]
        yield Goal(6, "p99 of the others beside one that never reads", pair.ratio(_p99), 1.2)
        more = growth[0] - growth[1]
        yield Goal(6, "memory for it, twice its SendQ at most", more, 2 * _SENDQ_MB, "MB")
        yield Goal(6, "lost, doubled, out of order, others cut off", _faults([pair]), 0, "")

    async def turns(self) -> AsyncIterator[Goal]:
        """Goal 7."""
        async with gateways(1) as system, sides([system], Shape(), per_second=500) as (side,):
            for load in (*_STEADY, *_FLOOD):
                with Probe(system.targets[0]) as probe:
                    await side.run(load, self.seconds)
                yield Goal(7, f"the loop's longest turn: {load}", probe.longest_ms, 50, "ms")

    async def more_gateways(self) -> AsyncIterator[Goal]:
        """Goal 8."""
        load = Load(rate=200)
        async with contextlib.AsyncExitStack() as stack:
            three = []
            for count, clients in ((1, 500), (4, 500), (4, 1500)):
                system = await stack.enter_async_context(gateways(count))
                shape = Shape(clients=clients)
                three += await stack.enter_async_context(sides([system], shape, per_second=500))
            found = await interleaved(three, [load], runs=self.runs, seconds=self.seconds)
        one, four, larger = found
        yield Goal(8, "CPU a delivery, four gateways to one", _cpu(four) / _cpu(one), 1.2)
        growth = _redis_share(larger) / _redis_share(four)
        yield Goal(8, "Redis's CPU a message, 1500 clients to 500", growth, 1.2)


def _cpu(figures: Figures) -> float:
    return figures.cpu_us


def _p50(figures: Figures) -> float:
    return figures.latency_ms["p50"]


def _p99(figures: Figures) -> float:
    return figures.latency_ms["p99"]


def _deliveries(figures: Figures) -> float:
    return figures.deliveries_per_s


def _faults(pairs: Sequence[Pair]) -> int:
    return sum(pair.gateway.faults.total for pair in pairs)


def _redis_share(figures: Figures) -> float:
    return figures.cpu_us_by_role["redis"] * figures.deliveries_per_s / figures.offered_per_s


@contextlib.asynccontextmanager
async def against_redis(
    count: int, shape: Shape, per_second: float = 500
) -> AsyncIterator[list[Side]]:
    """Gateways and a Redis alone, with the same people on both."""
    people = shape.clients + shape.senders
    async with contextlib.AsyncExitStack() as stack:
        systems = [
            await stack.enter_async_context(gateways(count)),
            await stack.enter_async_context(redis_alone(people)),
        ]
        with progress("people come in", 2 * people) as told:
            both = sides(systems, shape, per_second=per_second, told=told)
            joined = await stack.enter_async_context(both)
        yield joined


def crowded() -> contextlib.AbstractAsyncContextManager[System]:
    """One gateway that takes the crowd, and a probe."""
    return gateways(1, "--max-connections", str(CROWD + 10))


@contextlib.asynccontextmanager
async def peaks(systems: Sequence[System]) -> AsyncIterator[list[float]]:
    """The most memory that each one's gateways had while the block ran, in MB."""
    most = [0.0] * len(systems)

    async def sample() -> None:
        while True:
            for place, system in enumerate(systems):
                most[place] = max(most[place], system.costs()["gateway"].rss_bytes / 1e6)
            await asyncio.sleep(_SAMPLE_S)

    sampling = asyncio.create_task(sample())
    try:
        yield most
    finally:
        sampling.cancel()
        await asyncio.wait((sampling,))


async def run_goals(*, runs: int, seconds: float, json: bool) -> int:
    """Measure all goals and show them.  Returns 1 if one could not be measured, else 0."""
    trial = Trial(runs, seconds)
    parts: tuple[Callable[[], AsyncIterator[Goal]], ...] = (
        trial.one_room,
        trial.many_rooms,
        trial.crowd,
        trial.stalled,
        trial.turns,
        trial.more_gateways,
    )
    found: list[Goal] = []
    failed: list[str] = []
    if not json:
        print(f"{datetime.now(UTC).date().isoformat()}, {machine()}", flush=True)
    for part in parts:
        try:
            async for goal in part():
                found.append(goal)
                if not json:
                    print(goal, flush=True)
        except BenchError as error:
            failed.append(f"{part.__name__}: not measured: {error}")
            if not json:
                print(failed[-1], flush=True)
    if json:
        goals = [msgspec.to_builtins(goal) | {"met": goal.met} for goal in found]
        document = {"machine": machine(), "goals": goals, "failed": failed}
        print(msgspec.json.format(msgspec.json.encode(document)).decode())
    return int(bool(failed))
