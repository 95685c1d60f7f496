"""The flags of ``gateway bench``.  Imports nothing heavy: ``gateway --help`` reads it, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.net.address import is_host
from gateway.tools.flags import Flag

if TYPE_CHECKING:
    from gateway.tools.bench.command import Options

_MOST = 100_000


def _list(one: Callable[[str], Any], what: str) -> Callable[..., list[Any]]:
    """What makes a list of a text with commas."""

    def read(ctx: click.Context, param: click.Parameter, value: str) -> list[Any]:
        try:
            return [one(word) for word in value.split(",") if word.strip()]
        except ValueError:
            raise click.BadParameter(f"{value!r} is not {what}", ctx, param) from None

    return read


def _positive(kind: type[int] | type[float]) -> Callable[[str], Any]:
    def read(word: str) -> int | float:
        number = kind(word)
        if not 0 < number < math.inf:
            raise ValueError(word)
        return number

    return read


def _address(word: str) -> tuple[str, int]:
    host, colon, port = word.strip().rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not is_host(host) or not 0 < int(port) < 65536:
        raise ValueError(word)
    return host, int(port)


def _flag(name: str, default: Any, help: str, **more: Any) -> click.Option:
    shown = default not in ("", False, None)
    return Flag([name], default=default, help=help, show_default=shown, **more)


def _count(name: str, default: int, help: str, least: int = 1) -> click.Option:
    return _flag(name, default, help, type=click.IntRange(least, _MOST), metavar="N")


def _numbers(name: str, default: str, help: str, kind: type[int] | type[float]) -> click.Option:
    read = _list(_positive(kind), "a list of numbers above 0")
    return _flag(name, default, help, callback=read, metavar="N,N,…")


def _seconds(name: str, default: float, help: str, metavar: str) -> click.Option:
    def read(ctx: click.Context, param: click.Parameter, value: str) -> float:
        (number,) = _list(_positive(float), "a number above 0")(ctx, param, value) or [0.0]
        return float(number)

    return _flag(name, str(default), help, callback=read, metavar=metavar)


@click.command(
    "bench",
    params=[
        _count("--clients", 500, "people who listen"),
        _count("--senders", 4, "people who talk"),
        _count("--rooms", 1, "rooms that they are spread over; one is the lobby"),
        _count("--programs", 0, "so many of the clients are programs, by gateway.client", least=0),
        _count("--payload", 100, "bytes a message"),
        _numbers("--rate", "50,200,2000", "open loop: messages a second in all", float),
        _numbers("--in-flight", "", "closed loop: messages on their way at once", int),
        _seconds("--seconds", 5.0, "how long each run talks", "SECONDS"),
        _count("--runs", 3, "runs of each load, on all systems in turn; the medians count"),
        _count("--gateways", 1, "how many gateways to start, with a Redis of their own"),
        _flag(
            "--target",
            "",
            "gateways that run already, instead; their --rate and --burst hold",
            callback=_list(_address, "a list of HOST:PORT"),
            metavar="HOST:PORT,…",
        ),
        _flag(
            "--pids",
            "",
            "the processes whose CPU and memory count, for --target: gateways and their Redis",
            callback=_list(_positive(int), "a list of process ids"),
            metavar="PID,…",
        ),
        _count("--processes", 1, "processes of the load generator"),
        _seconds("--join-rate", 500.0, "people who come in each second", "RATE"),
        _flag(
            "--against",
            None,
            "the same load on Redis's own pub/sub, too, and the ratios to it",
            type=click.Choice(["redis"]),
        ),
        _flag("--goals", False, "measure the project's goals instead: met or not", is_flag=True),
        _flag("--json", False, "print JSON", is_flag=True),
        _flag(
            "--plot",
            None,
            "draw latency over load and deliveries over CPU",
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            metavar="FILE.svg",
        ),
    ],
)
@click.pass_context
def bench(ctx: click.Context, /, **flags: Any) -> int:
    """Load gateways, check what arrives, and tell what it costs."""
    if flags["clients"] + flags["senders"] < 2 * flags["rooms"]:
        raise click.UsageError("--rooms: each needs two people", ctx)
    if flags["programs"] > flags["clients"]:
        raise click.UsageError("--programs: there are not so many --clients", ctx)
    try:
        import psutil  # noqa: F401  the only package that the gateway itself does not need
    except ModuleNotFoundError:
        text = "psutil is not installed: pip install '.[bench,embedded]' in the checkout"
        raise click.UsageError(text, ctx) from None
    import uvloop

    from gateway.tools.bench.command import run_bench

    return uvloop.run(run_bench(_options(flags)))


def _options(flags: dict[str, Any]) -> Options:
    from gateway.tools.bench.command import Options
    from gateway.tools.bench.wire import Load, Shape

    payload = flags["payload"]
    loads = [Load(rate=rate, payload=payload) for rate in flags["rate"]]
    loads += [Load(in_flight=count, payload=payload) for count in flags["in_flight"]]
    same = ("gateways", "pids", "processes", "join_rate", "seconds", "runs", "json", "plot")
    return Options(
        shape=Shape(flags["clients"], flags["senders"], flags["rooms"], 0, flags["programs"]),
        loads=loads,
        targets=flags["target"],
        against_redis=flags["against"] == "redis",
        goals=flags["goals"],
        **{name: flags[name] for name in same},
    )
