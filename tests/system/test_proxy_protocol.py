"""Behind a load balancer: the log knows the real address, and nobody comes past it."""

from __future__ import annotations

import socket
import struct
from typing import Self

import pytest
from operators import Operator
from people import PROMPT, Person
from processes import GatewayProcess, eventually

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x13"
    + socket.inet_aton("192.0.2.8")
    + socket.inet_aton("198.51.100.1")
    + struct.pack("!HH", 5124, 8080)
    + b"\x04\x00\x04\x00\x00\x00\x00"  # a TLV
)
FLAGS = ("--proxy-protocol", "--admin-port", "0")


def behind(header: bytes) -> type[Person]:
    """Somebody whose balancer sends ``header``."""

    class Proxied(Person):
        @classmethod
        async def dial(cls, port: int, name: str = "", *, end: str = "\n") -> Self:
            person = await super().dial(port, name, end=end)
            person.send(header)
            return person

    return Proxied


def peers(gateway: GatewayProcess) -> list[str]:
    return [str(entry["peer"]) for entry in gateway.logged("closed")]


@pytest.mark.parametrize(
    ("header", "peer"), [(V1, "192.0.2.7:5123"), (V2, "192.0.2.8:5124")], ids=["v1", "v2"]
)
async def test_the_address_behind_the_balancer_is_in_the_log(start_cluster, header, peer):
    cluster = await start_cluster(1, *FLAGS)
    alice = await cluster.newcomer(behind(header))
    bob = await cluster.newcomer(behind(header))
    await cluster.welcome(alice, "alice")
    await cluster.welcome(bob, "bob")
    await alice.say("hi")
    await bob.expect("alice: hi")
    await alice.leave()
    gateway = cluster.gateways[0]
    await eventually(lambda: peers(gateway) == [peer], 5, "the peer in the log", lambda: peers)


async def test_header_and_first_words_may_come_together(start_cluster):
    cluster = await start_cluster(1, *FLAGS)
    alice = await Person.dial(cluster.gateways[0].port, "alice")
    alice.send(V2 + b"alice\n")
    await alice.expect(PROMPT)
    await alice.welcomed()


async def test_without_the_flag_a_header_is_what_a_person_typed(start_cluster):
    """Never guessed: else everybody could claim any address."""
    cluster = await start_cluster(1)
    liar = await Person.dial(cluster.gateways[0].port)
    liar.send(V1)
    await liar.expect(PROMPT)
    await liar.expect_told()
    liar.abort()
    gateway = cluster.gateways[0]
    await eventually(lambda: peers(gateway), 5, "the peer in the log")
    assert peers(gateway)[0].startswith("127.0.0.1:")


async def test_whoever_comes_past_the_balancer_is_refused_and_counted(start_cluster):
    cluster = await start_cluster(1, *FLAGS, "--trusted-proxies", "10.0.0.0/8")
    intruder = await Person.dial(cluster.gateways[0].port)
    intruder.send(V1)
    assert await intruder.ended() == []
    operator = Operator(cluster.gateways[0])
    await operator.until("gateway_connections_refused_total{untrusted}", 1)
    assert (await operator.metrics())["gateway_connections_accepted_total"] == 0
    (entry,) = cluster.gateways[0].logged("refused")
    assert entry["reason"] == "untrusted"


async def test_a_trusted_peer_without_a_header_is_refused(start_cluster):
    cluster = await start_cluster(1, *FLAGS)
    alice = await Person.dial(cluster.gateways[0].port)
    await alice.say("alice, and some more words")
    assert await alice.ended() == []
    await Operator(cluster.gateways[0]).until("gateway_connections_refused_total{proxy_header}", 1)


async def test_networks_that_are_none_are_bad_usage(start_cluster):
    gateway = GatewayProcess().launch("redis://127.0.0.1:1", *FLAGS, "--trusted-proxies", "here")
    assert await gateway.ended() == 2
    assert "--trusted-proxies" in gateway.output.splitlines()[-1]
