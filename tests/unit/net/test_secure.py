"""Connections over TLS: idle, held, and ended by the peer in each of its ways.

On uvloop, as in production, whose TLS has ways of its own, and over real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
import time

import pytest
import trustme
import uvloop

from gateway.chat.reasons import CloseReason
from gateway.net.connection import READ_BYTES, Hold
from gateway.net.secure import SecureConnection

CA = trustme.CA()
PATIENCE_S = 10.0
FOR_EVER_S = 3600.0
LINES = b"".join(b"line %d\n" % number for number in range(60_000))


class Receiver:
    """Takes what comes; ``hold_after`` bytes it holds the connection."""

    def __init__(self, connection):
        self.connection = connection
        self.bytes = b""
        self.longest = 0
        self.told = []
        self.hold_after = float("inf")

    def received(self, data):
        assert not self.told
        self.bytes += data
        self.longest = max(self.longest, len(data))
        if len(self.bytes) >= self.hold_after:
            self.connection.hold(Hold.RATE)

    def hung_up(self):
        self.told.append("hung up")

    def closed(self, reason):
        self.told.append(reason)


class Line:
    """A connection, its receiver, and the client at the other end, whose calls block."""

    def __init__(self, pem):
        self._pem = pem

    async def __aenter__(self):
        self.connection = SecureConnection(sendq_bytes=64_000_000)
        self.receiver = self.connection.receiver = Receiver(self.connection)
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(self._pem)
        theirs = ssl.create_default_context()
        CA.configure_trust(theirs)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname(), PATIENCE_S)
            accepted = listening.accept()[0]
        accepted.setblocking(False)
        handshake = asyncio.create_task(
            asyncio.to_thread(theirs.wrap_socket, client, server_hostname="gateway.example")
        )
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self.connection, accepted, ssl=ours, ssl_shutdown_timeout=FOR_EVER_S
        )
        self.client = await handshake
        return self

    async def __aexit__(self, *error):
        self.connection.abort(CloseReason.FAILED)
        await self.until(self.is_over, "over")
        self.client.close()

    def is_over(self):
        return self.receiver.told and isinstance(self.receiver.told[-1], CloseReason)

    async def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not {what}: {self.receiver.told}"
            await asyncio.sleep(0.005)

    async def heard(self, length):
        """The next ``length`` bytes, or all until the end."""

        def read():
            data = b""
            while len(data) < length and (chunk := self.client.recv(65_536)):
                data += chunk
            return data

        return await asyncio.to_thread(read)

    async def over(self):
        self.connection.close(CloseReason.HUNG_UP, timeout_s=FOR_EVER_S)
        await self.until(lambda: self.receiver.told[-1:] == [CloseReason.HUNG_UP], "closed")


@pytest.fixture
def line(tmp_path):
    pem = tmp_path / "both.pem"
    CA.issue_cert("gateway.example").private_key_and_cert_chain_pem.write_to_path(pem)
    return Line(pem)


def on_uvloop(test):
    """Run a test of an open line."""

    async def run(line, more):
        async with line:
            await test(line, **more)

    return functools.wraps(test)(lambda line, **more: uvloop.run(run(line, more)))


@on_uvloop
async def test_who_reads_and_says_nothing_does_not_stall(line):
    """Promise 5: only who does not read is cut off."""
    line.connection.send(b"hello\n")
    assert await line.heard(6) == b"hello\n"
    assert line.connection.stalled_since is None
    assert line.connection.sendq_bytes == 0


@on_uvloop
async def test_who_reads_late_stalls_until_it_has_read(line):
    """DESIGN 4, JSON front: ``after`` replays what followed, paged as the SendQ drains."""
    for _ in range(3):
        line.connection.send(LINES * 12)
        await asyncio.sleep(0)
        line.connection.send(LINES)  # uvloop took the first one, whatever it is
        assert line.connection.stalled_since is not None
        assert line.connection.sendq_bytes >= len(LINES)
        assert await line.heard(len(LINES) * 13) == LINES * 13
        await line.until(lambda: line.connection.stalled_since is None, "flushed")


def notify(client):
    client.settimeout(0.2)
    with contextlib.suppress(OSError, ValueError):
        client.unwrap()


def close_notify(client):
    notify(client)
    client.close()


def fin(client):
    """As ncat and socat end: without a close_notify."""
    client.shutdown(socket.SHUT_WR)
    client.close()


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


ENDS = pytest.mark.parametrize("end", [close_notify, fin, reset])


@ENDS
@pytest.mark.parametrize("held", ["not held", "held at once", "held after a while"])
@on_uvloop
async def test_what_came_before_the_end_counts(line, end, held):
    """DESIGN 4: what a client said before it closed is said."""
    sent = LINES[:100_000]
    if held == "held at once":
        line.connection.hold(Hold.BUSY)
    elif held == "held after a while":
        line.receiver.hold_after = 20_000
    for at in range(0, len(sent), 10_000):  # records that fill no buffer evenly
        await asyncio.to_thread(line.client.sendall, sent[at : at + 10_000])
    if end is reset:  # else the kernel may drop what it has
        await asyncio.sleep(0.05)
    await asyncio.to_thread(end, line.client)
    for _ in range(10):
        await asyncio.sleep(0.01)  # held, it goes on knowing nothing
        if held != "not held":
            assert line.receiver.told == []
            assert len(line.receiver.bytes) <= 20_000 + READ_BYTES
    line.receiver.hold_after = float("inf")
    line.connection.release(Hold.BUSY | Hold.RATE)
    await line.until(lambda: line.receiver.told, "hung up")
    assert line.receiver.bytes == sent
    assert line.receiver.longest <= READ_BYTES
    assert line.receiver.told == ["hung up"]
    line.connection.send(b"too late")
    await line.over()
    assert line.receiver.told == ["hung up", CloseReason.HUNG_UP]


@ENDS
@on_uvloop
async def test_an_end_is_told_also_while_it_is_held(line, end):
    """If nothing is kept: whoever waits for an answer need not wait for one who went."""
    await asyncio.to_thread(line.client.sendall, b"alice\n")
    await line.until(lambda: line.receiver.bytes == b"alice\n", "heard")
    await asyncio.to_thread(end, line.client)
    await line.until(lambda: line.receiver.told == ["hung up"], "hung up")
    line.connection.hold(Hold.BUSY)
    line.connection.release(Hold.BUSY)
    await asyncio.sleep(0)
    await line.over()
    assert line.receiver.told == ["hung up", CloseReason.HUNG_UP]


@on_uvloop
async def test_who_ends_and_does_not_read_has_ended_all_the_same(line):
    """What is queued for it must not keep its session here."""
    line.connection.send(LINES * 12)
    await asyncio.to_thread(notify, line.client)
    await line.until(lambda: line.receiver.told, "told")
    line.connection.close(CloseReason.HUNG_UP, timeout_s=0.1)
    await line.until(lambda: len(line.receiver.told) == 2, "over")
    assert line.receiver.told == ["hung up", CloseReason.UNFLUSHED]


@on_uvloop
async def test_an_aborted_one_that_was_lost_is_over(line):
    line.client.close()
    await line.until(lambda: line.receiver.told == ["hung up"], "hung up")
    line.connection.abort(CloseReason.NAME_TIMEOUT)
    line.connection.abort(CloseReason.FAILED)
    await line.until(lambda: len(line.receiver.told) == 2, "over")
    assert line.receiver.told[1] is CloseReason.NAME_TIMEOUT


@on_uvloop
async def test_what_is_kept_of_one_that_is_held_is_bounded(line):
    """Promise 7: the rest stays with the client."""
    line.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    line.receiver.hold_after = 1
    line.client.settimeout(0.3)

    def send():
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += line.client.send(LINES[:10_000])
        return sent

    sent = await asyncio.to_thread(send)
    assert len(line.receiver.bytes) <= READ_BYTES
    assert len(line.connection._kept) <= 524_288
    assert sent < 8_000_000
    line.receiver.hold_after = float("inf")
    line.connection.release(Hold.RATE)
    # Not one byte of what was taken is lost.  (The last record may be there in part.)
    await line.until(lambda: len(line.receiver.bytes) >= sent, "heard")


@on_uvloop
async def test_a_close_flushes_to_one_that_reads_late(line):
    """DESIGN 2: close (flushes)."""
    line.connection.send(LINES * 12)
    line.connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    await asyncio.sleep(0.1)
    assert await line.heard(len(LINES) * 12 + 1) == LINES * 12
    await asyncio.to_thread(close_notify, line.client)
    await line.until(lambda: line.receiver.told == [CloseReason.DRAINED], "over")


@on_uvloop
async def test_a_close_has_an_end_with_one_that_does_not_read(line):
    line.connection.send(LINES * 12)
    line.connection.close(CloseReason.DRAINED, timeout_s=0.1)
    await line.until(lambda: line.receiver.told == [CloseReason.UNFLUSHED], "over")


@on_uvloop
async def test_one_that_has_all_and_does_not_answer_was_flushed(line):
    """It owes a close_notify, no more, and is not waited for."""
    line.connection.send(b"bye\n")
    line.connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    await line.until(lambda: line.receiver.told == [CloseReason.DRAINED], "over")
