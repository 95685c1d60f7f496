"""Handing connections to gateways: real descriptors over real socket pairs, in one process."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest

from gateway.net import handoff
from gateway.net.handoff import Adopter, Dealer, Handoff, listen

PATIENCE_S = 5.0


async def until(condition, what):
    """Let the loop run until ``condition()``; the unit's own callbacks make it true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not {what}"
        await asyncio.sleep(0)


class Front:
    """A dealer on a free port, its gateways, and the clients that come."""

    def __init__(self):
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.dealer = Dealer(self.listener)
        self.opened = []

    def gateway(self):
        """A gateway that adopts, in ``adopted``, as it should."""
        ours, theirs = socket.socketpair()
        gateway = Gateway(theirs)
        gateway.handoff = self.dealer.add(ours, lambda: None)
        self.opened.append(gateway)
        return gateway

    def silent_gateway(self):
        """The bare end of a gateway that was ready and then stopped."""
        ours, theirs = socket.socketpair()
        self.dealer.add(ours, lambda: None)
        theirs.send(handoff.READY)
        self.opened.append(theirs)
        return theirs

    async def client(self):
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        self.opened.append(client)
        return client

    def close(self):
        self.dealer.close()
        for each in self.opened:
            each.close()


class Gateway:
    def __init__(self, channel):
        self.channel = channel
        self.adopted = []
        self.ends = 0
        self.adopter = Adopter(channel, self.adopt, on_end=self.end)

    def adopt(self, connection):
        self.adopted.append(connection)

    def end(self):
        self.ends += 1

    def start(self):
        self.adopter.start(asyncio.get_running_loop())
        return self

    async def adopts(self, count):
        await until(lambda: len(self.adopted) >= count, f"{count} adopted")

    def close(self):
        self.adopter.close()
        self.handoff.close()
        for each in self.adopted:
            each.close()


@pytest.fixture
async def front():
    front = Front()
    yield front
    front.close()


async def test_an_adopted_connection_is_the_client_s_own(front):
    """DESIGN 4, cluster: each accepted descriptor is handed over."""
    gateway = front.gateway().start()
    client = await front.client()
    await gateway.adopts(1)
    (connection,) = gateway.adopted
    assert connection.getpeername() == client.getsockname()
    assert not os.get_inheritable(connection.fileno())
    client.send(b"hi")
    assert connection.recv(10) == b"hi"
    # The parent keeps no copy: the gateway's close is the client's end.
    await until(lambda: gateway.handoff.free, "answered")
    connection.close()
    assert client.recv(10) == b""


async def test_connections_go_to_the_gateways_in_turn(front):
    """DESIGN 4, cluster: to the next live gateway in turn."""
    gateways = [front.gateway().start() for _ in range(3)]
    await until(lambda: all(gateway.handoff.free for gateway in gateways), "all ready")
    for turn in (1, 2, 3):
        for gateway in gateways:
            await front.client()
            await gateway.adopts(turn)
            await until(lambda: gateway.handoff.free, "answered")  # noqa: B023
    assert [len(gateway.adopted) for gateway in gateways] == [3, 3, 3]


async def test_a_burst_is_lost_nowhere_and_spread(front):
    gateways = [front.gateway().start() for _ in range(3)]
    for _ in range(300):
        await front.client()
    await until(lambda: sum(len(each.adopted) for each in gateways) == 300, "all adopted")
    assert min(len(each.adopted) for each in gateways) > 50


async def test_a_stopped_gateway_holds_up_one_client_only(front):
    """At most one descriptor is on its way to a gateway."""
    stopped = front.silent_gateway()
    alive = front.gateway().start()
    for _ in range(10):
        await front.client()
    await alive.adopts(9)
    byte, descriptors, _, _ = socket.recv_fds(stopped, 64, 64)
    for each in descriptors:
        os.close(each)
    assert (byte, len(descriptors)) == (handoff.HERE, 1)
    assert len(alive.adopted) == 9


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
async def test_the_client_of_a_gateway_that_dies_before_adopting_goes_to_another(front, read):
    dying = front.silent_gateway()
    client = await front.client()
    await until(lambda: front.dealer._turn[0]._underway, "on its way")
    alive = front.gateway().start()
    if read:
        _, descriptors, _, _ = socket.recv_fds(dying, 1, 1)
        os.close(descriptors[0])
    dying.close()
    await alive.adopts(1)
    assert alive.adopted[0].getpeername() == client.getsockname()


async def test_a_resting_gateway_gives_back_what_was_on_its_way(front, monkeypatch):
    """A connection that crosses a gateway's ``-`` is neither lost nor adopted."""
    monkeypatch.setattr(handoff, "REST_S", 0.05)
    resting = front.gateway()
    resting.channel.send(handoff.READY)
    await front.client()
    await until(lambda: resting.handoff._underway, "on its way")
    other = front.gateway().start()
    # It says - with the descriptor unread.
    resting.start().adopter._rest()
    await other.adopts(1)
    assert resting.adopted == []
    await until(lambda: resting.handoff.free, "ready again")


async def test_clients_wait_in_the_listener_s_queue_until_a_gateway_is_ready(front):
    late = front.gateway()
    clients = [await front.client() for _ in range(5)]
    late.start()
    await late.adopts(5)
    assert [each.getpeername() for each in late.adopted] == [c.getsockname() for c in clients]


async def test_a_gateway_without_descriptors_gives_back_and_rests(front, monkeypatch):
    """The kernel cuts off a descriptor that the receiver has no room for."""
    monkeypatch.setattr(handoff, "REST_S", 0.05)
    real, cut = socket.recv_fds, []

    def recv_fds(channel, size, count):
        byte, descriptors, flags, address = real(channel, size, count)
        if not cut and descriptors:
            cut.append(descriptors)
            os.close(descriptors.pop())
        return byte, descriptors, flags, address

    monkeypatch.setattr(socket, "recv_fds", recv_fds)
    gateway = front.gateway().start()
    await until(lambda: gateway.handoff.free, "ready")
    await front.client()
    await until(lambda: cut, "cut off")
    assert gateway.adopted == []
    await gateway.adopts(1)


async def test_the_end_of_the_sender_is_told_once(front):
    gateway = front.gateway().start()
    await until(lambda: gateway.handoff.ready, "ready")
    gateway.handoff.close()
    gateway.handoff.close()
    await until(lambda: gateway.ends, "told")
    gateway.adopter.close()
    assert gateway.ends == 1


async def test_what_waits_for_a_sender_that_does_not_read_stays_short():
    """DESIGN, promise 7: every queue has a cap."""
    ours, theirs = socket.socketpair()
    adopter = Adopter(theirs, lambda connection: None)
    adopter.start(asyncio.get_running_loop())
    for _ in range(10_000):
        adopter._rest()
        adopter._resting.cancel()
        adopter._rested()
    adopter._rest()
    assert 0 < len(adopter._unsent) <= 2
    ours.setblocking(False)
    last = b""
    async with asyncio.timeout(PATIENCE_S):
        while last != handoff.NOT_READY or adopter._unsent:
            last = (await asyncio.get_running_loop().sock_recv(ours, 65536))[-1:]
    adopter.close()
    ours.close()


async def test_offer_never_blocks_and_takes_nothing_it_cannot_hand_over():
    returned = []
    ours, theirs = socket.socketpair()
    sender = Handoff(ours, on_change=lambda: None, on_return=returned.append)
    first, second = socket.socketpair()
    assert not sender.offer(first)  # not ready yet
    theirs.send(handoff.READY)
    await until(lambda: sender.free, "ready")
    theirs.close()
    assert not sender.offer(first)  # dead, and not yet noticed
    await until(lambda: sender.ended, "noticed")
    assert returned == []
    first.close()
    second.close()


async def test_a_taken_port_is_an_error_of_listen(front):
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", front.port)


async def test_closing_the_dealer_closes_the_port_and_what_no_gateway_has(front):
    silent = front.silent_gateway()
    client = await front.client()
    await until(lambda: front.dealer._turn[0]._underway, "on its way")
    front.dealer.close()
    front.dealer.close()
    silent.close()
    await until(lambda: front.dealer._turn[0].ended, "noticed")
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        await front.client()
