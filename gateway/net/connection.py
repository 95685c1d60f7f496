"""One socket: bytes in, bytes out, backpressure.  Knows no chat.

What is different over TLS is in ``gateway.net.secure``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import socket
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from gateway.chat.reasons import CloseReason
from gateway.net.shared import LEAST_BYTES, Shared


class Receiver(Protocol):
    """Who a connection belongs to."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def hung_up(self) -> None:
        """The peer will send nothing more, but may still read."""

    def closed(self, reason: CloseReason) -> None:
        """The connection is over.  Called once, last."""


class Door(Protocol):
    """Where connections come in, and are counted."""

    def opened(self, connection: Connection) -> None:
        """It is there.  It has a receiver when this returns."""

    def over(self, connection: Connection) -> None:
        """It is over.  Called once, before its receiver hears of it."""

    def soon(self, then: Callable[[], None]) -> None:
        """Call ``then`` in one of the loop's next turns, in the order of asking."""


class Hold:
    """Why a socket is not read at the moment.  It is read when there is no reason left.

    Bits of an int: an ``IntFlag`` costs as much as parsing a line.
    """

    NONE = 0
    RATE = 1
    """The client sent faster than its rate."""
    BUSY = 2
    """What the client asked for is not done yet."""
    OUTBOX = 4
    """What it said waits for Redis."""
    PIECES = 8
    """What was read is handed on bit by bit (TLS)."""


_ESTABLISHED = 1
"""The state of a TCP connection that neither side has ended."""

READ_BYTES = 16_384
"""What is handed on at once, at most: no client's bytes keep the loop for long."""

_read_buffer = memoryview(bytearray(READ_BYTES))
"""Shared by all connections: what was read is handed on before the next read."""

_shared = Shared()


class Connection(asyncio.BufferedProtocol):
    """One client's socket, over ``asyncio`` or ``uvloop``.

    ``close()`` flushes, ``abort()`` does not; both can be called twice: the first
    reason stands, and the earlier deadline.
    """

    __slots__ = (
        "_close_by",
        "_close_timer",
        "_door",
        "_ended",
        "_held",
        "_sendq_bytes",
        "_sock",
        "_straight",
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

    _LOOK_S = 0.05
    """How often it looks, while it closes, whether the peer has everything."""

    def __init__(
        self, *, sendq_bytes: int, sock: socket.socket | None = None, door: Door | None = None
    ) -> None:
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
        self._straight: socket.socket | None = None  # while bytes may go past the transport
        self._door = door
        self._taken_bytes = 0  # by the peer, when we last looked
        self._sendq_bytes = sendq_bytes
        self._held = Hold.NONE
        self._ended = False  # the peer's side
        self._close_by = math.inf
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

    @property
    def hung_up(self) -> bool:
        """Whether the peer has ended its side, as far as the kernel knows: be it not read yet."""
        if self._transport is None or self._ended:
            return True
        sock = self._transport.get_extra_info("socket")
        if not sock or sys.platform != "linux":
            return False
        with contextlib.suppress(OSError):  # tcp(7), TCP_INFO
            state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return state != _ESTABLISHED
        return False

    def _in_kernel_bytes(self) -> int:
        """Sent by us and not acknowledged by the peer (tcp(7), SIOCOUTQ)."""
        sock = self._transport and self._transport.get_extra_info("socket")
        if not sock or sys.platform != "linux":
            return 0
        with contextlib.suppress(OSError):
            return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return 0

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.opened_at = asyncio.get_running_loop().time()
        self._set_limits(self._transport)
        self._straight = self._sock
        if self._door:
            self._door.opened(self)

    def _set_limits(self, transport: asyncio.Transport) -> None:
        # pause_writing() tells that a client stopped reading; nobody waits for it.
        transport.set_write_buffer_limits(high=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received_bytes += nbytes
        if self.reason is None:
            self.receiver.received(bytes(_read_buffer[:nbytes]))

    def eof_received(self) -> bool:
        if self.reason is None and not self._ended:
            self._ended = True
            self._soon(self._hung_up)
        # Who hung up may still read, until the receiver closes.
        return self.reason is None

    def _soon(self, then: Callable[[], None]) -> None:
        """For what ends: a crowd that goes at once is seen out by and by, for others' sake."""
        if self._door:
            self._door.soon(then)
        else:
            then()

    def _hung_up(self) -> None:
        if self.reason is None:
            self.receiver.hung_up()

    def pause_writing(self) -> None:
        self._straight = None
        if self.stalled_since is None:
            self.stalled_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        self.stalled_since = None
        if self.reason is None:
            self._straight = self._sock

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()
        if self.reason is None:
            self.reason = CloseReason.HUNG_UP
        self._over()

    def _lost(self) -> None:
        if self._close_timer:
            self._close_timer.cancel()
        self._transport = self._straight = self.stalled_since = None

    def _over(self) -> None:
        assert self.reason is not None
        if self._door:
            self._door.over(self)
        self._soon(partial(self.receiver.closed, self.reason))

    # Called by its owner.

    def send(self, data: bytes) -> None:
        """Queue bytes.  A client whose SendQ is full is aborted."""
        if self._straight:
            # The transport's way to the same system call costs a tenth of what a delivery does.
            try:
                if len(data) < LEAST_BYTES:
                    sent = self._straight.send(data)
                else:
                    sent = _shared.send(self._straight, data)
            except OSError:
                sent = 0  # the transport finds out why
            self.sent_bytes += sent
            if sent == len(data):
                return
            data = data[sent:]
        if self.reason is not None or self._transport is None:
            return
        self.sent_bytes += len(data)
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._sendq_bytes:
            self.abort(CloseReason.SENDQ_FULL)

    def hold(self, why: int) -> None:
        """Stop reading the socket, until every reason to is released."""
        if not self._held and self._transport and self._reads:
            self._transport.pause_reading()
        self._held |= why

    def release(self, why: int) -> None:
        if not self._held:
            return
        self._held &= ~why
        if not self._held and self._transport and self._reads:
            self._transport.resume_reading()

    def held(self, why: int) -> bool:
        return bool(self._held & why)

    @property
    def _reads(self) -> bool:
        """Whether there is something to hold: neither side has ended."""
        closing = self._transport is None or self._transport.is_closing()
        return self.reason is None and not self._ended and not closing

    def close(self, reason: CloseReason, *, timeout_s: float) -> None:
        """Send what is queued, then close.

        What the peer has not taken after ``timeout_s`` is dropped, and the reason
        is ``UNFLUSHED`` then.
        """
        loop = asyncio.get_running_loop()
        first, self.reason, self._straight = self.reason is None, self.reason or reason, None
        if self._transport is None:
            if first:
                loop.call_soon(self._over)
            return
        self._close_by = min(self._close_by, loop.time() + timeout_s)
        if first:
            self._finish(self._transport)
        self._look_later()

    def _finish(self, transport: asyncio.Transport) -> None:
        """Let nothing follow what is queued."""
        if self._ended or transport.is_closing():
            transport.close()
            return
        # Closed with input unread, the kernel would reset the connection and drop what
        # the peer has not taken yet (RFC 2525, 2.17).  So it is read, and thrown away,
        # until the peer ends or has everything.
        if self._held:
            transport.resume_reading()
        transport.write_eof()

    def _look_later(self) -> None:
        if self._close_timer:
            self._close_timer.cancel()
        loop = asyncio.get_running_loop()
        when = min(loop.time() + self._LOOK_S, self._close_by)
        self._close_timer = loop.call_at(when, self._look)

    def _look(self) -> None:
        """End it if the peer has all that was sent, or if the time for that is over."""
        assert self._transport
        waiting = self._transport.get_write_buffer_size() + self._in_kernel_bytes()
        if waiting and asyncio.get_running_loop().time() < self._close_by:
            self._look_later()
            return
        if waiting:
            self.reason = CloseReason.UNFLUSHED
        self._transport.abort()

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what is queued is dropped."""
        if self._transport is not None:
            self.reason, self._straight = self.reason or reason, None
            self._transport.abort()
        elif self.reason is None:
            self.close(reason, timeout_s=0)
