"""More lines than anybody could follow: they go out together, and none is lost or moved."""

import asyncio

from operators import Operator

FAST = ("--rate", "100000", "--burst", "100000", "--name-timeout", "600", "--admin-port", "0")
CROWD = 300
"""Whom it pays to wait for; they need no names."""
TICK_S = 0.004
LINES_A_TICK = 6
TICKS = 200


async def test_a_flood_is_gathered_and_heard_whole_and_in_order(start_cluster):
    """Promises 1 and 2, and Flood: those who speak are read now and then only."""
    cluster = await start_cluster(2, *FAST)
    alice, bob, carol = await cluster.join("alice", "bob", "carol", on=0)
    (dave,) = await cluster.join("dave", on=1)
    for _ in range(CROWD):
        await cluster.newcomer(on=0)
    operator = Operator(cluster.gateways[0])
    heard_before = {person: len(person.lines) for person in (alice, bob, carol, dave)}
    said = 0
    async with asyncio.timeout(60):
        while not (await operator.metrics())["gateway_floods_gathered_total"]:
            for _ in range(TICKS):
                texts = [str(said + number) for number in range(LINES_A_TICK)]
                said += len(texts)
                await alice.say(*texts)
                await bob.say(*texts)
                await asyncio.sleep(TICK_S)

    async def heard(person, speakers):
        """All that they said."""
        begin, count = heard_before[person], said * speakers
        await person.until(lambda: len(person.lines) >= begin + count, 20, f"{count} lines")
        return person.lines[begin:]

    of_alice = [f"alice: {number}" for number in range(said)]
    of_bob = [f"bob: {number}" for number in range(said)]
    everything = await heard(carol, speakers=2)
    assert [line for line in everything if line.startswith("alice")] == of_alice
    assert [line for line in everything if line.startswith("bob")] == of_bob
    assert await heard(dave, speakers=2) == everything
    assert await heard(alice, speakers=1) == of_bob
    assert await heard(bob, speakers=1) == of_alice
