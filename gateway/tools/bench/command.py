"""``gateway bench`` itself: what was asked for, the runs in turn, and what is shown."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.broker.embedded import EmbeddedServerError, NoServerFound
from gateway.tools.bench import report
from gateway.tools.bench.goals import run_goals
from gateway.tools.bench.plot import plot
from gateway.tools.bench.run import Figures, interleaved, sides
from gateway.tools.bench.systems import BenchError, System, gateways, given, redis_alone
from gateway.tools.bench.wire import Load, Shape


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; its help explains each."""

    shape: Shape
    loads: list[Load]
    gateways: int
    targets: list[tuple[str, int]]
    pids: list[int]
    processes: int
    join_rate: float
    seconds: float
    runs: int
    against_redis: bool
    json: bool
    plot: Path | None
    goals: bool


async def run_bench(options: Options) -> int:
    """Measure and show.  Returns 1 if anything was lost, doubled, out of order or cut off."""
    try:
        if options.goals:
            return await run_goals(runs=options.runs, seconds=options.seconds, json=options.json)
        figures = await _measure(options)
    except (BenchError, EmbeddedServerError, NoServerFound) as error:
        print(f"gateway bench: {error}", file=sys.stderr)
        return 1
    print(report.as_json(figures) if options.json else report.as_text(figures))
    if options.plot:
        caption = f"{datetime.now(UTC).date().isoformat()}, {report.machine()}"
        options.plot.write_text(plot(figures, caption), "utf-8")
    return int(any(each.faults for each in figures))


async def _measure(options: Options) -> list[Figures]:
    shape = options.shape
    people = shape.clients + shape.senders
    async with AsyncExitStack() as stack:
        systems: list[System] = []
        if options.targets:
            systems.append(given(options.targets, options.pids))
        else:
            own = gateways(options.gateways, "--max-connections", str(people))
            systems.append(await stack.enter_async_context(own))
        if options.against_redis:
            systems.append(await stack.enter_async_context(redis_alone(people)))
        with report.progress("people come in", people * len(systems)) as told:
            coming = sides(
                systems,
                shape,
                per_second=options.join_rate,
                processes=options.processes,
                told=told,
            )
            here = await stack.enter_async_context(coming)
        with report.progress("runs", options.runs * len(options.loads) * len(systems)) as told:
            return await interleaved(
                here, options.loads, runs=options.runs, seconds=options.seconds, told=told
            )
