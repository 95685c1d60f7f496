"""One socket: bytes in, bytes out, backpressure.  Knows no chat."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import socket
import sys
import termios
from typing import Protocol, cast

from gateway.chat.reasons import CloseReason


class Receiver(Protocol):
    """Who a connection belongs to."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def hung_up(self) -> None:
        """The peer will send nothing more, but may still read."""

    def closed(self, reason: CloseReason) -> None:
        """The connection is over.  Called once, last."""


class Hold(enum.IntFlag):
    """Why a socket is not read at the moment.  It is read when there is no reason left."""

    NONE = 0
    RATE = enum.auto()
    """The client sent faster than its rate."""
    BUSY = enum.auto()
    """What the client asked for is not done yet."""
    OUTBOX = enum.auto()
    """What it said waits for Redis."""


_READ_BYTES = 16_384
"""One read at most, so that no client's bytes keep the loop for long."""

_read_buffer = memoryview(bytearray(_READ_BYTES))
"""Shared by all connections: what was read is handed on before the next read."""


class Connection(asyncio.BufferedProtocol):
    """One client's socket, over ``asyncio`` or ``uvloop``.

    ``close()`` flushes, ``abort()`` does not; both can be called twice, the
    first reason stands.
    """

    __slots__ = (
        "_close_timer",
        "_held",
        "_sendq_bytes",
        "_sock",
        "_taken_bytes",
        "_transport",
        "opened_at",
        "peer",
        "reason",
        "received_bytes",
        "receiver",
        "sent_bytes",
        "stalled_since",
    )

    def __init__(self, *, sendq_bytes: int, sock: socket.socket | None = None) -> None:
        """``sock`` is the transport's own, if plain bytes may go straight into it."""
        self.receiver: Receiver
        self.peer = ""
        self.reason: CloseReason | None = None
        self.stalled_since: float | None = None
        """When the kernel stopped taking our bytes, in the loop's time, or None."""
        self.opened_at = 0.0
        """In the loop's time."""
        self.received_bytes = 0
        self.sent_bytes = 0
        """Sent or in the SendQ."""
        self._transport: asyncio.Transport | None = None
        self._sock = sock
        self._taken_bytes = 0  # by the peer, when we last looked
        self._sendq_bytes = sendq_bytes
        self._held = Hold.NONE
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def sendq_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        # Those of all who read are 0, which is known without asking.
        if self.stalled_since is None or self._transport is None:
            return 0
        return self._transport.get_write_buffer_size()

    def stalled_s(self) -> float:
        """How long bytes have waited without the peer's taking any."""
        if self.stalled_since is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        taken_bytes = self.sent_bytes - self.sendq_bytes - self._in_kernel_bytes()
        if taken_bytes > self._taken_bytes:
            self._taken_bytes, self.stalled_since = taken_bytes, now
        return now - self.stalled_since

    def _in_kernel_bytes(self) -> int:
        """Sent by us and not acknowledged by the peer (tcp(7), SIOCOUTQ)."""
        if self._sock is None or sys.platform != "linux":
            return 0
        with contextlib.suppress(OSError):
            return int.from_bytes(
                fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder
            )
        return 0

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.opened_at = asyncio.get_running_loop().time()
        # pause_writing() tells that a client stopped reading; nobody waits for it.
        self._transport.set_write_buffer_limits(high=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received_bytes += nbytes
        if self.reason is None:
            self.receiver.received(bytes(_read_buffer[:nbytes]))

    def eof_received(self) -> bool:
        if self.reason is None:
            self.receiver.hung_up()
        # The receiver closes when it is done; but TLS has no half-closed connections.
        return self._transport is not None and not self._transport.get_extra_info("ssl_object")

    def pause_writing(self) -> None:
        if self.stalled_since is None:
            self.stalled_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        self.stalled_since = None

    def connection_lost(self, error: Exception | None) -> None:
        if self._close_timer:
            self._close_timer.cancel()
        self._transport = None
        if self.reason is None:
            self.reason = CloseReason.HUNG_UP
        self.receiver.closed(self.reason)

    # Called by its owner.

    def send(self, data: bytes) -> None:
        """Queue bytes.  A client whose SendQ is full is aborted."""
        if self.reason is not None:
            return
        self.sent_bytes += len(data)
        if self._sock and self.stalled_since is None:
            # Nothing waits before it.  The transport's way to the same system call
            # costs a tenth of what a delivery does.
            try:
                sent = self._sock.send(data)
            except OSError:
                sent = 0  # the transport finds out why
            if sent == len(data):
                return
            data = data[sent:]
        self._queue(data)

    def _queue(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > self._sendq_bytes:
            self.abort(CloseReason.SENDQ_FULL)

    def hold(self, why: Hold) -> None:
        """Stop reading the socket, until every reason to is released."""
        if not self._held and self._transport and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held |= why

    def release(self, why: Hold) -> None:
        if not self._held:
            return
        self._held &= ~why
        if not self._held and self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def held(self, why: Hold) -> bool:
        return bool(self._held & why)

    def close(self, reason: CloseReason, *, timeout_s: float) -> None:
        """Send what is queued, then close; abort if that takes over ``timeout_s``."""
        if self.reason is not None or self._transport is None:
            return
        self.reason = reason
        self._transport.close()
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(timeout_s, self._transport.abort)

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what is queued is dropped."""
        if self.reason is None:
            self.reason = reason
        if self._transport is not None:
            self._transport.abort()
