"""Takes connections: from a listening socket, or handed over by another process.

Admits as many as configured; more are told so and closed.  Out of file
descriptors, it rests instead of spinning.  Knows nothing of what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Callable

from gateway.config import Config
from gateway.net.connection import Connection
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_BACKLOG = 4096
_ACCEPTS = 64
"""Connections accepted in one iteration of the loop."""
_REST_S = 0.25
_FULL = b"* this gateway is full, please try again later\n"
_RESERVED_DESCRIPTORS = 64
"""For Redis, logs and the like: connections do not get these."""


def raise_file_limit() -> int:
    """Raise the limit of open files to its hard limit; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower true limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket that does not listen yet.  Raises ``OSError``, e.g. for a port in use."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def address_of(sock: socket.socket) -> str:
    """``HOST:PORT`` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """Makes a ``Connection`` of every socket that is admitted, and gives it to ``adopt``."""

    def __init__(self, config: Config, adopt: Callable[[Connection], None]) -> None:
        self.refused = 0
        self._config = config
        self._adopt = adopt
        self._connections = 0
        self._most = min(config.max_connections, raise_file_limit() - _RESERVED_DESCRIPTORS)
        self._listening: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._starting: set[asyncio.Task[None]] = set()
        if self._most < config.max_connections:
            log.warning("file limit lowers max-connections", connections=self._most)

    @property
    def connections(self) -> int:
        return self._connections

    def start(self, bound: socket.socket) -> None:
        """Listen and accept until ``stop()``.  Raises ``OSError`` if the port is in use."""
        bound.listen(_BACKLOG)
        self._listening = bound
        asyncio.get_running_loop().add_reader(bound, self._accept)

    def stop(self) -> None:
        """Accept no more, and close the listening socket.  Idempotent."""
        if self._resting:
            self._resting.cancel()
            self._resting = None
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def take(self, sock: socket.socket) -> None:
        """Take a connected socket, or refuse it with one line."""
        sock.setblocking(False)
        if self._connections >= self._most:
            self.refused += 1
            with sock, contextlib.suppress(OSError):
                sock.send(_FULL)
                sock.shutdown(socket.SHUT_WR)
            return
        self._connections += 1
        task = asyncio.get_running_loop().create_task(self._begin(sock))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _begin(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
            peer = sock.getpeername()
            connection = _Counted(self)
            connection.peer = f"{peer[0]}:{peer[1]}"
            await loop.connect_accepted_socket(lambda: connection, sock)
        except OSError:  # gone before it was here
            sock.close()
            self.ended()

    def begun(self, connection: Connection) -> None:
        self._adopt(connection)

    def ended(self) -> None:
        self._connections -= 1

    def _accept(self) -> None:
        assert self._listening is not None
        for _ in range(_ACCEPTS):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._rest(error)
                return
            self.take(sock)

    def _rest(self, error: OSError) -> None:
        """Leave connections in the backlog for a moment."""
        loop = asyncio.get_running_loop()
        log.warning("accepting paused", error=error.strerror)
        if self._listening:
            loop.remove_reader(self._listening)
        self._resting = loop.call_later(_REST_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._listening:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)


class _Counted(Connection):
    """A connection that its listener counts."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        super().__init__(sendq_bytes=listener._config.sendq)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.begun(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.ended()
        super().connection_lost(error)


def _keep_alive(sock: socket.socket) -> None:
    """Find peers that are gone without a word: idle ones, and those that owe us an answer."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 120_000),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
