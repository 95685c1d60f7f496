"""The bench's arithmetic: who is where, what figures become, and what its flags mean."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from gateway.tools.bench import command, report
from gateway.tools.bench.checks import Faults
from gateway.tools.bench.goals import Goal
from gateway.tools.bench.options import bench
from gateway.tools.bench.people import entrance, places
from gateway.tools.bench.plot import plot
from gateway.tools.bench.run import Figures, medians
from gateway.tools.bench.wire import Enter, Load, Shape


def figures(system: str = "gateway", load: str = "50 msg/s", **more: Any) -> Figures:
    values: dict[str, Any] = {
        "runs": 1,
        "offered_per_s": 50.0,
        "deliveries": 1000,
        "deliveries_per_s": 25_000.0,
        "cpu_us": 4.0,
        "cpu_us_by_role": {"redis": 4.0},
        "cores": 0.2,
        "latency_ms": {"p50": 2.0, "p90": 3.0, "p99": 4.0, "p99.9": 5.0, "max": 6.0},
        "rss_mb": {"redis": 10.0},
        "generator_busy": 0.3,
        "generator_late_ms": 1.0,
        "faults": Faults(),
    }
    return Figures(system=system, load=load, **(values | more))


@pytest.mark.parametrize("targets", [1, 2, 4])
@pytest.mark.parametrize(
    "shape", [Shape(500, 4, 1), Shape(8000, 2000, 2000), Shape(100, 7, 3, stalled=2)]
)
def test_rooms_and_gateways_have_their_even_share_of_everybody(shape, targets):
    everybody = places(shape, targets)
    assert sum(place.sender for place in everybody) == shape.senders
    assert sum(place.stalled for place in everybody) == shape.stalled
    for share in (
        Counter(place.room for place in everybody),
        Counter(place.target for place in everybody),
        Counter(place.room for place in everybody if place.sender),
    ):
        assert max(share.values()) - min(share.values()) <= 1 + targets // 4


def test_the_people_of_a_small_room_are_on_several_gateways():
    targets: dict[int, set[int]] = {}
    for place in places(Shape(8000, 2000, 2000), 2):
        targets.setdefault(place.room, set()).add(place.target)
    assert {len(each) for each in targets.values()} == {2}


def test_the_lobby_is_left_only_if_there_are_several_rooms():
    for rooms, last in ((1, b"* welcome to lobby"), (2, b"* welcome to bx-1")):
        enter = Enter("gateway", [("h", 1)], Shape(4, 2, rooms), "bx", 0, 1, 1.0)
        assert entrance(enter, places(enter.shape, 1)[1])[-1] == (last, b"")


def test_medians_are_of_each_figure_and_faults_add_up():
    runs = [
        figures(cpu_us=cpu, cores=cores, faults=Faults(lost=lost))
        for cpu, cores, lost in ((1.0, 0.9, 1), (9.0, 0.1, 0), (2.0, 0.5, 2))
    ]
    median = medians(runs)
    assert (median.runs, median.cpu_us, median.cores) == (3, 2.0, 0.5)
    assert median.faults == Faults(lost=3)


def test_ratios_are_told_where_both_carried_the_load():
    both = [figures(cpu_us=2.0), figures("redis", cpu_us=4.0), figures(load="64 in flight")]
    (ratio,) = report.ratios(both)
    assert (ratio.load, ratio.cpu, ratio.p99) == ("50 msg/s", 0.5, 1.0)
    assert "CPU a delivery 0.50" in report.as_text(both)
    assert msgspec.json.decode(report.as_json(both))["ratios"][0]["cpu"] == 0.5


@pytest.mark.parametrize(
    ("more", "bottleneck"),
    [({}, False), ({"generator_busy": 0.97}, True), ({"generator_late_ms": 80.0}, True)],
)
def test_the_bench_says_when_it_is_the_bottleneck(more, bottleneck):
    """Issue 4: in processes of its own so that it is not the bottleneck (it says so when it is)."""
    assert ("itself the bottleneck" in report.as_text([figures(**more)])) is bottleneck


def test_faults_are_shown():
    assert "gateway at 50 msg/s: FAULTS: 2 lost" in report.as_text([figures(faults=Faults(2))])


def test_a_goal_is_met_at_its_limit():
    assert Goal(1, "x", 1.0, 1.0).met
    assert not Goal(1, "x", 1.1, 1.0).met
    assert Goal(3, "x", 2.5, 2.5, at_least=True).met
    assert "NOT MET" in str(Goal(3, "x", 2.4, 2.5, at_least=True))


def test_the_plot_is_a_picture_of_both_systems():
    points = [
        figures(system, f"{rate} msg/s", offered_per_s=rate, cores=rate / 1000)
        for system in ("gateway", "redis")
        for rate in (50, 200, 2000)
    ]
    root = ElementTree.fromstring(plot(points, "a <machine>"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}polyline")) == 6
    assert "a <machine>" in [text.text for text in root.iter(f"{space}text")]


def test_a_plot_of_nothing_is_still_a_picture():
    picture = plot([figures(latency_ms={"p50": 0, "p99": 0}, cores=0)], "")
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def parsed(monkeypatch, *args: str) -> command.Options:
    seen: list[command.Options] = []

    async def run_bench(options: command.Options) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(command, "run_bench", run_bench)
    result = CliRunner().invoke(bench, args, standalone_mode=False)
    assert result.exception is None, result.exception
    return seen[0]


def test_flags_become_loads_and_a_shape(monkeypatch):
    args = "--clients 9 --rate 1.5,20 --in-flight 64 --payload 7 --against redis --rooms 2"
    options = parsed(monkeypatch, *args.split())
    assert options.loads == [
        Load(rate=1.5, payload=7),
        Load(rate=20, payload=7),
        Load(in_flight=64, payload=7),
    ]
    assert (options.shape, options.against_redis) == (Shape(9, 4, 2), True)


def test_variables_do_the_same(monkeypatch):
    """DESIGN 4: each flag is also an environment variable GATEWAY_<FLAG>."""
    given = {"CLIENTS": "9", "RATE": "1.5,20", "IN_FLIGHT": "", "JSON": "true", "PLOT": "a.svg"}
    for name, value in given.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)
    options = parsed(monkeypatch, "--payload", "7")
    assert options.loads == [Load(rate=1.5, payload=7), Load(rate=20, payload=7)]
    assert (options.shape, options.json, options.plot) == (Shape(9, 4, 1), True, Path("a.svg"))


def test_targets_and_processes_may_be_given(monkeypatch):
    options = parsed(monkeypatch, "--target", "localhost:8081,[::1]:8082", "--pids", "12,34")
    assert options.targets == [("localhost", 8081), ("::1", 8082)]
    assert options.pids == [12, 34]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ("--rate nan", "--rate"),
        ("--rate 0", "--rate"),
        ("--in-flight 1.5", "--in-flight"),
        ("--target localhost", "--target"),
        ("--target :99999", "--target"),
        ("--seconds inf", "--seconds"),
        ("--clients 2 --rooms 4", "--rooms"),
        ("--against nats", "--against"),
    ],
)
def test_bad_flags_are_told(args, complaint):
    result = CliRunner().invoke(bench, args.split())
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    result = CliRunner().invoke(bench, [])
    assert result.exit_code == 2
    assert "psutil is not installed: pip install '.[bench,embedded]' in the" in result.output
