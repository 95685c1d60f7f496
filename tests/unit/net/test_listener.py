"""What comes before a client's first word: admission, PROXY headers, TLS, and their deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time

import pytest
import trustme

from gateway.chat.reasons import CloseReason, Refusal
from gateway.config import Config, SettingsError
from gateway.net.address import address_of
from gateway.net.connection import Hold
from gateway.net.listener import Listener, bind
from gateway.net.tls import Certificate

PATIENCE_S = 10.0
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080\r\n"
CA = trustme.CA()


class Guest:
    """Whoever owns a connection here: greets it, and keeps what it says."""

    def __init__(self, connection):
        self.connection = connection
        self.said = b""
        self.hung = False
        self.reason = None
        connection.receiver = self
        connection.send(b"hello\n")

    def received(self, data):
        self.said += data

    def hung_up(self):
        self.hung = True
        self.connection.close(CloseReason.HUNG_UP, timeout_s=1)

    def closed(self, reason):
        self.reason = reason


class Door:
    """A listener on a free port, and who came in."""

    def __init__(self, certificate=None, **settings):
        self.guests = []
        self.then = lambda: None
        """Called when one has come."""
        self.listener = Listener(Config(**settings), self._greet, certificate)
        bound = bind("127.0.0.1", 0)
        self.port = bound.getsockname()[1]
        self.listener.start(bound)

    def _greet(self, connection):
        self.guests.append(Guest(connection))
        self.then()

    def refused(self):
        return {reason: n for reason, n in self.listener.refused.items() if n}

    async def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not {what}: {self.refused()}"
            await asyncio.sleep(0.005)

    async def until_refused(self, reason):
        await self.until(lambda: self.refused(), "refused")
        assert self.refused() == {reason: 1}
        assert self.guests == []
        await self.until(lambda: self.listener.connections == 0, "uncounted")


@pytest.fixture
async def door():
    """Opens doors with a test's settings; nothing is left of them."""
    doors, clients = [], contextlib.ExitStack()

    def opened(**settings):
        doors.append(Door(**settings))
        return doors[-1]

    opened.client = lambda door: clients.enter_context(
        socket.create_connection(("127.0.0.1", door.port), PATIENCE_S)
    )
    yield opened
    clients.close()
    for each in doors:
        await each.listener.stop()
        for guest in each.guests:
            guest.connection.abort(CloseReason.DRAINED)
        await each.until(lambda each=each: each.listener.connections == 0, "all gone")


async def heard(client, count=6):
    return await asyncio.to_thread(client.recv, count)


def logged(caplog):
    """The gateway's own records: asyncio complains of a busy machine."""
    return [record for record in caplog.records if record.name.startswith("gateway.")]


async def test_without_the_flag_no_header_is_guessed(door):
    here = door()
    client = door.client(here)
    client.sendall(HEADER + b"alice\n")
    assert await heard(client) == b"hello\n"
    (guest,) = here.guests
    await here.until(lambda: guest.said == HEADER + b"alice\n", "heard")
    assert guest.connection.peer == address_of(client)


@pytest.mark.parametrize("accepted_by", ["it", "another process"])
async def test_each_socket_sends_at_once_and_finds_out_that_its_peer_is_gone(door, accepted_by):
    """DESIGN 3: a TCP connection that looks open proves nothing."""
    here = door()
    if accepted_by == "it":
        door.client(here)
    else:
        listening = bind("127.0.0.1", 0)
        listening.listen()
        with listening, socket.create_connection(listening.getsockname()) as client:
            here.listener.take(listening.accept()[0])
            await heard(client)
    await here.until(lambda: here.guests, "opened")
    sock = here.guests[0].connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_a_crowd_that_goes_at_once_is_seen_out_by_and_by(door):
    """Promise 5: each end is work; whoever stays is heard in between."""
    here, loop = door(), asyncio.get_running_loop()
    gone, turns = [], []
    for number in range(1000):
        here.listener.soon(lambda number=number: gone.append(number))
    while len(gone) < 1000:
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
        turns.append(len(gone))
    assert gone == list(range(1000))
    assert len(turns) > 5


async def test_an_end_that_fails_keeps_no_other_from_being_seen(door):
    here, gone = door(), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    here.listener.soon(lambda: 1 // 0)
    here.listener.soon(lambda: gone.append("second"))
    await here.until(lambda: gone, "seen out")


async def test_who_hangs_up_is_seen_out_through_the_door(door, monkeypatch):
    """Connection: the order of its end is kept, however many end at once."""
    here = door()
    client = door.client(here)
    assert await heard(client) == b"hello\n"
    (guest,) = here.guests
    kept = []
    monkeypatch.setattr(here.listener, "soon", kept.append)
    client.close()
    await here.until(lambda: kept, "told")
    assert (guest.hung, guest.reason) == (False, None)
    monkeypatch.undo()
    for end in kept:
        end()
    await here.until(lambda: guest.reason, "closed")
    assert guest.hung


async def test_a_trusted_proxy_says_who_it_speaks_for(door):
    here = door(proxy_protocol=True)
    client = door.client(here)
    client.sendall(HEADER + b"alice\n")
    assert await heard(client) == b"hello\n"
    (guest,) = here.guests
    await here.until(lambda: guest.said == b"alice\n", "heard")
    assert guest.connection.peer == "192.0.2.7:5123"


async def test_a_header_may_come_in_pieces(door):
    here = door(proxy_protocol=True)
    client = door.client(here)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in HEADER:
        client.sendall(bytes((byte,)))
        await asyncio.sleep(0)
    assert await heard(client) == b"hello\n"
    assert here.guests[0].connection.peer == "192.0.2.7:5123"


async def test_a_proxy_that_speaks_for_itself_keeps_its_address(door):
    here = door(proxy_protocol=True)
    client = door.client(here)
    client.sendall(b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
    assert await heard(client) == b"hello\n"
    assert here.guests[0].connection.peer == address_of(client)


async def test_whoever_is_no_trusted_proxy_is_refused(door, caplog):
    here = door(proxy_protocol=True, trusted_proxies="10.0.0.0/8,::1")
    client = door.client(here)
    client.sendall(HEADER)
    await here.until_refused(Refusal.UNTRUSTED)
    assert await closed(client)
    assert "127.0.0.1" in str([record.fields for record in logged(caplog)])


async def closed(client):
    """Whether the other side closed, with whatever in between."""
    await heard_to_the_end(client)
    return True


async def heard_to_the_end(client):
    """All that the other side said until it closed."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while more := await asyncio.to_thread(client.recv, 4096):
            said += more
    return said


async def test_a_client_without_a_header_is_refused(door):
    here = door(proxy_protocol=True)
    client = door.client(here)
    client.sendall(b"alice\n")
    await here.until_refused(Refusal.PROXY_HEADER)
    assert await closed(client)


async def test_a_header_that_does_not_come_is_not_waited_for(door):
    here = door(proxy_protocol=True, proxy_timeout_s=0.05)
    client = door.client(here)
    client.sendall(HEADER[:20])
    await here.until_refused(Refusal.PROXY_TIMEOUT)
    assert await closed(client)


async def test_a_health_check_that_only_connects_is_no_complaint(door, caplog):
    here = door(proxy_protocol=True)
    door.client(here).close()
    await here.until_refused(Refusal.GONE)
    assert logged(caplog) == []


async def test_refusals_are_counted_each_and_logged_once_in_a_while(door, caplog):
    here = door(proxy_protocol=True)
    for _ in range(5):
        door.client(here).sendall(b"no header\n")
    await here.until(lambda: here.listener.refused[Refusal.PROXY_HEADER] == 5, "refused")
    assert len(logged(caplog)) == 1


async def test_more_than_allowed_are_told_so(door, caplog):
    here = door(max_connections=1, proxy_protocol=True)
    first, second = door.client(here), door.client(here)
    first.sendall(HEADER)
    second.sendall(HEADER)
    assert await heard(first) == b"hello\n"
    assert here.listener.full
    await here.until(lambda: here.refused() == {Refusal.FULL: 1}, "refused")
    assert (await heard(second, 100)).startswith(b"* this gateway is full")
    (record,) = logged(caplog)
    assert record.fields["reason"] == "full"
    assert record.fields["peer"] == address_of(second)
    assert record.fields["error"] == "1 connections"


async def test_networks_that_are_none_are_a_bad_setting(door):
    with pytest.raises(SettingsError, match="--trusted-proxies"):
        door(trusted_proxies="everybody")


@pytest.fixture
def certificate(tmp_path):
    path = tmp_path / "both.pem"
    CA.issue_cert("gateway.example").private_key_and_cert_chain_pem.write_to_path(path)
    return Certificate(str(path), "")


def trusting(**more):
    context = ssl.create_default_context()
    CA.configure_trust(context)
    for name, value in more.items():
        setattr(context, name, value)
    return context


async def handshake(client, context):
    return await asyncio.to_thread(context.wrap_socket, client, server_hostname="gateway.example")


@pytest.mark.parametrize("header", [b"", HEADER], ids=["straight", "behind a proxy"])
async def test_tls_carries_both_ways_after_a_header_if_any(door, certificate, header):
    here = door(certificate=certificate, proxy_protocol=bool(header))
    client = door.client(here)
    client.sendall(header)
    with await handshake(client, trusting()) as secure:
        assert await heard(secure) == b"hello\n"
        secure.sendall(b"alice\n")
        (guest,) = here.guests
        await here.until(lambda: guest.said == b"alice\n", "heard")
        assert guest.connection.peer.startswith("192.0.2.7:" if header else "127.0.0.1:")


async def test_what_a_tls_client_said_before_its_end_counts(door, certificate, caplog):
    """TLS knows no half-closed connections; nobody is to be warned of that."""
    here = door(certificate=certificate)
    with await handshake(door.client(here), trusting()) as secure:
        assert await heard(secure) == b"hello\n"
        (guest,) = here.guests
        guest.connection.hold(Hold.BUSY)
        secure.sendall(b"alice\n")
        ending = asyncio.create_task(asyncio.to_thread(secure.unwrap))
        await asyncio.sleep(0.05)
        assert guest.said == b""
        assert here.listener.connections == 1
        guest.connection.release(Hold.BUSY)
        (await ending).close()
    await here.until(lambda: guest.reason is not None, "closed")
    assert guest.said == b"alice\n"
    assert guest.hung
    assert guest.reason is CloseReason.HUNG_UP
    assert here.listener.connections == 0
    assert here.listener.ended_received_bytes == 6
    # asyncio's debug mode remarks on a busy machine.
    assert [text for text in caplog.messages if "took" not in text] == []


async def test_older_tls_is_refused(door, certificate):
    here = door(certificate=certificate)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old = trusting(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        await handshake(door.client(here), old)
    await here.until_refused(Refusal.TLS_HANDSHAKE)


WANTS_TLS = b"* this port speaks TLS, please come back with a client that does\n"


@pytest.mark.parametrize("header", [b"", HEADER], ids=["straight", "behind a proxy"])
@pytest.mark.parametrize("said", [b"alice\n", b"GET / HTTP/1.1\r\n\r\n", b""])
async def test_who_speaks_no_tls_is_told_to_and_refused(door, certificate, header, said, caplog):
    """Who says nothing waits for the prompt."""
    timeout_s = 10.0 if said else 0.05
    here = door(certificate=certificate, proxy_protocol=bool(header), tls_timeout_s=timeout_s)
    client = door.client(here)
    client.sendall(header + said)
    assert await heard(client, 100) == WANTS_TLS
    assert await heard(client) == b""
    await here.until_refused(Refusal.TLS_HANDSHAKE)
    assert "no TLS came" in str([record.fields for record in logged(caplog)])


@pytest.mark.parametrize("said", [b'{"name":"bot"}\n', b"\x16" * 100])
async def test_a_program_that_speaks_no_tls_and_bad_tls_are_told_nothing(door, certificate, said):
    """``gateway.client`` would take a line for the greeting of a chat that it may come back to."""
    here = door(certificate=certificate)
    client = door.client(here)
    client.sendall(said)
    assert not (await heard_to_the_end(client)).startswith(b"* ")
    await here.until_refused(Refusal.TLS_HANDSHAKE)


async def test_a_handshake_that_is_not_finished_is_not_waited_for(door, certificate):
    here = door(certificate=certificate, tls_timeout_s=0.05)
    client = door.client(here)
    client.sendall(b"\x16")
    await here.until_refused(Refusal.TLS_HANDSHAKE)
    assert await closed(client)


async def test_who_is_gone_before_the_handshake_is_told_nothing(door, certificate):
    here = door(certificate=certificate)
    client = door.client(here)
    client.shutdown(socket.SHUT_WR)
    await here.until_refused(Refusal.TLS_HANDSHAKE)
    assert await heard_to_the_end(client) == b""


async def test_who_is_not_in_yet_when_the_door_closes_stays_out(door, certificate):
    here = door(certificate=certificate)
    client = door.client(here)
    await here.until(lambda: here.listener.connections == 1, "accepted")
    await here.listener.stop()
    await here.until_refused(Refusal.DRAINED)
    assert await closed(client)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_who_comes_in_as_the_door_closes_is_in(door, certificate, secure):
    """Promise 4: it is a guest to be told of the drain, and not one whose connection is gone.

    The loop's own coroutine, cancelled then, closes the transport and tells nobody.
    """
    here, stopping = door(certificate=certificate if secure else None), []
    here.then = lambda: stopping.append(asyncio.create_task(here.listener.stop()))
    client = door.client(here)
    with await handshake(client, trusting()) if secure else client as client:
        assert await heard(client) == b"hello\n"
        await stopping[0]
        (guest,) = here.guests
        guest.connection.send(b"again\n")
        assert await heard(client) == b"again\n"
        assert (guest.reason, here.refused()) == (None, {})


async def test_bytes_are_counted_when_a_connection_is_over_too(door):
    here = door()
    client = door.client(here)
    client.sendall(b"alice\n")
    assert await heard(client) == b"hello\n"
    (guest,) = here.guests
    await here.until(lambda: guest.said == b"alice\n", "heard")
    assert (guest.connection.received_bytes, guest.connection.sent_bytes) == (6, 6)
    client.close()
    await here.until(lambda: guest.reason is not None, "closed")
    assert (here.listener.ended_received_bytes, here.listener.ended_sent_bytes) == (6, 6)
    assert here.listener.accepted == 1
