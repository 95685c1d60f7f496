"""End to end once: what a program says stands in the log once, whatever becomes of gateways.

The programs are those of ``programs.py``; ``json_soak.py`` is the long form.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import struct
from collections.abc import AsyncIterator

import json_soak
import pytest
import pytest_asyncio
from checker import report
from cluster import Cluster
from json_soak import JsonStorm
from people import PROMPT
from processes import RealRedis, fault_lasts
from programs import FROM_BEYOND, Link, Program, findings
from proxy import FaultyProxy

SECONDS, SEED = 20, 1


@pytest_asyncio.fixture
async def storm(processes_end: None) -> AsyncIterator[JsonStorm]:
    storm = await JsonStorm.start(SEED)
    yield storm
    await storm.close()


async def test_programs_lose_and_double_nothing_while_gateways_are_killed_and_stopped(
    storm: JsonStorm,
):
    """DESIGN 4: a client that reconnects after its gateway died neither loses nor doubles a line.

    Nobody is said to have left or to have come back; refs that were acknowledged
    are repeated elsewhere; a gateway that was stopped for over 10 s neither
    speaks for those who went on elsewhere nor ends them.
    """
    await storm.run(json_soak.schedule(SECONDS, SEED))
    found = storm.findings()
    assert not found, report(found)
    assert not storm.cluster.blemishes()
    for what in ("returns", "repeats_answered", "left_behind"):
        assert any(getattr(program, what) for program in storm.programs), f"no {what}: too calm"


def test_a_schedule_can_be_replayed_and_has_a_stop_of_over_10_s():
    assert json_soak.schedule(20, seed=7) == json_soak.schedule(20, seed=7)
    assert json_soak.schedule(20, seed=7) != json_soak.schedule(20, seed=8)
    for seed in range(100):
        assert max(stop.fault_s for stop in json_soak.schedule(20, seed).stops) > 10


class Visitor(Link):
    """A connection that keeps what it is told."""

    def __init__(self, name: str = "", *, end: str = "\n") -> None:
        super().__init__(name, end=end)
        self.log: list[dict] = []
        self.told = lambda _link, line: self.log.append(line)

    @classmethod
    async def at(cls, cluster: Cluster, on: int, session: str, **more: object) -> Visitor:
        """alice, who says hello on a gateway; ``more`` is where she was before."""
        visitor = await cls.dial(cluster.gateways[on].port, "alice")
        cluster.people.append(visitor)
        await visitor.expect(PROMPT)
        visitor.tell(name="alice", session=session, **more)
        return visitor

    async def hears(self, kind: str) -> dict:
        """The latest line of that type."""
        await self.until(lambda: any(line["type"] == kind for line in self.log), 10, kind)
        found = [line for line in self.log if line["type"] == kind]
        return found[-1]

    def reset(self) -> None:
        """Be gone, and let the gateway's side know by a reset."""
        assert self._transport is not None
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


async def test_an_acknowledged_line_is_not_said_again_on_another_gateway(start_cluster):
    """DESIGN 4: a repeated ``say`` is not said twice and gets the same ``ack``."""
    cluster = await start_cluster(2)
    (bob,) = await cluster.join("bob", on=1)
    session = secrets.token_hex(16)
    here = await Visitor.at(cluster, 0, session)
    welcome = await here.hears("welcome")
    here.tell(type="say", text="once", ref="7")
    first = await here.hears("ack")
    there = await Visitor.at(cluster, 1, session, epoch=welcome["epoch"], after=first["offset"])
    there.tell(type="say", text="twice", ref="7")
    assert await there.hears("ack") == first
    there.tell(type="say", text="then", ref="8")
    await there.until(lambda: there.log[-1].get("ref") == "8", 10, "another ack")
    assert there.log[-1]["offset"] == first["offset"] + 1
    await bob.expect("alice joined the chat", "alice: once", "alice: then")
    await bob.expect_silence()


@pytest_asyncio.fixture
async def detoured(processes_end: None) -> AsyncIterator[tuple[Cluster, FaultyProxy]]:
    """Two gateways, of which the first reaches Redis by the proxy."""
    redis = await RealRedis(*RealRedis.DURABLE).start()
    proxy = await FaultyProxy(redis.port).start()
    cluster = Cluster(redis, ())
    await cluster.grow(2, detour=proxy.url)
    yield cluster, proxy
    await cluster.close()
    await proxy.close()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_gateway_that_was_tried_in_vain_does_not_take_the_session_later(
    detoured: tuple[Cluster, FaultyProxy], how: str
):
    """Promise 6: nobody living is said to have left, and a name ends with the session only.

    While a gateway can't reach its Redis somebody comes there, gives up, and
    goes on where it was.
    """
    cluster, proxy = detoured
    (bob,) = await cluster.join("bob", on=1)
    session = secrets.token_hex(16)
    alice = await Visitor.at(cluster, 1, session)
    welcome = await alice.hears("welcome")
    place = {"epoch": welcome["epoch"], "after": welcome["offset"]}

    proxy.blackhole()
    in_vain = await Visitor.at(cluster, 0, session, **place)
    await in_vain.hears("notice")  # to wait, please
    getattr(in_vain, how)()
    again = await Visitor.at(cluster, 1, session, **place)
    await again.hears("welcome")
    proxy.heal()
    carol = await cluster.newcomer(on=0)
    await carol.join("carol")  # waits for Redis, behind what alice asked for

    again.tell(type="say", text="still here", ref="1")
    await again.hears("ack")
    await bob.expect("alice joined the chat", "carol joined the chat", "alice: still here")
    await bob.expect_silence()
    impostor = await cluster.newcomer(on=1)
    await impostor.say("alice")
    await impostor.expect_told("taken")


async def test_a_session_that_comes_back_is_not_ended_by_its_own_past(
    detoured: tuple[Cluster, FaultyProxy],
):
    """DESIGN 4: the same session on another gateway takes the name and the membership over.

    It went on elsewhere, and returns while its first gateway still waits for
    the answer to what it did at that.
    """
    cluster, proxy = detoured
    (carol,) = await cluster.join("carol", on=0)
    session = secrets.token_hex(16)
    first = await Visitor.at(cluster, 0, session)
    welcome = await first.hears("welcome")
    place = {"epoch": welcome["epoch"], "after": welcome["offset"]}

    proxy.delay_answers(0.5)
    await carol.say("one call at a time: what comes meanwhile waits")
    await fault_lasts(0.25)
    elsewhere = await Visitor.at(cluster, 1, session, **place)
    await elsewhere.hears("welcome")
    async with asyncio.timeout(10):
        while not first.hung_up:
            await carol.say("and so on")
            await fault_lasts(0.1)
    back = await Visitor.at(cluster, 0, session, **place)
    await back.hears("welcome")
    proxy.heal()
    back.tell(type="say", text="still here", ref="1")
    await back.hears("ack")
    await carol.hear("alice: still here")
    assert "alice has left the chat" not in carol.lines


async def test_a_session_is_taken_over_before_its_old_gateway_is_told(
    detoured: tuple[Cluster, FaultyProxy],
):
    """DESIGN 4: taken over without leave or join, also by a gateway that is new to the room."""
    cluster, proxy = detoured
    (bob,) = await cluster.join("bob", on=1)
    session = secrets.token_hex(16)
    alice = await Visitor.at(cluster, 1, session)
    welcome = await alice.hears("welcome")
    proxy.delay_answers(0.3)  # subscribing and reading the log take their time
    elsewhere = await Visitor.at(
        cluster, 0, session, epoch=welcome["epoch"], after=welcome["offset"]
    )
    await elsewhere.hears("welcome")
    assert (await alice.hears("error"))["code"] == "replaced"
    await alice.ended()
    elsewhere.tell(type="say", text="from here now", ref="1")
    await elsewhere.hears("ack")
    await bob.expect("alice joined the chat", "alice: from here now")


# What a program notices: planted here, and found.


@pytest.fixture
def pair() -> tuple[Program, Program]:
    """Two programs that were welcomed at offset 10, without a gateway."""
    programs = Program("alice", list, random.Random(0)), Program("bob", list, random.Random(0))
    for program in programs:
        program.link.tell = lambda **_line: None
        told(program, "welcome", 10, name=program.name, room="lobby")
    return programs


def told(program: Program, kind: str, offset: int, **more: object) -> None:
    program._told(program.link, {"type": kind, "offset": offset, "epoch": "e", **more})


def test_a_program_that_is_told_the_truth_finds_nothing(pair):
    alice, bob = pair
    ref = alice.say("hi")
    told(alice, "ack", 11, ref=str(ref))
    told(alice, "ack", 11, ref=str(ref))
    told(bob, "message", 11, text="hi", **{"from": "alice"})
    assert not findings(pair)


PLANTED: dict[str, tuple[str, list[tuple[str, int, dict]]]] = {
    "lost": ("loss", []),
    "doubled": ("double", [("message", 11, {"text": "hi", "from": "alice"})] * 2),
    "said at two places": (
        "double",
        [
            (kind, at, {"text": "hi", "from": "alice"})
            for kind, at in (("message", 11), ("message", 12))
        ],
    ),
    "skipped": ("loss", [("message", 12, {"text": "hi", "from": "alice"})]),
    "changed": ("disagreement", [("message", 11, {"text": "ho", "from": "alice"})]),
    "made up": ("ghost", [("ack", 11, {"ref": "1"})]),
    "said to have left": ("ghost", [("left", 11, {"from": "alice"})]),
    "ended": ("ghost", [("error", 11, {"code": "replaced"})]),
}


@pytest.mark.parametrize(("kind", "lines"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(pair, kind: str, lines: list[tuple[str, int, dict]]):
    """One line of alice at offset 11; bob is told what is planted."""
    alice, bob = pair
    told(alice, "ack", 11, ref=str(alice.say("hi")))
    for planted, offset, more in lines:
        told(bob, planted, offset, **more)
    assert kind in {finding.kind for finding in findings(pair)}


def test_another_offset_for_a_ref_is_found(pair):
    alice, _ = pair
    ref = alice.say("hi")
    told(alice, "ack", 11, ref=str(ref))
    told(alice, "ack", 12, ref=str(ref))
    assert "double" in {finding.kind for finding in findings(pair)}


def test_a_line_that_was_never_acknowledged_is_found(pair):
    alice, _ = pair
    alice.say("hi")
    assert "loss" in {finding.kind for finding in findings(pair)}


@pytest.mark.parametrize("ref", [1, FROM_BEYOND])
def test_what_a_gateway_that_was_left_does_for_a_session_is_found(pair, ref: int):
    alice, bob = pair
    told(alice, "ack", 11, ref=str(alice.say("hi")))
    told(bob, "message", 11, text="hi", **{"from": "alice"})
    alice._told(Link("left behind"), {"type": "ack", "ref": str(ref), "offset": 12})
    assert "disagreement" in {finding.kind for finding in findings(pair)}
