"""Every command of the line front, over two gateways; and all kinds of clients in one room."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from cluster import Cluster
from people import NcPerson, Person, ProgramPerson, TelnetPerson


class SocatPerson(ProgramPerson):
    """``socat``, which is given one address and not two words."""

    program = ("sh", "-c", 'exec socat STDIO "TCP:$0:$1"')


class NcatPerson(ProgramPerson):
    """Nmap's ``ncat``."""

    program = ("ncat",)


async def answers(person: Person, command: str) -> list[str]:
    """What the server tells somebody who types ``command``, and nobody else."""
    await person.say(command)
    told = await person.barrier()
    assert told, command
    assert [line for line in told if not line.startswith("* ")] == []
    return told


async def test_a_transcript_of_every_command(start_cluster):
    """DESIGN 4: the table of the line front, row by row, over two gateways."""
    cluster: Cluster = await start_cluster(2)
    alice, bob, carol = await cluster.join("alice", "bob", "carol")

    await alice.say("hi", "//not a command", "/me waves")
    for other in (bob, carol):
        await other.expect("alice: hi", "alice: /not a command", "** alice waves")
    await alice.expect_silence()

    await bob.say("/msg ALICE psst, you there?")
    await alice.expect("bob (private): psst, you there?")
    await bob.expect("* to alice: psst, you there?")
    await bob.say("/msg nobody hello?")
    await bob.expect("* nobody is not here")
    await carol.expect_silence()

    await bob.say("/nick robert")
    await bob.expect("* you are now known as robert")
    for other in (alice, carol):
        await other.expect("bob is now known as robert")
    assert await answers(alice, "/who") == ["* 3 in lobby: alice, carol, robert"]
    assert (await answers(alice, "/history 2"))[1:] != []
    assert (await answers(alice, "/history 2"))[-1].endswith("** alice waves")

    await carol.say("/join Kitchen")
    for other in (alice, bob):
        await other.expect("carol has left the chat")
    welcome = await carol.barrier()
    assert welcome == [
        "* welcome to kitchen, carol; /help lists the commands",
        "* you are alone here",
    ]
    await carol.say("is anybody in the kitchen?")
    assert await answers(carol, "/rooms") == [
        "* rooms, biggest first:",
        "*     2 in lobby",
        "*     1 in kitchen",
    ]
    assert await answers(alice, "/who kitchen") == ["* 1 in kitchen: carol"]
    assert await answers(alice, "/who cellar") == ["* nobody is in cellar"]
    await alice.expect_silence()
    await alice.say("/msg carol dinner?")
    await carol.expect("alice (private): dinner?")
    await alice.expect("* to carol: dinner?")

    await carol.say("/leave")
    for other in (alice, bob):
        await other.expect("carol joined the chat")
    welcome = await carol.barrier()
    assert welcome[0] == "* welcome to lobby, carol; /help lists the commands"
    assert welcome[1] == "* 3 people are here: alice, carol, robert"
    assert await answers(carol, "/leave") == ["* you are in lobby already"]
    assert len(await answers(carol, "/help")) > 10
    assert (await answers(carol, "/help me"))[0].startswith("* /me TEXT")
    assert await answers(carol, "/jion den") == ["* unknown command: /jion, did you mean /join?"]

    await carol.say("/quit")
    assert await carol.ended() == ["* bye"]
    for other in (alice, bob):
        await other.expect("carol has left the chat")
        await other.expect_silence()


@pytest.mark.parametrize("text", ["привет", "你好", "مرحبا", "👩‍👩‍👧 ok"])
async def test_a_room_has_its_own_talk(start_cluster, text):
    """DESIGN 4: one room at a time; names and texts of many scripts."""
    cluster: Cluster = await start_cluster(2)
    ivan, mei = await cluster.join("Иван", "美")
    (other,) = await cluster.join("other")
    for person in (ivan, mei):
        await person.say("/join кухня")
        await person.barrier()
    await other.barrier()
    await ivan.barrier()
    await mei.say(text)
    await ivan.expect(f"美: {text}")
    await other.expect_silence()


async def test_every_kind_of_client_talks_in_one_room(start_cluster):
    """Issue 5: nc, telnet, socat, ncat and a program in the same room."""
    cluster: Cluster = await start_cluster(2)
    kinds = (NcPerson, TelnetPerson, SocatPerson, NcatPerson)
    people = []
    for place, kind in enumerate(kinds):
        person = await cluster.newcomer(kind, on=place % 2)
        await cluster.welcome(person, f"p{place}")
        people.append(person)
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.gateways[0].port)
    writer.write(b'{"name":"bot"}\n')
    await reader.readline()  # the prompt's line is ended
    assert json.loads(await reader.readline())["type"] == "welcome"
    for person in people:
        await person.expect("bot joined the chat")
    writer.write(b'{"type":"say","text":"hello, people","ref":"1"}\n')
    assert json.loads(await reader.readline())["type"] == "ack"
    for person in people:
        await person.expect("bot: hello, people")
    for place, speaker in enumerate(people):
        await speaker.say(f"from {place}")
        for other in people:
            if other is not speaker:
                await other.expect(f"p{place}: from {place}")
        event = json.loads(await reader.readline())
        assert (event["type"], event["from"], event["text"]) == (
            "message",
            f"p{place}",
            f"from {place}",
        )
    writer.close()
    for person in people:
        await person.expect("bot has left the chat")
        await person.expect_silence()


def summed_up(person):
    """How many are said to have joined and left, in all."""
    found = [re.fullmatch(r"\* (\d+) joined, (\d+) left", line) for line in person.lines]
    return tuple(map(sum, zip(*(map(int, each.groups()) for each in found if each), strict=True)))


async def test_in_a_large_room_each_hears_of_those_who_came_and_went_after_it(start_cluster):
    """DESIGN 4: ``* 31 joined, 12 left``, in a room of more than --quiet-above people."""
    cluster: Cluster = await start_cluster(2, "--quiet-above", "2")
    people = []
    for place, name in enumerate(("alice", "bob", "carol", "dave", "erin", "frank")):
        people.append(await cluster.newcomer(on=place % 2))
        await people[-1].join(name)
    alice, bob, carol, dave, erin, frank = people
    await frank.leave()
    after = {alice: (4, 1), bob: (4, 1), carol: (3, 1), dave: (2, 1), erin: (1, 1)}
    for person, sums in after.items():
        await person.until(lambda p=person, s=sums: summed_up(p) == s, 10, f"{sums}")
    grace = await cluster.newcomer(on=0)
    await grace.join("grace")
    await alice.until(lambda: summed_up(alice) == (5, 1), 10, "grace")
    await dave.until(lambda: summed_up(dave) == (3, 1), 10, "grace")
    await grace.expect_silence()
    assert "bob joined the chat" in alice.lines
    assert not [line for line in bob.lines if line.endswith("the chat")]
