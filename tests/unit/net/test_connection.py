"""One socket: what is sent, held, flushed and dropped.  Over real sockets where it matters."""

import asyncio
import socket
import struct
import sys

import pytest

from gateway.chat.reasons import CloseReason
from gateway.net.connection import Connection, Hold

SENDQ_BYTES = 1000
FOR_EVER_S = 3600.0


class Transport(asyncio.Transport):
    """One whose peer takes nothing.  Notes what is asked of it."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.did = []
        self.closing = False

    def set_write_buffer_limits(self, high=None, low=None):
        assert high == 0

    def write(self, data):
        self.written.append(data)

    def get_write_buffer_size(self):
        return sum(map(len, self.written))

    def pause_reading(self):
        self.did.append("pause")

    def resume_reading(self):
        self.did.append("resume")

    def is_closing(self):
        return self.closing

    def write_eof(self):
        self.did.append("eof")

    def close(self):
        self.closing = True
        self.did.append("close")

    def abort(self):
        self.closing = True
        self.did.append("abort")


class Receiver:
    """Notes what a connection tells; ``over`` is its reason."""

    def __init__(self):
        self.bytes = b""
        self.told = []
        self.over = asyncio.get_running_loop().create_future()
        self.came = asyncio.Event()

    def received(self, data):
        assert not self.over.done()
        self.bytes += data
        self.came.set()

    def hung_up(self):
        self.told.append("hung up")
        self.came.set()

    def closed(self, reason):
        self.over.set_result(reason)


@pytest.fixture
async def connection():
    connection = Connection(sendq_bytes=SENDQ_BYTES)
    connection.receiver = Receiver()
    return connection


@pytest.fixture
async def transport(connection):
    transport = Transport()
    connection.connection_made(transport)
    return transport


@pytest.fixture
async def peer(connection):
    """The other end of a real socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)
    with theirs:
        yield theirs
    connection.abort(CloseReason.HUNG_UP)
    await connection.receiver.over


async def read_all(peer):
    """What comes until the end."""
    data = b""
    while chunk := await asyncio.get_running_loop().sock_recv(peer, 65536):
        data += chunk
    return data


# In


async def test_what_comes_is_handed_on(connection, peer):
    """DESIGN 2: a connection: bytes in, bytes out."""
    await asyncio.get_running_loop().sock_sendall(peer, b"hello\n")
    await connection.receiver.came.wait()
    assert connection.receiver.bytes == b"hello\n"


async def test_who_sends_nothing_more_may_still_read(connection, peer):
    """DESIGN 4: the last unended line of a closing client counts; its answer reaches it."""
    peer.shutdown(socket.SHUT_WR)
    await connection.receiver.came.wait()
    assert connection.receiver.told == ["hung up"]
    connection.send(b"bye")
    connection.close(CloseReason.HUNG_UP, timeout_s=FOR_EVER_S)
    assert await read_all(peer) == b"bye"


@pytest.mark.skipif(sys.platform != "linux", reason="by Linux's TCP_INFO")
@pytest.mark.parametrize("resets", [False, True])
async def test_the_end_of_a_peer_is_known_before_it_is_read(connection, resets):
    """names: a gateway that was stopped may wake to a line of one who is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)
    connection.hold(Hold.BUSY)
    peer.sendall(b"not read\n")
    assert not connection.hung_up
    if resets:
        connection.send(b"nor is this")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert connection.hung_up
    assert connection.receiver.told == []
    connection.abort(CloseReason.HUNG_UP)
    await connection.receiver.over
    assert connection.hung_up


async def test_a_peer_that_is_gone_is_told_once(connection, peer):
    """Receiver.closed: called once, last."""
    peer.close()
    await connection.receiver.came.wait()
    connection.abort(CloseReason.HUNG_UP)
    assert await connection.receiver.over is CloseReason.HUNG_UP
    connection.send(b"late")
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.abort(CloseReason.FAILED)
    assert connection.reason is CloseReason.HUNG_UP


async def test_a_loss_without_a_word_is_a_hang_up(connection, transport):
    """CloseReason.HUNG_UP: the client closed its side, or its connection broke."""
    connection.connection_lost(ConnectionResetError())
    assert await connection.receiver.over is CloseReason.HUNG_UP


# Holds


async def test_a_socket_is_read_when_there_is_no_reason_left_not_to(connection, transport):
    """DESIGN 3: a client that sends faster than its rate is not read."""
    connection.hold(Hold.RATE)
    connection.hold(Hold.OUTBOX)
    connection.hold(Hold.RATE)
    assert transport.did == ["pause"]
    assert connection.held(Hold.RATE)
    connection.release(Hold.RATE)
    assert transport.did == ["pause"]
    assert not connection.held(Hold.RATE)
    assert connection.held(Hold.OUTBOX | Hold.BUSY)
    connection.release(Hold.OUTBOX | Hold.BUSY)
    connection.release(Hold.OUTBOX)
    assert transport.did == ["pause", "resume"]


async def test_what_came_while_it_was_held_comes_when_it_is_released(connection, peer):
    """DESIGN 3: backpressure, not loss, on the way in."""
    connection.hold(Hold.BUSY)
    await asyncio.get_running_loop().sock_sendall(peer, b"hello\n")
    assert connection.receiver.bytes == b""
    connection.release(Hold.BUSY)
    await connection.receiver.came.wait()
    assert connection.receiver.bytes == b"hello\n"


async def test_a_socket_that_is_closing_is_neither_held_nor_released(connection, transport):
    """What still comes is read, and thrown away."""
    connection.hold(Hold.BUSY)
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.release(Hold.BUSY)
    connection.hold(Hold.RATE)
    assert transport.did == ["pause", "resume", "eof"]
    connection.connection_lost(None)


async def test_a_transport_that_is_lost_is_neither_held_nor_released(connection, transport):
    """asyncio: reading can't be paused any more; uvloop raises."""
    transport.closing = True
    connection.hold(Hold.BUSY)
    connection.release(Hold.BUSY)
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    assert transport.did == ["close"]
    connection.connection_lost(None)


# Out


async def test_a_send_is_one_write(connection, transport):
    """DESIGN 3: each member gets one transport.write."""
    connection.send(b"one two ")
    assert transport.written == [b"one two "]


async def test_a_sendq_up_to_its_cap_is_kept(connection, transport):
    """DESIGN 3: a bounded SendQ on the way out."""
    connection.send(b"x" * SENDQ_BYTES)
    assert (transport.did, connection.reason) == ([], None)


async def test_a_sendq_over_its_cap_ends_the_connection_with_a_reason(connection, transport):
    """DESIGN 3: over the cap the connection is aborted with a reason that is counted."""
    connection.send(b"x" * SENDQ_BYTES)
    connection.send(b"x")
    assert transport.did == ["abort"]
    connection.send(b"more")
    assert len(transport.written) == 2
    connection.connection_lost(None)
    assert await connection.receiver.over is CloseReason.SENDQ_FULL


async def test_a_peer_that_does_not_read_is_ended(connection, peer):
    """Promise 5: a slow client costs the others nothing."""
    for _ in range(1000):
        connection.send(b"x" * 1000)
    assert await connection.receiver.over is CloseReason.SENDQ_FULL


async def test_when_the_kernel_took_nothing_more_is_known(connection, transport):
    """DESIGN 3: without progress for too long; the time of the first stall stands."""
    assert connection.stalled_since is None
    connection.pause_writing()
    since = connection.stalled_since
    assert since is not None
    connection.pause_writing()
    assert connection.stalled_since == since
    connection.resume_writing()
    assert connection.stalled_since is None


# Ends


async def test_closing_sends_what_is_queued_first(connection, peer):
    """DESIGN 2: close (flushes)."""
    connection.send(b"x" * 200)
    connection.send(b"bye\n")
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.send(b"late")
    assert await read_all(peer) == b"x" * 200 + b"bye\n"
    assert await connection.receiver.over is CloseReason.QUIT


async def test_aborting_drops_what_is_queued(connection, transport):
    """DESIGN 2: abort (does not)."""
    connection.send(b"bye")
    connection.abort(CloseReason.SENDQ_STALLED)
    assert transport.did == ["abort"]
    connection.connection_lost(None)
    assert await connection.receiver.over is CloseReason.SENDQ_STALLED


async def test_closing_twice_is_closing_once_and_the_first_reason_stands(connection, transport):
    """STYLE: close() and abort() are both idempotent."""
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    assert transport.did == ["eof"]
    connection.abort(CloseReason.FAILED)
    assert transport.did == ["eof", "abort"]
    connection.connection_lost(None)
    assert await connection.receiver.over is CloseReason.QUIT


async def test_closing_a_peer_that_does_not_read_ends_in_time(connection, peer):
    """Connection.close: what the peer has not taken then is dropped, and counted as such."""
    connection.send(b"x" * SENDQ_BYTES)
    while not connection.sendq_bytes:
        connection.send(b"x" * 100)
    connection.close(CloseReason.DRAINED, timeout_s=0.01)
    assert await connection.receiver.over is CloseReason.UNFLUSHED


async def test_of_two_closes_the_earlier_deadline_stands(connection, peer):
    """Connection: both can be called twice."""
    while not connection.sendq_bytes:
        connection.send(b"x" * 100)
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.close(CloseReason.DRAINED, timeout_s=0.01)
    connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    assert await connection.receiver.over is CloseReason.UNFLUSHED


async def test_closing_a_peer_that_has_all_and_says_nothing_takes_a_moment(connection, peer):
    """Connection.close: not until the peer closes, too."""
    begun_at = asyncio.get_running_loop().time()
    connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    assert await connection.receiver.over is CloseReason.DRAINED
    assert asyncio.get_running_loop().time() - begun_at < 1


@pytest.fixture
async def far_peer(connection):
    """The other end of a real TCP connection, with little room for what it does not read."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listening.getsockname())
        theirs.setblocking(False)
        ours = listening.accept()[0]
        ours.setblocking(False)
        await loop.connect_accepted_socket(lambda: connection, ours)
        yield theirs
    connection.abort(CloseReason.HUNG_UP)
    await connection.receiver.over


async def test_who_talks_while_it_is_closed_still_hears_all(connection, far_peer):
    """RFC 2525, 2.17: closed with input unread, the kernel drops what was not taken yet."""
    loop = asyncio.get_running_loop()
    connection.hold(Hold.RATE)
    await loop.sock_sendall(far_peer, b"x" * 10_000)
    sent = b"".join(b"%d\n" % number for number in range(20_000))
    for at in range(0, len(sent), 1000):
        connection.send(sent[at : at + 1000])
        assert connection.reason is None
    connection.close(CloseReason.DRAINED, timeout_s=FOR_EVER_S)
    await loop.sock_sendall(far_peer, b"y" * 10_000)
    assert await read_all(far_peer) == sent
    assert await connection.receiver.over is CloseReason.DRAINED
    assert connection.receiver.bytes == b""


async def test_what_comes_after_the_end_is_not_handed_on(connection, transport):
    """STYLE: parse at the edge; a session that ended hears nothing."""
    connection.close(CloseReason.QUIT, timeout_s=FOR_EVER_S)
    connection.get_buffer(-1)[:2] = b"hi"
    connection.buffer_updated(2)
    connection.eof_received()
    assert (connection.receiver.bytes, connection.receiver.told) == (b"", [])
    connection.connection_lost(None)


# What it costs


async def test_connections_have_no_tasks(peer):
    """DESIGN 3: no task, queue or lock per client."""
    before = asyncio.all_tasks()
    ends = []
    for _ in range(50):
        one = Connection(sendq_bytes=SENDQ_BYTES)
        one.receiver = Receiver()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda one=one: one, ours)
        await asyncio.get_running_loop().sock_sendall(theirs, b"hello\n")
        await one.receiver.came.wait()
        one.send(b"hi")
        ends.append((one, theirs))
    assert asyncio.all_tasks() == before
    assert not hasattr(ends[0][0], "__dict__")
    for one, theirs in ends:
        one.abort(CloseReason.QUIT)
        await one.receiver.over
        theirs.close()
