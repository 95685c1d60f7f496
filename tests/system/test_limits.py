"""What one client may cost the others: nothing (DESIGN 4, flags of ``serve``; promises 5 and 7)."""

import asyncio
import re
import time

from cluster import Cluster
from operators import Operator
from people import Person
from processes import eventually


async def test_who_gives_no_name_is_told_and_closed(start_cluster):
    cluster = await start_cluster(1, "--name-timeout", "1")
    (alice,) = await cluster.join("alice")
    silent = await cluster.newcomer()
    stubborn = await cluster.newcomer()
    await stubborn.say("not a name")
    for stranger in (silent, stubborn):
        rest = await stranger.ended(timeout=5)
        assert rest[-1].startswith("* ")
    await alice.expect_silence()


async def test_the_deadline_for_the_name_is_absolute(start_cluster):
    """A stranger that goes on giving names that are refused does not win time."""
    cluster = await start_cluster(1, "--name-timeout", "1")
    stranger = await cluster.newcomer()
    began = time.monotonic()
    while not stranger.hung_up:
        await stranger.say("no name")
        await stranger.until(lambda: bool(stranger.untaken) or stranger.hung_up, 5, "an answer")
        while stranger.untaken:
            await stranger.next_line()
        assert time.monotonic() - began < 5


async def test_a_connection_too_many_is_told_why_and_closed(start_cluster):
    """DESIGN 4: ``--max-connections``; one line why, then closed."""
    cluster = await start_cluster(1, "--max-connections", "2")
    alice, bob = await cluster.join("alice", "bob")
    port = cluster.gateways[0].port
    stranger = await Person.dial(port, "stranger")
    rest = await stranger.ended()
    assert len(rest) == 1
    assert rest[0].startswith("* ")
    await alice.expect_silence()
    await bob.leave()
    await alice.expect("bob has left the chat")
    await eventually(lambda: cluster.gateways[0].logged("closed"), 10, "bob's place is free")
    await cluster.join("carol")
    stranger.abort()


async def test_a_fast_speaker_is_read_later_and_loses_nothing(start_cluster):
    """DESIGN 3: a client that sends faster than its rate is not read until its tokens are back."""
    cluster = await start_cluster(1, "--rate", "50", "--burst", "10")
    alice, bob, carol = await cluster.join("alice", "bob", "carol")
    began = time.monotonic()
    await alice.say(*(f"line {number}" for number in range(100)))
    await carol.say("I am not in the same hurry")
    before = await bob.hear("carol: I am not in the same hurry")
    assert len(before) < 100, "the slow speaker waited for the fast one"
    for number in range(len(before), 100):
        await bob.expect(f"alice: line {number}")
    assert before == [f"alice: line {number}" for number in range(len(before))]
    assert time.monotonic() - began > (100 - 10) / 50 * 0.8
    await alice.expect("carol: I am not in the same hurry")
    await alice.expect_silence()


async def test_a_burst_is_said_at_once(gateway: Cluster):
    """``--burst`` 40: so much may come before the rate holds."""
    alice, bob = await gateway.join("alice", "bob")
    began = time.monotonic()
    await alice.say(*(f"line {number}" for number in range(30)))
    await bob.expect(*(f"alice: line {number}" for number in range(30)))
    assert time.monotonic() - began < 1.5


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not(start_cluster):
    """Promise 5 and 7: a bounded SendQ; a slow client never delays another."""
    cluster = await start_cluster(1, "--sendq", "65536", "--rate", "5000", "--burst", "5000")
    alice, bob, slow = await cluster.join("alice", "bob", "slow")
    slow.shrink_buffer(4096)
    slow.pause_reading()
    said = 0
    while "slow has left the chat" not in bob.lines:
        assert said < 20_000, "64 MB were written to somebody who takes nothing"
        texts = [f"{number} {'x' * 3200}" for number in range(said, said + 20)]
        said += len(texts)
        await alice.say(*texts)
        await bob.until(lambda: f"alice: {texts[-1]}" in bob.untaken[-2:], 10, "the line")  # noqa: B023
    heard = [line for line in bob.untaken if line != "slow has left the chat"]
    assert [int(line.split()[1]) for line in heard] == list(range(said))
    await alice.expect("slow has left the chat")
    await alice.expect_silence()


async def test_in_a_full_room_joins_and_leaves_are_summed_up(start_cluster):
    """DESIGN 4: ``* 31 joined, 12 left``, at most every 2 s, in a room above ``--quiet-above``."""
    cluster = await start_cluster(2, "--quiet-above", "3")
    alice, bob, _ = await cluster.join("alice", "bob", "carol")
    crowd = [await cluster.newcomer(on=number % 2) for number in range(8)]
    await asyncio.gather(*(p.join(f"p{number}") for number, p in enumerate(crowd)))
    await asyncio.gather(*(person.leave() for person in crowd[:4]))
    for member in (alice, bob):
        while _summed(member) != (8, 4):
            await member.next_line(timeout=6)
        assert not [line for line in member.lines[-12:] if re.match(r"p\d ", line)]
    await alice.say("still talking")
    await bob.hear("alice: still talking")


def _summed(person: Person) -> tuple[int, int]:
    """How many joined and left by the summaries that somebody has heard."""
    sums = [
        (int(joined or 0), int(left or 0))
        for line in person.lines
        if line.startswith("* ")
        for joined, left in re.findall(r"^\* (?:(\d+) joined)?(?:, )?(?:(\d+) left)?$", line)
    ]
    return sum(joined for joined, _ in sums), sum(left for _, left in sums)


async def test_who_sends_nothing_but_telnet_s_own_bytes_is_read_at_its_rate(start_cluster):
    """Promise 5: nothing of them is left to handle, but reading them is work."""
    limits = ("--rate", "1", "--burst", "2", "--max-line", "64", "--admin-port", "0")
    cluster = await start_cluster(1, *limits)
    alice = await cluster.newcomer()
    hostile = await cluster.newcomer()
    hostile.send(b"\xff\xf1" * 8_000_000)
    operator = Operator(cluster.gateways[0])
    for _ in range(50):
        taken = (await operator.metrics())["gateway_received_bytes_total"]
    assert taken < 1_000_000
    await alice.join("alice")
    hostile.abort()
