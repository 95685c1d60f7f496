"""Takes connections: from a listening socket, or handed over by another process.

Admits as many as configured; more are told so and closed.  Out of file
descriptors, it rests instead of spinning.  What comes before the first word of a
client, a PROXY header and a TLS handshake, is dealt with here, under deadlines.
Knows nothing of what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gateway.chat.reasons import Refusal
from gateway.config import Config
from gateway.net.connection import Connection
from gateway.net.proxy_protocol import BadHeader, HeaderParser, Source, TrustedProxies
from gateway.net.secure import SecureConnection
from gateway.net.tls import Certificate
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_BACKLOG = 4096
_LAST_READ_BYTES = 4096
_ACCEPTS = 64
"""Connections accepted in one iteration of the loop."""
_ENDINGS = 64
"""Connections whose end is dealt with in one iteration of the loop."""
_REST_S = 0.25
_FULL = b"* this gateway is full, please try again later\n"
_WANTS_TLS = b"* this port speaks TLS, please come back with a client that does\n"
_NOT_TOLD = (b"", b"\x16", b"{")
"""First bytes of whoever wants no line about TLS: who is gone, who speaks it (a handshake's
record, RFC 8446, 5.1), and programs, ours among them, to which a line would be a chat's."""
_RESERVED_DESCRIPTORS = 64
"""For Redis, logs and the like: connections do not get these."""
_REFUSALS_LOGGED_EVERY_S = 10.0
_FOR_EVER_S = 86_400.0


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


class _Refused(Exception):
    """This connection is not to be; its text says more than the reason."""

    def __init__(self, reason: Refusal, why: object = "") -> None:
        super().__init__(str(why))
        self.reason = reason


class Listener:
    """Makes a ``Connection`` of every socket that is admitted, and gives it to ``adopt``.

    Raises ``SettingsError`` for trusted proxies that are no networks.
    """

    def __init__(
        self,
        config: Config,
        adopt: Callable[[Connection], None],
        certificate: Certificate | None = None,
    ) -> None:
        self.accepted = 0
        self.ended_received_bytes = 0
        self.ended_sent_bytes = 0
        """Of the connections that are over."""
        self.refused = dict.fromkeys(Refusal, 0)
        self.limit = min(config.max_connections, raise_file_limit() - _RESERVED_DESCRIPTORS)
        self._config = config
        self._adopt = adopt
        self._certificate = certificate
        self._proxies = TrustedProxies(config.trusted_proxies)
        self._connections = 0
        self._listening: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[Any], Connection] = {}  # for their peers, of these
        self._endings: deque[Callable[[], None]] = deque()  # two of each connection at most
        self._refusal_logged_at = dict.fromkeys(Refusal, float("-inf"))
        if self.limit < config.max_connections:
            log.warning("file limit lowers max-connections", connections=self.limit)

    @property
    def connections(self) -> int:
        return self._connections

    @property
    def full(self) -> bool:
        return self._connections >= self.limit

    def start(self, bound: socket.socket) -> None:
        """Listen and accept until ``stop()``.  Raises ``OSError`` if the port is in use."""
        _tune(bound)  # and with it all that is accepted
        bound.listen(_BACKLOG)
        self._listening = bound
        asyncio.get_running_loop().add_reader(bound, self._accept)

    async def stop(self) -> None:
        """Accept no more, and close the listening socket.  Idempotent.

        Returns when all that were accepted are here; who is waited for is refused.
        """
        if self._resting:
            self._resting.cancel()
            self._resting = None
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for task, connection in self._waiting.items():
            # One that was opened a moment ago would be closed behind its back.
            if not connection.opened_at:
                task.cancel()
        if self._starting:
            await asyncio.wait(self._starting)

    def take(self, sock: socket.socket) -> None:
        """Take a connected socket that another process accepted, or refuse it with one line."""
        with contextlib.suppress(OSError):  # gone: that shows when it is used
            _tune(sock)
        self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if self.full:
            with sock, contextlib.suppress(OSError):
                host, port = sock.getpeername()[:2]
                full = _Refused(Refusal.FULL, f"{self._connections} connections")
                self._refuse(full, str(Source.at(host, port)))
                _turn_away(sock, b"" if self._certificate else _FULL)
            return
        self._connections += 1
        task = asyncio.get_running_loop().create_task(self._begin(sock))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _begin(self, sock: socket.socket) -> None:
        kind = SecureConnection if self._certificate else Connection
        connection = kind(sendq_bytes=self._config.sendq, sock=sock, door=self)
        try:
            host, port = sock.getpeername()[:2]
            source = Source.at(host, port)
            connection.peer = str(source)
            if self._config.proxy_protocol:
                with self._waits_for(connection):
                    connection.peer = str(await self._behind(source, sock) or source)
            if self._certificate:
                with self._waits_for(connection):
                    await self._open_secure(connection, sock, self._certificate)
            else:
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(lambda: connection, sock)
            self.accepted += 1
            return
        except _Refused as error:
            self._refuse(error, connection.peer)
        except OSError:  # gone before it was here
            self.refused[Refusal.GONE] += 1
        except asyncio.CancelledError:
            self.refused[Refusal.DRAINED] += 1
            raise
        finally:
            if not connection.opened_at:
                sock.close()
                self._connections -= 1

    async def _behind(self, proxy: Source, sock: socket.socket) -> Source | None:
        """Who the proxy speaks for; None if for itself."""
        if proxy.host not in self._proxies:
            # Without a word: it is a stranger, or a balancer that was forgotten in the
            # settings, whose clients would be told to do what they did.  The log says it.
            raise _Refused(Refusal.UNTRUSTED)
        loop = asyncio.get_running_loop()
        parser = HeaderParser()
        try:
            async with asyncio.timeout(self._config.proxy_timeout_s):
                while parser.wants:
                    read = await loop.sock_recv(sock, parser.wants)
                    if not read:
                        raise ConnectionResetError
                    parser.feed(read)
        except TimeoutError as error:
            raise _Refused(Refusal.PROXY_TIMEOUT) from error
        except BadHeader as error:
            raise _Refused(Refusal.PROXY_HEADER, error) from error
        return parser.source

    @contextlib.contextmanager
    def _waits_for(self, connection: Connection) -> Iterator[None]:
        """What takes as long as its peer does: ``stop`` gives it up."""
        task = asyncio.current_task()
        assert task
        self._waiting[task] = connection
        try:
            yield
        finally:
            del self._waiting[task]

    async def _open_secure(
        self, connection: Connection, sock: socket.socket, certificate: Certificate
    ) -> None:
        if await _first_byte(sock, self._config.tls_timeout_s) not in _NOT_TOLD:
            _turn_away(sock, _WANTS_TLS)
            raise _Refused(Refusal.TLS_HANDSHAKE, "no TLS came")
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=certificate.context,
                ssl_handshake_timeout=self._config.tls_timeout_s,
                # What we allow a close to take, we see to ourselves.
                ssl_shutdown_timeout=_FOR_EVER_S,
            )
        except OSError as error:
            raise _Refused(
                Refusal.TLS_HANDSHAKE, getattr(error, "reason", None) or error
            ) from error

    def _refuse(self, error: _Refused, peer: str) -> None:
        """Count it, and log it if none like it was logged a moment ago."""
        reason = error.reason
        self.refused[reason] += 1
        now = asyncio.get_running_loop().time()
        if now - self._refusal_logged_at[reason] >= _REFUSALS_LOGGED_EVERY_S:
            self._refusal_logged_at[reason] = now
            more = {"error": str(error)} if str(error) else {}
            log.warning(
                "refused", reason=reason.value, peer=peer, **more, so_far=self.refused[reason]
            )

    def opened(self, connection: Connection) -> None:
        """A connection is there; for itself to call, as ``over``."""
        self._adopt(connection)

    def over(self, connection: Connection) -> None:
        self._connections -= 1
        self.ended_received_bytes += connection.received_bytes
        self.ended_sent_bytes += connection.sent_bytes

    def soon(self, then: Callable[[], None]) -> None:
        self._endings.append(then)
        if len(self._endings) == 1:
            asyncio.get_running_loop().call_soon(self._see_out)

    def _see_out(self) -> None:
        try:
            for _ in range(min(_ENDINGS, len(self._endings))):
                self._endings.popleft()()
        finally:
            if self._endings:
                asyncio.get_running_loop().call_soon(self._see_out)

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
            self._take(sock)

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


async def _first_byte(sock: socket.socket, timeout_s: float) -> bytes | None:
    """What comes first, left in the socket; b'' for its end, None if nothing comes in time."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(sock, came.set)
    try:
        await asyncio.wait_for(came.wait(), timeout_s)
    except TimeoutError:
        return None
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


def _turn_away(sock: socket.socket, line: bytes) -> None:
    """Say one last thing to somebody who was not let in."""
    with contextlib.suppress(OSError):
        sock.send(line)
        sock.shutdown(socket.SHUT_WR)
        # What is left unread makes the kernel reset the connection, line and all.
        sock.recv(_LAST_READ_BYTES)


def _tune(sock: socket.socket) -> None:
    """Send at once, and find peers that are gone without a word: idle or owing us an answer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 120_000),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
