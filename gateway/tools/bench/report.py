"""What the bench shows: a table, ratios, JSON.  Knows figures, not how they came about."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
import psutil

from gateway.tools.bench.run import Figures

_HEAD = ("", "", "deliveries/s", "CPU µs", "cores", "p50", "p90", "p99", "p99.9", "max ms")


class Ratio(msgspec.Struct, frozen=True):
    """A gateway's figures as shares of Redis's own, under the same load."""

    load: str
    cpu: float
    deliveries_per_s: float
    p50: float
    p99: float


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal; call it with how far things are."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield lambda place: bar.update(place - bar.pos)


def machine() -> str:
    """On what the figures were made: without them they mean nothing."""
    cores = psutil.cpu_count() or 0
    memory_gb = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {cores} cores, {memory_gb:.0f} GiB, Python {platform.python_version()}"


def ratios(figures: Sequence[Figures]) -> list[Ratio]:
    """For each load that both systems carried."""
    redis = {each.load: each for each in figures if each.system == "redis"}
    return [
        Ratio(
            own.load,
            own.cpu_us / (other.cpu_us or 1),
            own.deliveries_per_s / other.deliveries_per_s,
            own.latency_ms["p50"] / (other.latency_ms["p50"] or 1),
            own.latency_ms["p99"] / (other.latency_ms["p99"] or 1),
        )
        for own in figures
        if own.system == "gateway" and (other := redis.get(own.load))
    ]


def as_json(figures: Sequence[Figures]) -> str:
    document: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "figures": figures,
        "ratios": ratios(figures),
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def as_text(figures: Sequence[Figures]) -> str:
    lines = [machine(), "", *_table([_HEAD, *map(_row, figures)])]
    for ratio in ratios(figures):
        lines.append(
            f"gateway to redis at {ratio.load}: CPU a delivery {ratio.cpu:.2f}, "
            f"deliveries {ratio.deliveries_per_s:.2f}, p50 {ratio.p50:.2f}, p99 {ratio.p99:.2f}"
        )
    lines += _remarks(figures)
    return "\n".join(lines)


def _row(figures: Figures) -> tuple[str, ...]:
    cpu = f"{figures.cpu_us:.2f}" if figures.cpu_us else "-"
    tail = (f"{ms:.1f}" for ms in figures.latency_ms.values())
    return (
        figures.system,
        figures.load,
        f"{figures.deliveries_per_s:,.0f}",
        cpu,
        f"{figures.cores:.2f}",
        *tail,
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _remarks(figures: Sequence[Figures]) -> Iterator[str]:
    for each in figures:
        where = f"{each.system} at {each.load}"
        if each.is_bottleneck:
            yield (
                f"{where}: the load generator was itself the bottleneck ({each.generator_busy:.0%} "
                f"of a core, up to {each.generator_late_ms:.0f} ms late): try more --processes"
            )
        if each.faults:
            yield f"{where}: FAULTS: {each.faults}"
    if not any(each.faults for each in figures):
        yield "nothing lost, doubled or out of order; nobody cut off"
