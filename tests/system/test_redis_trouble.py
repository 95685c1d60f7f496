"""A Redis that hangs, was emptied, or holds what somebody else wrote: a normal day."""

import asyncio

import pytest
from operators import Operator
from processes import eventually
from programs import Link

from gateway.broker.keys import Keys

KEYS = Keys("chat")


async def rooms_told(person):
    """What ``/rooms`` answers."""
    await person.say("/rooms")
    return [line for line in await person.barrier() if line.startswith("*")]


async def test_who_speaks_while_redis_hangs_is_told_soon_after_the_deadline(start_cluster):
    """Promise 4: a line that could not be delivered is reported to its sender.

    Connections to a stopped process are made, and then nothing comes.
    """
    cluster = await start_cluster(1, "--publish-deadline", "1", "--admin-port", "0")
    (alice,) = await cluster.join("alice")
    cluster.redis.stop()
    await Operator(cluster.gateways[0]).until_ready(False)
    for text in ("one", "two"):
        await alice.say(text)
        await alice.expect(f"* not delivered: {text}", timeout=2.5)
    cluster.redis.cont()


@pytest.mark.parametrize("goes", ["hangs up", "quits"])
async def test_who_goes_while_redis_hangs_is_told_what_became_of_the_last_lines(
    start_cluster, goes
):
    """Promise 4: ``report | nc -N`` must not lose its lines without a word."""
    cluster = await start_cluster(1, "--publish-deadline", "1", "--admin-port", "0")
    (alice,) = await cluster.join("alice")
    cluster.redis.stop()
    await Operator(cluster.gateways[0]).until_ready(False)
    await alice.say("one", "two")
    if goes == "quits":
        await alice.say("/quit")
        await alice.expect("* bye")
    else:
        alice.finish()
    await alice.expect("* not delivered: one", "* not delivered: two", timeout=2.5)
    cluster.redis.cont()
    await alice.ended()


async def test_who_goes_on_after_quit_is_not_answered_for_ever(start_cluster):
    """Promise 5: what a client sends after its /quit is no work for others to wait for."""
    cluster = await start_cluster(1, "--burst", "40")
    alice, mallory = await cluster.join("alice", "mallory")
    cluster.redis.stop()
    await mallory.say("x", "/quit", *["x"] * 20_000)
    await mallory.expect("* bye")
    await alice.barrier()
    cluster.redis.cont()
    await mallory.ended(20)
    assert len([line for line in mallory.lines if "not delivered" in line]) <= 41


async def test_who_moves_or_takes_another_name_while_redis_hangs_is_told_to_wait(start_cluster):
    """DESIGN 4: answers are ``* …`` lines."""
    cluster = await start_cluster(1, "--admin-port", "0")
    alice, bob = await cluster.join("alice", "bob")
    cluster.redis.stop()
    await Operator(cluster.gateways[0]).until_ready(False)
    await alice.say("/join tea")
    await alice.expect_told("please wait")
    await bob.say("/nick bobby")
    await bob.expect_told("please wait")
    cluster.redis.cont()
    await alice.expect_told("welcome to tea, alice", timeout=20)


async def test_rooms_are_listed_again_after_redis_was_emptied(start_cluster):
    """DESIGN 3: a Redis that came back empty is filled again by the gateways."""
    cluster = await start_cluster(1)
    (alice,) = await cluster.join("alice")
    before = await rooms_told(alice)
    assert any("lobby" in line for line in before)
    cluster.redis.cli("FLUSHALL")
    await eventually(lambda: cluster.redis.cli("ZSCORE", KEYS.rooms, "lobby"), 10, "listed again")
    after = [line for line in await rooms_told(alice) if "missed" not in line]
    assert after == before


async def test_everybody_is_known_again_soon_after_redis_was_emptied(start_cluster):
    """DESIGN 3: it is filled again with what the sessions of all gateways hold."""
    cluster = await start_cluster(3)
    people = await cluster.join("alice", "bob", "carol")
    cluster.redis.cli("FLUSHALL")
    for person in people:
        await person.hear("* some messages were missed")
    members = KEYS.room("lobby")[3]
    await eventually(lambda: cluster.redis.cli("HLEN", members) == 3, 10, "filled again")
    for person in people:
        async with asyncio.timeout(10):
            answers = []
            while "* 3 in lobby: alice, bob, carol" not in answers:
                await person.say("/who")
                answers = await person.barrier()
    assert not any(line.endswith(("left the chat", "joined the chat")) for line in people[2].lines)


async def test_what_somebody_else_wrote_into_a_room_costs_nobody_anything(start_cluster):
    """Promise 5: it is left out, and told where events are missing."""
    cluster = await start_cluster(2)
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("before")
    await bob.expect("alice: before")
    redis, (meta, log, history, _) = cluster.redis, KEYS.room("lobby")
    redis.cli("PUBLISH", KEYS.channel("lobby"), "what is this")
    redis.cli("RPUSH", history, "what is this")
    offset = redis.cli("HINCRBY", meta, "offset", 1)
    redis.cli("XADD", log, f"{offset}-0", "e", "what is this")
    await alice.say("after")
    await bob.expect("* some messages were missed", "alice: after")
    await alice.expect("* some messages were missed")
    carol = await cluster.newcomer(on=1)
    welcome = await carol.join("carol")
    assert [line for line in welcome if "alice: " in line][-1].endswith("alice: after")
    await carol.say("/history")
    assert any(line.endswith("alice: after") for line in await carol.barrier())
    assert all(gateway.running for gateway in cluster.gateways)


async def test_a_room_that_somebody_else_broke_keeps_no_other_one_waiting(start_cluster):
    """Promises 5 and 6: people of other rooms are heard, and let go when their gateway dies."""
    cluster = await start_cluster(2)
    alice, bob, carol, dave = await cluster.join("alice", "bob", "carol", "dave")
    for person in (carol, dave):  # one on each gateway
        await person.say("/join tea")
        await alice.expect(f"{person.name} has left the chat")
        await bob.expect(f"{person.name} has left the chat")
        await person.hear(f"* welcome to tea, {person.name}; /help lists the commands")
    await carol.hear("dave joined the chat")
    redis, (meta, log, _, members) = cluster.redis, KEYS.room("tea")
    for key in (meta, log, members):
        redis.cli("DEL", key)
        redis.cli("SET", key, "something else")
    await carol.say("is this on?")
    for number in range(20):
        await alice.say(f"{number}")
        await bob.expect(f"alice: {number}", timeout=0.9)
    cluster.gateways[1].kill()
    await alice.expect("bob has left the chat", timeout=20)
    again = await cluster.newcomer(on=0)
    await again.join("bob")
    await again.say("I am back")
    await alice.expect("bob joined the chat", "bob: I am back")


async def test_what_was_lost_with_its_log_before_it_was_heard_is_told_to_who_said_it(start_cluster):
    """Promise 4: Redis has confirmed it, and nobody will ever know who has read it."""
    cluster = await start_cluster(1)
    alice, bob = await cluster.join("alice", "bob")
    bot = await Link.dial(cluster.gateways[0].port, "bot")
    cluster.people.append(bot)
    told = []
    bot.told = lambda _link, line: told.append(line)
    bot.tell(name="bot")
    await alice.expect("bot joined the chat")
    redis, log = cluster.redis, KEYS.room("lobby")[1]
    before = redis.cli("XLEN", log)
    redis.cli("ACL", "SETUSER", "default", "-subscribe")
    redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
    await alice.say("one")
    bot.tell(type="say", text="two", ref="1")
    await eventually(lambda: redis.cli("XLEN", log) == before + 2, 10, "in the log")
    redis.cli("FLUSHALL")
    redis.cli("ACL", "SETUSER", "default", "+subscribe")
    await alice.expect("* some messages were missed", "* not confirmed: one")
    await bob.hear("* some messages were missed")
    await bot.until(lambda: any(line["type"] == "error" for line in told), 10, "an error")
    (error,) = [line for line in told if line["type"] in ("error", "ack")]
    assert (error["code"], error["ref"]) == ("not_confirmed", "1")
    await alice.say("three")
    await bob.expect("alice: three")
    bot.tell(type="say", text="four", ref="2")
    await bob.expect("bot: four")
    await bot.until(lambda: any(line["type"] == "ack" for line in told), 10, "an ack")
