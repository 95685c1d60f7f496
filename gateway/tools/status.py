"""``gateway status``: the cluster as Redis sees it.

Reads what the gateways write with each beat; changes nothing, and asks no gateway.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis.exceptions import AuthenticationError

from gateway.broker import calls, dial
from gateway.broker.keys import Keys
from gateway.config import Config, SettingsError
from gateway.ops.logs import redacted

_ROOMS_SHOWN = 20
_SLOW_LOOP_S = 1.0
_LATE_DELIVERY_S = 1.0
_FULL_OUTBOX = 0.5
_LONG_BEHIND_S = 10.0
_SILENT_S = Config().silent_ticks * Config().beat_s
_LATELY = "in the last minute"


@dataclass(frozen=True, slots=True)
class Standing:
    """One gateway, as it described itself with its last beat, and how long ago that was.

    ``silent_beats``: how many beats the others made since then, or None if it is dead and
    somebody cleans up after it.  ``silent_s`` is right to about a second, and counts on
    when nobody beats any more.  The two lags are the highest of about a minute.
    """

    id: str
    host: str
    address: str
    version: str
    uptime_s: float
    connections: int
    rooms: int
    loop_lag_s: float
    delivery_lag_s: float
    rooms_behind: int
    behind_s: float
    outbox_bytes: int
    draining: bool
    silent_beats: int | None
    silent_s: float
    not_ready: Sequence[str]

    @classmethod
    def of(
        cls,
        id: str,
        said: Mapping[str, Any],
        now_s: float,
        silent_beats: int | None,
        silent_s: float = 0.0,
    ) -> Standing:
        """What a gateway of another version does not say, or says otherwise, is nothing."""

        def number(name: str) -> float:
            value = said.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                return max(0.0, value)
            return 0.0

        started_at, why_not_ready = number("started_at"), said.get("why_not_ready")
        return cls(
            id=id,
            host=str(said.get("host", "")),
            address=str(said.get("address", "")),
            version=str(said.get("version", "")),
            uptime_s=max(0.0, now_s - started_at) if started_at else 0.0,
            connections=int(number("connections")),
            rooms=int(number("rooms")),
            loop_lag_s=number("loop_lag_s"),
            delivery_lag_s=number("delivery_lag_s"),
            rooms_behind=int(number("rooms_behind")),
            behind_s=number("behind_s"),
            outbox_bytes=int(number("outbox_bytes")),
            draining=bool(said.get("draining")),
            silent_beats=silent_beats,
            silent_s=silent_s,
            not_ready=list(map(str, why_not_ready if isinstance(why_not_ready, list) else ())),
        )

    @property
    def state(self) -> str:
        """One word."""
        if self.silent_beats is None:
            return "dead"
        if self.silent_s >= _SILENT_S:
            return "silent"
        if self.draining:
            return "draining"
        if "starting" in self.not_ready:
            return "starting"
        return "not ready" if self.not_ready else "ready"

    @property
    def serves(self) -> bool:
        """Whether it is ready, or soon will be: one that has just started says so a beat later."""
        return self.state in ("ready", "starting")

    def warnings(self, config: Config) -> list[str]:
        found = []
        # What one that is gone said of itself is old.
        if self.state == "dead":
            return [f"{self.id} is dead; its people and names are being removed"]
        if self.state == "silent":
            silent = _duration(self.silent_s)
            return [f"{self.id} has been silent for {silent}: it hangs, or was killed"]
        if self.loop_lag_s >= _SLOW_LOOP_S:
            found.append(f"its loop was held up for {_seconds(self.loop_lag_s)} {_LATELY}")
        if self.delivery_lag_s >= _LATE_DELIVERY_S:
            late = _seconds(self.delivery_lag_s)
            found.append(f"delivered {late} behind the log {_LATELY}")
        if self.behind_s >= _LONG_BEHIND_S:
            found.append(f"has been behind the log of some room for {_seconds(self.behind_s)}")
        if self.outbox_bytes >= config.outbox_bytes * _FULL_OUTBOX:
            found.append(f"{self.outbox_bytes} bytes wait for Redis")
        if self.state == "not ready":
            found += [f"not ready: {reason}" for reason in self.not_ready]
        return [f"{self.id} {what}" for what in found]


@dataclass(frozen=True, slots=True)
class Report:
    """The cluster at one moment; rooms biggest first."""

    gateways: Sequence[Standing]
    rooms: Sequence[tuple[str, int]]
    warnings: Sequence[str]

    @classmethod
    def of(
        cls, gateways: Sequence[Standing], rooms: Sequence[tuple[str, int]], config: Config
    ) -> Report:
        warnings = [warning for each in gateways for warning in each.warnings(config)]
        if not gateways:
            warnings.append("no gateways: is this the Redis, and the database, that they use?")
        elif not any(each.serves for each in gateways):
            warnings.append("no gateway was ready at its last beat: nobody new can come in")
        return cls(gateways, rooms, warnings)

    @property
    def serves(self) -> bool:
        """Whether somebody new can come in."""
        return any(each.serves for each in self.gateways)

    def as_json(self) -> str:
        return json.dumps(
            {
                "gateways": [asdict(each) | {"state": each.state} for each in self.gateways],
                "rooms": [{"room": room, "people": people} for room, people in self.rooms],
                "warnings": list(self.warnings),
            }
        )

    def as_text(self) -> str:
        gateways = [_HEADINGS, *(_cells(gateway) for gateway in self.gateways)]
        shown = [(room, str(people)) for room, people in self.rooms[:_ROOMS_SHOWN]]
        left_out = len(self.rooms) - len(shown)
        lines = _table(gateways) if self.gateways else ["no gateways"]
        lines += ["", *_table([("ROOM", "PEOPLE"), *shown])] if shown else ["", "no rooms"]
        if left_out:
            lines.append(f"and {left_out} more")
        if self.warnings:
            lines += ["", *(f"WARNING: {warning}" for warning in self.warnings)]
        return "\n".join(map(_printable, lines))


async def run_status(config: Config, *, as_json: bool) -> int:
    """Print the report; 1 if no gateway is ready, or Redis can't be asked.

    Raises ``SettingsError``.
    """
    if not config.redis_url:
        raise SettingsError("--redis-url: which Redis? The log of a gateway on its own names it")
    try:
        report = await read(config)
    except calls.Unreachable as error:
        why = str(error) or type(error).__name__
        if isinstance(error, AuthenticationError):
            by_file = bool(config.redis_password_file)
            given = "--redis-password-file" if by_file else "--redis-url"
            why = f"it refuses the user or password of {given}: {why}"
        told = redacted(f"gateway status: {config.redis_url} cannot be asked: {why}")
        print(_printable(told), file=sys.stderr)
        return 1
    print(report.as_json() if as_json else report.as_text())
    return 0 if report.serves else 1


async def read(config: Config) -> Report:
    """Raises one of ``Unreachable``."""
    keys = Keys(config.namespace, dial.database(config))
    client = dial.connect(config)
    try:
        async with asyncio.timeout(config.connect_timeout_s + config.reply_timeout_s):
            async with client.pipeline(transaction=False) as pipe:
                pipe.time()
                pipe.hmget(keys.clock, "tick", "at")
                pipe.hgetall(keys.gateways)
                pipe.zrange(keys.beats, 0, -1, withscores=True)
                pipe.zrevrange(keys.rooms, 0, -1, withscores=True)
                (seconds, microseconds), clock, said, beats, rooms = await pipe.execute()
    finally:
        await client.aclose()
    now_s = seconds + microseconds / 1e6
    tick, at_ms = (int(value or 0) for value in clock)
    ticks = {_text(id): int(score) for id, score in beats}

    def standing(id: str, said: Mapping[str, Any]) -> Standing:
        beat = ticks.get(id)
        silent = None if beat is None else max(0, tick - beat)
        # A tick is a beat long, or a little less.  After the last one nobody beat.
        silent_s = (silent or 0) * config.beat_s + max(0.0, now_s - at_ms / 1000)
        return Standing.of(id, said, now_s, silent, round(silent_s, 1))

    people = [(_text(room), int(count)) for room, count in rooms if count > 0]
    return Report.of(
        [standing(_text(id), _read_description(text)) for id, text in sorted(said.items())],
        sorted(people, key=lambda room: (-room[1], room[0])),
        config,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _read_description(text: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _silent(beat: int | None, tick: bytes | None) -> int | None:
    return None if beat is None else max(0, int(tick or 0) - beat)


_HEADINGS = (
    "GATEWAY",
    "HOST",
    "ADDRESS",
    "VERSION",
    "UPTIME",
    "CONNECTIONS",
    "ROOMS",
    "MAX LOOP LAG",
    "MAX LOG LAG",
    "STATE",
)


def _cells(gateway: Standing) -> tuple[str, ...]:
    behind = f" ({gateway.rooms_behind} rooms behind)" if gateway.rooms_behind else ""
    return (
        gateway.id,
        gateway.host or "?",
        gateway.address or "?",
        gateway.version or "?",
        _duration(gateway.uptime_s),
        str(gateway.connections),
        str(gateway.rooms),
        _seconds(gateway.loop_lag_s),
        _seconds(gateway.delivery_lag_s) + behind,
        f"silent {_duration(gateway.silent_s)}" if gateway.state == "silent" else gateway.state,
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _duration(seconds: float) -> str:
    minutes, hours, days = int(seconds / 60), int(seconds / 3600), int(seconds / 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def _printable(line: str) -> str:
    """No terminal acts on what others wrote into Redis."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
