"""A connection over TLS, in which the peer's end is the end of both directions.

Knows no certificates: the loop does the encryption, between this and the socket.
"""

from __future__ import annotations

import asyncio
import socket

from gateway.net.connection import READ_BYTES, Connection, Door, Hold

_buffer = memoryview(bytearray(524_288))
"""Shared by all; twice of what uvloop and asyncio read from a socket at once, so that
nothing stays behind in OpenSSL, whose buffer they do not look at."""


class SecureConnection(Connection):
    """``Connection`` for a client that speaks TLS.

    When the peer ends, be it with a close_notify or by closing its socket, the loop calls
    ``connection_lost`` at once, and forgets what it has not handed on.  So it is made to
    hand on all that it reads, which is kept here, a read at most, and to read no more while
    something is kept or held: the rest, and the end after it, stay in the kernel.  And for
    the receiver the connection is over when it closes: until then the peer just hung up.
    """

    __slots__ = ("_done", "_handing_on", "_kept")

    _LOOK_S = 1.0
    """Peers answer a close_notify by themselves.  A look sees what is in the kernel, but not
    what is on its way there: in this time even a busy loop has moved that on."""

    def __init__(
        self, *, sendq_bytes: int, sock: socket.socket | None = None, door: Door | None = None
    ) -> None:
        # No byte may go past the encryption, straight into the socket.
        super().__init__(sendq_bytes=sendq_bytes, sock=None, door=door)
        self._kept = bytearray()
        self._handing_on: asyncio.Handle | None = None  # in the loop's next round
        self._done = False  # the peer, which the receiver may not know yet

    def _set_limits(self, transport: asyncio.Transport) -> None:
        # Here the loop pauses AT its limit: at 0 it would pause with nothing to write.
        transport.set_write_buffer_limits(high=1, low=0)
        # While it is paused, a single byte is enough to leave the next ones in the kernel.
        transport.set_read_buffer_limits(high=1, low=0)  # type: ignore[attr-defined]

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received_bytes += nbytes
        if self.reason is None:
            self._kept += _buffer[:nbytes]
            self._hand_on()

    def _hand_on(self) -> None:
        """Hand on a piece of what is kept; the next one in the loop's next round."""
        if self._handing_on:
            self._handing_on.cancel()
            self._handing_on = None
        if self.reason is not None or self._held & ~Hold.PIECES:
            return
        if self._kept:
            piece = bytes(self._kept[:READ_BYTES])
            del self._kept[:READ_BYTES]
            self.receiver.received(piece)
        if self._kept:
            self.hold(Hold.PIECES)
            self._hand_on_later()
        else:
            super().release(Hold.PIECES)
            self._tell_of_the_end()

    def release(self, why: int) -> None:
        super().release(why)
        if self._kept:
            self._hand_on_later()

    def _hand_on_later(self) -> None:
        if not self._handing_on:
            self._handing_on = asyncio.get_running_loop().call_soon(self._hand_on)

    def eof_received(self) -> bool:
        self._done = True
        self._tell_of_the_end()
        return False  # connection_lost comes when what is queued is sent

    def connection_lost(self, error: Exception | None) -> None:
        if self.reason is not None:
            super().connection_lost(error)
            return
        self._lost()
        self._done = True
        self._tell_of_the_end()

    def _tell_of_the_end(self) -> None:
        """Once, when the peer is done and all that came is handed on."""
        if self._done and not self._kept and self.reason is None and not self._ended:
            self._ended = True
            self._soon(self._hung_up)

    def _finish(self, transport: asyncio.Transport) -> None:
        # Flushes and shuts down by itself, and throws away what comes.
        transport.close()
