"""What is measured: gateways with their Redis, a Redis alone, or what runs already.

Knows where they listen, which processes they are and what these cost; not what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.broker.embedded import EmbeddedServer
from gateway.processes import end, lines, spawn
from gateway.tools.bench.cores import Half, on
from gateway.tools.bench.wire import Kind

_START_S = 20.0
_GRACE_S = 20.0
_SPARE = 16
"""Connections of a Redis besides those of the people."""


class BenchError(Exception):
    """Nothing can be measured; its text is one line why."""


@dataclass(frozen=True)
class Cost:
    """What processes used so far: seconds of CPU (user and system), and memory now."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True)
class System:
    """Something to talk through.  ``processes`` are by role, ``gateway`` or ``redis``."""

    kind: Kind
    targets: list[tuple[str, int]]
    processes: dict[str, list[int]] = field(default_factory=dict)

    def costs(self) -> dict[str, Cost]:
        """By role.  Raises ``BenchError`` if one of the processes is gone."""
        try:
            return {role: cost(pids) for role, pids in self.processes.items() if pids}
        except psutil.Error as error:
            raise BenchError(f"a process to be measured is gone: {error}") from None


def cost(pids: Sequence[int]) -> Cost:
    """Raises ``psutil.Error`` if one of them is gone."""
    cpu_s, rss_bytes = 0.0, 0
    for pid in pids:
        process = psutil.Process(pid)
        times = process.cpu_times()
        cpu_s += times.user + times.system
        rss_bytes += process.memory_info().rss
    return Cost(cpu_s, rss_bytes)


def given(targets: list[tuple[str, int]], pids: list[int]) -> System:
    """Gateways that run already; without ``pids`` their cost is not known."""
    roles: dict[str, list[int]] = {"gateway": [], "redis": []}
    for pid in pids:
        try:
            name = psutil.Process(pid).name()
        except psutil.Error as error:
            raise BenchError(f"--pids: {error}") from None
        roles["redis" if name.startswith(("redis", "valkey")) else "gateway"].append(pid)
    return System("gateway", targets, roles)


@contextlib.asynccontextmanager
async def redis_alone(people: int) -> AsyncIterator[System]:
    """A Redis whose own pub/sub is measured, with room for that many."""
    redis = await _started_redis()
    try:
        try:
            async with Redis.from_url(redis.url) as client:
                await client.config_set("maxclients", people + _SPARE)
        except RedisError as error:
            raise BenchError(f"Redis takes no {people} people: {error}") from None
        yield System("redis", [("127.0.0.1", redis.port)], {"redis": [redis.pid]})
    finally:
        await redis.stop()


@contextlib.asynccontextmanager
async def gateways(count: int, *flags: str) -> AsyncIterator[System]:
    """New gateways on a new Redis, which take lines as fast as they come."""
    redis = await _started_redis()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.stop)
        started = [_Gateway(redis.url, flags) for _ in range(count)]
        for gateway in started:
            await stack.enter_async_context(gateway)
        targets = [await gateway.ready() for gateway in started]
        pids = [gateway.pid for gateway in started]
        yield System("gateway", targets, {"gateway": pids, "redis": [redis.pid]})


async def _started_redis() -> EmbeddedServer:
    redis = EmbeddedServer()
    with on(Half.SYSTEM):
        await redis.start()
    return redis


class _Gateway:
    """One gateway process; its log is read, and its last words told if it fails."""

    def __init__(self, redis_url: str, flags: Sequence[str]) -> None:
        self._flags = (
            *("--port", "0", "--redis-url", redis_url, "--log-format", "json"),
            *("--rate", "100000", "--burst", "100000", "--name-timeout", "3600", *flags),
        )
        self._last = "it said nothing"
        self._process: Process
        self._reading: asyncio.Task[None]
        self._address: asyncio.Future[str]

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __aenter__(self) -> None:
        self._address = asyncio.get_running_loop().create_future()
        clean = {name: value for name, value in os.environ.items() if name[:8] != "GATEWAY_"}
        command = [sys.executable, "-m", "gateway", "serve", *self._flags]
        with on(Half.SYSTEM):
            self._process = await spawn(command, env=clean)
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> tuple[str, int]:
        """Where it accepts.  Raises ``BenchError``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._address), _START_S)
        address = self._address.result() if self._address.done() else ""
        if not address:
            raise BenchError(f"a gateway did not start: {self._last}")
        host, _, port = address.rpartition(":")
        return host.strip("[]"), int(port)

    async def _read(self) -> None:
        async for line in lines(self._process):
            if not self._address.done():
                self._last = line
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") == "ready":
                        self._address.set_result(str(entry["address"]))
        if not self._address.done():
            self._address.set_result("")

    async def __aexit__(self, *error: object) -> None:
        await end(self._process, _GRACE_S)
        await self._reading
