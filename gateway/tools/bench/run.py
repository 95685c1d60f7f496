"""Runs loads on systems in turn, and makes figures of what came of it.

Single runs differ by 10-20 %, so each load runs several times, on all systems in turn, and
the medians count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median

import msgspec

from gateway.tools.bench.checks import Faults
from gateway.tools.bench.crew import Crew, crew
from gateway.tools.bench.systems import System
from gateway.tools.bench.wire import Load, Shape

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
_BOTTLENECK = 0.9
"""A load generator this busy may be what is measured."""
_LATE_MS = 50.0


class Figures(msgspec.Struct):
    """What one run showed, or the medians of several (of faults: the sum)."""

    system: str
    load: str
    runs: int
    offered_per_s: float
    """Messages a second."""
    deliveries: float
    deliveries_per_s: float
    cpu_us: float
    """CPU time a delivery, of all processes of the system; 0 if not known."""
    cpu_us_by_role: dict[str, float]
    cores: float
    """How many cores the system kept busy."""
    latency_ms: dict[str, float]
    """p50, p90, p99, p99.9 and max."""
    rss_mb: dict[str, float]
    generator_busy: float
    """The busiest load generator's share of a core."""
    generator_late_ms: float
    """How far it fell behind its schedule at most."""
    faults: Faults

    @property
    def is_bottleneck(self) -> bool:
        """Whether the load generator may have been slower than the system."""
        return self.generator_busy > _BOTTLENECK or self.generator_late_ms > _LATE_MS


@dataclass(frozen=True)
class Side:
    """A system and those who load it."""

    system: System
    crew: Crew

    async def run(self, load: Load, seconds: float) -> Figures:
        """One run.  The CPU counts from the first message to its last delivery."""
        system, people = self.system, self.crew
        await people.listen(load)
        busy_before, before = people.cpu_s(), system.costs()
        said = await people.say(load, seconds)
        judged, latency = await people.finish(said)
        after, busy_after = system.costs(), people.cpu_s()
        elapsed_s = (judged.ended_us - said.began_us) / 1e6
        count = max(1, judged.deliveries)
        used_s = {role: after[role].cpu_s - before[role].cpu_s for role in after}
        tail = {name: latency.percentile(percent) / 1e3 for name, percent in PERCENTILES.items()}
        return Figures(
            system=system.kind,
            load=str(load),
            runs=1,
            offered_per_s=sum(said.sent) / elapsed_s,
            deliveries=judged.deliveries,
            deliveries_per_s=judged.deliveries / elapsed_s,
            cpu_us=sum(used_s.values()) / count * 1e6,
            cpu_us_by_role={role: used / count * 1e6 for role, used in used_s.items()},
            cores=sum(used_s.values()) / elapsed_s,
            latency_ms=tail | {"max": latency.largest / 1e3},
            rss_mb={role: cost.rss_bytes / 1e6 for role, cost in after.items()},
            generator_busy=max(
                (end - begin) / elapsed_s
                for begin, end in zip(busy_before, busy_after, strict=True)
            ),
            generator_late_ms=said.late_us / 1e3,
            faults=judged.faults,
        )


def _count_on(told: Callable[[int], None], before: int, here: int) -> None:
    told(before + here)


@asynccontextmanager
async def sides(
    systems: Sequence[System],
    shape: Shape,
    *,
    per_second: float,
    processes: int = 1,
    told: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[list[Side]]:
    """Everybody in, on each system."""
    async with AsyncExitStack() as stack:
        both: list[Side] = []
        for system in systems:
            before = len(both) * (shape.clients + shape.senders)
            people = await stack.enter_async_context(crew(system, shape, processes))
            await people.come_in(per_second, partial(_count_on, told, before))
            both.append(Side(system, people))
        yield both


async def interleaved(
    sides: Sequence[Side],
    loads: Sequence[Load],
    *,
    runs: int,
    seconds: float,
    told: Callable[[int], None] = lambda _: None,
) -> list[Figures]:
    """The medians for each load and system, in that order; ``told`` how many runs are done."""
    found: dict[tuple[int, int], list[Figures]] = {}
    turns = product(range(runs), enumerate(loads), enumerate(sides))
    for done, (_, (index, load), (number, side)) in enumerate(turns, 1):
        found.setdefault((index, number), []).append(await side.run(load, seconds))
        told(done)
    return [medians(found[key]) for key in sorted(found)]


def medians(runs: Sequence[Figures]) -> Figures:
    """Of each figure; faults are added up."""
    first = runs[0]
    faults = Faults()
    for each in runs:
        faults.add(each.faults)

    def of(figure: Callable[[Figures], float]) -> float:
        return median(figure(each) for each in runs)

    def of_all(figure: Callable[[Figures], dict[str, float]]) -> dict[str, float]:
        return {name: median(figure(each)[name] for each in runs) for name in figure(first)}

    return Figures(
        system=first.system,
        load=first.load,
        runs=len(runs),
        offered_per_s=of(lambda each: each.offered_per_s),
        deliveries=of(lambda each: each.deliveries),
        deliveries_per_s=of(lambda each: each.deliveries_per_s),
        cpu_us=of(lambda each: each.cpu_us),
        cpu_us_by_role=of_all(lambda each: each.cpu_us_by_role),
        cores=of(lambda each: each.cores),
        latency_ms=of_all(lambda each: each.latency_ms),
        rss_mb=of_all(lambda each: each.rss_mb),
        generator_busy=of(lambda each: each.generator_busy),
        generator_late_ms=of(lambda each: each.generator_late_ms),
        faults=faults,
    )
