"""Figures as one picture: latency over load, and deliveries over CPU, on log scales.

Written by hand since it is two panels of lines: what draws charts would be a larger
package than all of the gateway's together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from gateway.tools.bench.run import Figures

_WIDTH, _HEIGHT = 420, 300
_LEFT, _TOP, _GAP = 70, 50, 110
_COLOURS = {"gateway": "#2563eb", "redis": "#dc2626"}
_STYLE = """text { font: 12px sans-serif; fill: #444 } .title { font-size: 14px; font-weight: bold }
.axis { stroke: #888; fill: none } .grid { stroke: #888; stroke-opacity: 0.3 }
.line { fill: none; stroke-width: 2 }"""


class Line(NamedTuple):
    """One system's points, in a panel."""

    name: str
    colour: str
    dashed: bool
    points: list[tuple[float, float]]


def plot(figures: Sequence[Figures], caption: str) -> str:
    """The SVG document."""
    latency = [
        _line(figures, system, name, lambda f, name=name: (f.offered_per_s, f.latency_ms[name]))
        for system in _COLOURS
        for name in ("p50", "p99")
    ]
    work = [_line(figures, s, "", lambda f: (f.cores, f.deliveries_per_s)) for s in _COLOURS]
    width, height = 2 * (_WIDTH + _GAP) + 20, _HEIGHT + 130
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="white"/>',
            *_panel(0, "latency in ms over messages/s", latency),
            *_panel(1, "deliveries/s over busy cores", work),
            f'<text x="{_LEFT}" y="{height - 12}">{escape(caption)}</text>',
            "</svg>\n",
        ]
    )


def _line(figures: Sequence[Figures], system: str, name: str, point: object) -> Line:
    assert callable(point)
    by_load = sorted(figures, key=lambda each: each.offered_per_s)
    points = [point(each) for each in by_load if each.system == system]
    known = [(x, y) for x, y in points if x > 0 and y > 0]
    return Line(f"{system} {name}".strip(), _COLOURS[system], name == "p99", known)


def _panel(place: int, title: str, lines: Sequence[Line]) -> Iterator[str]:
    points = [point for line in lines for point in line.points]
    if not points:
        return
    across = _Scale([x for x, _ in points], _WIDTH)
    up = _Scale([y for _, y in points], _HEIGHT)
    yield f'<g transform="translate({_LEFT + place * (_WIDTH + _GAP)} {_TOP})">'
    yield f'<text class="title" y="-20">{escape(title)}</text>'
    for value in across.ticks():
        x = across.at(value)
        yield f'<path class="grid" d="M{x:.1f} 0V{_HEIGHT}"/>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT + 18}" text-anchor="middle">{_short(value)}</text>'
    for value in up.ticks():
        y = _HEIGHT - up.at(value)
        yield f'<path class="grid" d="M0 {y:.1f}H{_WIDTH}"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
    yield f'<path class="axis" d="M0 0V{_HEIGHT}H{_WIDTH}"/>'
    for number, line in enumerate(line for line in lines if line.points):
        stroke = f'stroke="{line.colour}"' + (' stroke-dasharray="6 4"' if line.dashed else "")
        path = " ".join(f"{across.at(x):.1f},{_HEIGHT - up.at(y):.1f}" for x, y in line.points)
        yield f'<polyline class="line" {stroke} points="{path}"/>'
        for x, y in line.points:
            spot = f'cx="{across.at(x):.1f}" cy="{_HEIGHT - up.at(y):.1f}"'
            yield f'<circle {spot} r="3" fill="{line.colour}"/>'
        x = number * 105
        yield f'<path class="line" {stroke} d="M{x} {_HEIGHT + 38}h18"/>'
        yield f'<text x="{x + 23}" y="{_HEIGHT + 42}">{escape(line.name)}</text>'
    yield "</g>"


class _Scale:
    """A log scale over all of ``values``, from a power of ten or its 2nd or 5th part up."""

    def __init__(self, values: Sequence[float], length: int) -> None:
        self._low = max(_steps(min(values)), default=min(values))
        self._high = max(max(values), self._low * 2)
        self._length = length

    def at(self, value: float) -> float:
        return self._length * math.log(value / self._low) / math.log(self._high / self._low)

    def ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        factors = (1, 2, 5) if self._high / self._low < 500 else (1,)
        all_ticks = (factor * 10.0**power for power in decades for factor in factors)
        return [tick for tick in all_ticks if self._low <= tick <= self._high]


def _steps(value: float) -> list[float]:
    """The round numbers just below ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return [factor * power for factor in (1, 2, 5) if factor * power <= value]


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
