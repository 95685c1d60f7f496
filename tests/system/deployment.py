"""What production consists of, as real processes: HAProxy, and gateways that it checks.

``tool`` finds the programs that the tests of ``deploy/`` need.  Without one, a test is
skipped with the reason on a laptop, and fails where ``CI`` is set: ``.ci/run`` installs all.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import random
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from people import Person
from processes import REPOSITORY, GatewayProcess, Process, RealRedis, eventually

DEPLOY = REPOSITORY / "deploy"
EXTRA = "pip install --editable '.[deploy]'"
HAPROXY_CFG = DEPLOY / "haproxy" / "haproxy.cfg"


def tool(name: str, package: str) -> str:
    """The path of a program: beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        missing(name, package)
    return str(found)


def missing(name: str, package: str) -> None:
    """Skip the test, saying what to install; where CI is set, fail it."""
    why = f"{name} is not installed: {package}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def pyyaml() -> ModuleType:
    """PyYAML, which comes with the extra."""
    try:
        import yaml
    except ImportError:
        missing("PyYAML", EXTRA)
    return yaml


def run(*argv: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = f"{argv[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    return done.stdout + done.stderr


def lasting_port() -> int:
    """A port that stays free while nobody listens on it, over a restart.

    Outside the range from which the kernel gives outgoing connections theirs, which one of
    ``free_port`` is in.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an HTTP request to the loopback; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metric(text: str, name: str) -> float:
    """The sum of a metric's samples in Prometheus's text format."""
    samples = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
    return sum(
        float(value)
        for series, _, value in samples
        if series == name or series.startswith(f"{name}{{")
    )


@dataclass(frozen=True)
class Place:
    """Where one gateway is to be found; a restarted one comes back to it."""

    number: int
    port: int
    admin_port: int


class Haproxy(Process):
    """HAProxy with the configuration of ``deploy/``, nothing of it changed."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__("haproxy")
        self.port = lasting_port()
        self.stats_port = lasting_port()
        self.environment = {
            "CHAT_BIND": f"127.0.0.1:{self.port}",
            "STATS_BIND": f"127.0.0.1:{self.stats_port}",
        }
        for place in places:
            self.environment[f"SERVER_{place.number}"] = f"127.0.0.1:{place.port}"
            self.environment[f"SERVER_{place.number}_ADMIN"] = str(place.admin_port)

    def start(self) -> Haproxy:
        self.spawn(tool("haproxy", "apt-get install haproxy"), "-db", "-f", str(HAPROXY_CFG))
        return self

    def servers(self) -> dict[str, dict[str, str]]:
        """HAProxy's own words about each server of the backend."""
        _, page = get(self.stats_port, "/;csv")
        rows = csv.DictReader(io.StringIO(page.removeprefix("# ")))
        return {row["svname"]: row for row in rows if row["pxname"] == "gateways"}

    def up(self) -> list[int]:
        """The numbers of the gateways that get newcomers."""
        return [
            int(name.removeprefix("gateway"))
            for name, row in self.servers().items()
            if name.startswith("gateway") and row["status"].startswith("UP")
        ]


class Deployment:
    """Three gateways behind HAProxy, on one Redis.  Made by ``start``."""

    FLAGS = ("--proxy-protocol", "--trusted-proxies", "127.0.0.1")

    def __init__(self, redis: RealRedis, flags: Sequence[str]) -> None:
        self.redis = redis
        self.flags = (*self.FLAGS, *flags)
        self.places = [Place(number, lasting_port(), lasting_port()) for number in (1, 2, 3)]
        self.gateways: dict[int, GatewayProcess] = {}
        self.former: list[GatewayProcess] = []
        self.people: list[Person] = []
        self.haproxy = Haproxy(self.places)

    @classmethod
    async def start(cls, *flags: str) -> Deployment:
        redis = await RealRedis(*RealRedis.DURABLE).start()
        self = cls(redis, flags)
        for place in self.places:
            self.launch(place)
        for gateway in self.gateways.values():
            await gateway.wait_ready()
        self.haproxy.start()
        await self.all_up()
        return self

    @property
    def port(self) -> int:
        return self.haproxy.port

    def launch(self, place: Place) -> GatewayProcess:
        """A gateway at its place; the one that was there before is kept for its log."""
        if place.number in self.gateways:
            self.former.append(self.gateways[place.number])
        where = ("--port", str(place.port), "--admin-port", str(place.admin_port))
        gateway = GatewayProcess(f"gateway-{place.number}")
        self.gateways[place.number] = gateway.launch(self.redis.url, *self.flags, *where)
        return gateway

    async def all_up(self, within_s: float = 15) -> None:
        """HAProxy sends newcomers to all three."""
        await eventually(
            lambda: self.haproxy.up() == [1, 2, 3],
            within_s,
            "HAProxy finds all gateways ready",
            lambda: (
                f"{[get(place.admin_port, '/readyz') for place in self.places]}"
                f"\n{self.haproxy.output}"
            ),
        )

    async def newcomer(self) -> Person:
        """Somebody who came through the balancer and was asked for a name."""
        person = await Person.connect(self.port)
        self.people.append(person)
        return person

    async def join(self, name: str) -> Person:
        person = await self.newcomer()
        await person.join(name)
        return person

    def metrics(self, number: int) -> str:
        status, text = get(self.places[number - 1].admin_port, "/metrics")
        assert status == 200
        return text

    def connections(self) -> list[int]:
        """Connections of each gateway, as it counts them."""
        return [int(metric(self.metrics(p.number), "gateway_connections")) for p in self.places]

    def blemishes(self) -> list[str]:
        """Tracebacks and the like in any gateway's log."""
        everyone = (*self.former, *self.gateways.values())
        return [blemish for gateway in everyone for blemish in gateway.blemishes()]

    async def close(self) -> None:
        """Everybody goes, every process ends."""
        for person in self.people:
            person.abort()
        # Their sockets are closed in the loop's next round.
        await asyncio.sleep(0)
        for process in (self.haproxy, *self.former, *self.gateways.values(), self.redis):
            process.close()
