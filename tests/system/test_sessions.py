"""Sessions that end, move and come back at bad moments: what must hold whatever the timing."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from typing import Any

import pytest
from cluster import Cluster
from people import Person
from processes import RealRedis, eventually, fault_lasts
from programs import Link
from proxy import FaultyProxy

FAST = ("--rate", "1000", "--burst", "1000")


class Bot(Link):
    """One connection of a program; ``news`` is all that it was told."""

    @classmethod
    async def hello(cls, port: int, name: str, **more: Any) -> Bot:
        bot = await cls.connect(port)
        bot.news = []
        bot.told = lambda _link, line: bot.news.append(line)
        bot.tell(name=name, **more)
        return bot

    news: list[dict[str, Any]]

    async def hears(self, kind: str, within_s: float = 10, **wanted: Any) -> dict[str, Any]:
        """The first news of this kind that has these members."""

        def found() -> dict[str, Any] | None:
            return next(
                (n for n in self.news if {"type": kind, **wanted}.items() <= n.items()), None
            )

        what = f"{kind} {wanted}"
        line: dict[str, Any] = await eventually(found, within_s, what, lambda: self.news)
        return line


def members(cluster: Cluster, room: str = "lobby") -> list[str]:
    """The names of a room's members, as Redis has them."""
    records = cluster.redis.cli("hvals", f"chat:{{room:{room}}}:members")
    return sorted(record.split(" ")[2] for record in records)


def names(cluster: Cluster) -> list[str]:
    """The folded names that are held."""
    return sorted(cluster.redis.cli("hkeys", "chat:{registry}:names"))


def log(cluster: Cluster, room: str = "lobby") -> list[dict[str, Any]]:
    entries = cluster.redis.cli("xrange", f"chat:{{room:{room}}}:log", "-", "+")
    return [json.loads(fields["e"].split(" ", 6)[6]) for _, fields in entries]


async def test_who_is_gone_while_joining_is_not_there_for_ever(start_cluster):
    """Promise 6: a name and a membership end with the session, at whatever moment."""
    cluster = await start_cluster(1)
    rooms = [f"r{number}" for number in range(60)]

    async def come_and_go(room: str, after_s: float) -> None:
        person = await Person.connect(cluster.gateways[0].port)
        await person.join(f"u-{room}")
        await person.say(f"/join {room}")
        await fault_lasts(after_s)
        person.abort()

    for number, room in enumerate(rooms):
        await come_and_go(room, number % 12 * 0.0005)
    for room in ("lobby", *rooms):
        await eventually(lambda: not members(cluster, room), 10, "nobody there", lambda: room)  # noqa: B023
    await eventually(lambda: not names(cluster), 10, "no names", lambda: names(cluster))
    (alice,) = await cluster.join("alice")
    await alice.say("/rooms")
    told = await alice.barrier()
    assert not [line for line in told if " in r" in line], told


@pytest.mark.parametrize(
    "last", [{"type": "nick", "name": "al"}, {"type": "join", "room": "tea"}], ids=["nick", "join"]
)
async def test_a_program_that_hangs_up_behind_its_last_words_is_not_there_for_ever(
    start_cluster, last
):
    """Promise 6: what it asked for is done, and then its session ends, as with ``nc -N``."""
    cluster = await start_cluster(1)
    (alice,) = await cluster.join("alice")
    bot = await Bot.hello(cluster.gateways[0].port, "bot", session=secrets.token_hex(16))
    await bot.hears("welcome")
    bot.tell(**last)
    bot.tell(type="say", text="bye", ref="1")
    bot.finish()
    await bot.hears("ack", ref="1")
    await eventually(lambda: bot.hung_up, 10, "the end")
    await eventually(lambda: names(cluster) == ["alice"], 10, "freed", lambda: names(cluster))
    if last["type"] == "nick":
        seen = ["bot is now known as al", "al: bye", "al has left the chat"]
    else:
        seen = ["bot has left the chat"]
    await alice.expect("bot joined the chat", *seen)
    await alice.expect_silence()


async def test_who_moves_hears_all_that_was_said_before_it_left(start_cluster):
    """Promise 2: every event of its room exactly once."""
    cluster = await start_cluster(1, *FAST)
    alice, bob = await cluster.join("alice", "bob")
    for number in range(40):
        await bob.say(f"{number} a")
        await alice.say("/join den")
        await bob.say(f"{number} b")
        await alice.barrier()
        await alice.say("/leave")
        await alice.barrier()
    owed, here = [], True
    for event in log(cluster):
        if event["type"] in ("joined", "left") and event["name"] == "alice":
            here = event["type"] == "joined"
        elif event["type"] == "message" and here:
            owed.append(f"bob: {event['text']}")
    assert [line for line in alice.lines if line.startswith("bob: ")] == owed


async def test_rooms_that_all_have_left_are_listed_no_more(start_cluster):
    """DESIGN 4: /rooms."""
    cluster = await start_cluster(1, *FAST)
    (alice,) = await cluster.join("alice")
    for number in range(20):
        await alice.say(f"/join den{number}", "/leave")
        await alice.barrier()
    await alice.say("/rooms")
    told = await alice.barrier()
    assert not [line for line in told if "den" in line], told


async def test_rooms_that_people_of_two_gateways_leave_together_are_listed_no_more(start_cluster):
    """DESIGN 4: /rooms; what one gateway tells late is not the truth."""
    cluster = await start_cluster(2, *FAST)
    people = await cluster.join("alice", "bob")
    for number in range(15):
        for person in people:
            await person.say(f"/join den{number}")
            await person.barrier()
        for person in people:
            await person.say("/leave")
        for person in people:
            await person.barrier()
    await people[0].say("/rooms")
    told = await people[0].barrier()
    assert not [line for line in told if "den" in line], told


async def test_a_room_that_one_has_left_is_heard_no_more(start_cluster):
    """Promise 1: what was said before comes before the welcome of the next room."""
    cluster = await start_cluster(1, *FAST)
    gateway = cluster.gateways[0]
    crowd = await asyncio.gather(*(Person.connect(gateway.port) for _ in range(100)))
    cluster.people += crowd
    for number, person in enumerate(crowd):
        await person.say(f"p{number}")
    await asyncio.gather(*(person.barrier() for person in crowd))
    (alice,) = crowd[:1]
    bob = crowd[1]
    for number in range(10):
        for line in range(20):
            await bob.say(f"{number} {line}")
        await alice.say("/join den")
        await bob.say(f"{number} after")
        await alice.hear("* you are alone here")
        told = await alice.barrier()
        assert not [line for line in told if line.startswith("p1: ")], told
        await alice.say("/leave")
        await alice.barrier()


async def test_nothing_is_left_in_redis_of_a_gateway_that_drained(start_cluster):
    """Issue 3: Redis's memory is bounded; issue 6: the lease is given back."""
    cluster = await start_cluster(2)
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("/msg bob hi")
    await bob.expect("alice (private): hi")
    cluster.gateways[1].terminate()
    assert await cluster.gateways[1].ended() == 0
    assert len(cluster.redis.cli("hkeys", "chat:{registry}:gateways")) == 1
    assert len(cluster.redis.cli("keys", "chat:{room:@*}:meta")) == 1


async def test_a_session_is_not_ended_by_a_connection_that_is_refused(start_cluster):
    """DESIGN 4: the same session takes the name over when it is granted, not before."""
    cluster = await start_cluster(1)
    secret = secrets.token_hex(16)
    alice = await Bot.hello(cluster.gateways[0].port, "alice", session=secret)
    await alice.hears("welcome")
    other = await Bot.hello(cluster.gateways[0].port, "no name!", session=secret)
    await other.hears("error", code="name_refused")
    await other.until(lambda: other.hung_up, 10, "the end")
    alice.tell(type="say", text="still here", ref="1")
    await alice.hears("ack", ref="1")
    assert members(cluster) == ["alice"]


async def test_a_session_keeps_its_name_whatever_it_asks_for(start_cluster):
    """DESIGN 4: the same session on another gateway takes the name and the membership over."""
    cluster = await start_cluster(2)
    secret = secrets.token_hex(16)
    (zoe,) = await cluster.join("zoe")
    for gateway, asked in ((0, "alice"), (0, "zoe"), (1, "somebody"), (1, "zoe")):
        bot = await Bot.hello(cluster.gateways[gateway].port, asked, session=secret)
        await bot.hears("welcome", name="alice")
        if asked == "alice":
            await zoe.expect("alice joined the chat")
        bot.tell(type="say", text=f"as {asked}", ref=f"{len(log(cluster))}")
        await zoe.expect(f"alice: as {asked}")
    assert members(cluster) == ["alice", "zoe"]
    assert names(cluster) == ["alice", "zoe"]


async def test_two_connections_of_one_session_at_once_do_not_free_its_name(start_cluster):
    """Promise 6: nobody living is without a name."""
    cluster = await start_cluster(1)
    secret, port = secrets.token_hex(16), cluster.gateways[0].port
    cluster.redis.stop()
    first = await Bot.hello(port, "alice", session=secret)
    gone = await Bot.hello(port, "alice", session=secret)
    second = await Bot.hello(port, "alice", session=secret)
    gone.abort()
    cluster.redis.cont()
    await first.hears("error", code="replaced")
    await second.hears("welcome", name="alice")
    await eventually(lambda: first.hung_up, 10, "the end of the first")
    stranger = await Person.connect(port)
    await stranger.say("alice")
    assert "taken" in await stranger.next_line()
    assert members(cluster) == ["alice"]


async def test_a_connection_that_drops_while_it_is_granted_leaves_no_ghost(start_cluster):
    """Promise 6, and the session that was elsewhere is told or goes on."""
    cluster = await start_cluster(2)
    port = cluster.gateways[1].port
    for number in range(12):
        secret, name = secrets.token_hex(16), f"a{number}"
        alice = await Bot.hello(cluster.gateways[0].port, name, session=secret)
        await alice.hears("welcome")
        other = await Bot.hello(port, name, session=secret)
        await fault_lasts(number * 0.0003)
        other.abort()
        alice.tell(type="say", text="here?", ref="1")

        def settled(alice: Bot = alice, name: str = name) -> bool:
            there = (name in members(cluster), name in names(cluster))
            goes_on = any(line["type"] == "ack" for line in alice.news)
            return there == ((False, False) if alice.hung_up else (goes_on, goes_on))

        await eventually(settled, 10, "told or there", lambda: (alice.news, members(cluster)))  # noqa: B023
        alice.abort()
    await eventually(lambda: not members(cluster), 10, "nobody there", lambda: members(cluster))
    assert all(event["name"] for event in log(cluster))


@pytest.mark.parametrize("on", [0, 1], ids=["same gateway", "other gateway"])
async def test_a_second_connection_that_hangs_up_takes_nothing_from_the_first(start_cluster, on):
    """Promise 6: nobody living is ever said to have left.

    Redis grants what was asked for when nobody wants it any more.
    """
    cluster = await start_cluster(2)
    gateway, secret = cluster.gateways[on], secrets.token_hex(16)
    (zoe,) = await cluster.join("zoe", on=on)
    alice = await Bot.hello(cluster.gateways[0].port, "alice", session=secret)
    await zoe.expect("alice joined the chat")
    for number in range(5):
        cluster.redis.stop()
        second = await Bot.hello(gateway.port, "alice", session=secret)
        await zoe.barrier()
        second.close()
        gone = number + 1
        await eventually(lambda gone=gone: len(gateway.logged("closed")) == gone, 10, "closed")
        cluster.redis.cont()
        alice.tell(type="say", text=f"{number}", ref=f"{gone}")
        await alice.hears("ack", ref=f"{gone}")
        await zoe.expect(f"alice: {number}")
    await zoe.expect_silence()
    assert members(cluster) == names(cluster) == ["alice", "zoe"]


async def test_a_dead_connection_takes_no_session_from_where_it_went_on(processes_end):
    """Promise 6: a gateway that was cut off from Redis asks for what nobody there wants any more.

    The session is here in a first connection, which nobody uses any more, came here in a
    second one, which was given up, and went on at another gateway.
    """
    cluster = Cluster(await RealRedis(*RealRedis.DURABLE).start(), ())
    proxy = await FaultyProxy(cluster.redis.port).start()
    await cluster.grow(2, detour=proxy.url)
    here, there = cluster.gateways
    secret = secrets.token_hex(16)
    (zoe,) = await cluster.join("zoe", on=1)
    first = await Bot.hello(here.port, "alice", session=secret)
    await zoe.expect("alice joined the chat")
    proxy.blackhole()
    second = await Bot.hello(here.port, "alice", session=secret)
    first.tell(type="ping")
    await first.hears("pong")  # by now the second one was heard, too
    second.close()
    await eventually(lambda: len(here.logged("closed")) == 1, 10, "closed")
    third = await Bot.hello(there.port, "alice", session=secret)
    await third.hears("welcome")
    proxy.heal()
    await proxy.drop_all()
    await first.hears("error", code="replaced")
    await eventually(lambda: first.hung_up, 10, "the end of the first")
    third.tell(type="say", text="here", ref="1")
    await third.hears("ack", ref="1")
    await zoe.expect("alice: here")
    await zoe.expect_silence()
    assert names(cluster) == members(cluster) == ["alice", "zoe"]
    await cluster.close()
    await proxy.close()


async def test_who_is_to_go_while_another_name_is_granted_leaves_once(start_cluster):
    """Promise 6, for a drain that comes while Redis hangs, with its relay behind."""
    cluster = await start_cluster(2, "--quiet-above", "1000")
    gateway, count = cluster.gateways[1], 12
    (zoe,), (yan,) = await cluster.join("zoe", on=0), await cluster.join("yan", on=1)
    bots = [
        await Bot.hello(gateway.port, f"bot{number}", session=secrets.token_hex(16))
        for number in range(count)
    ]
    for bot in bots:
        await bot.hears("welcome")
    cluster.redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
    cluster.redis.stop()
    for number, bot in enumerate(bots):
        bot.tell(type="nick", name=f"new{number}")
    await yan.barrier()
    gateway.terminate()
    for bot in bots:
        await bot.hears("error", code="draining")
    cluster.redis.cont()
    assert await gateway.ended() == 0
    assert names(cluster) == members(cluster) == ["zoe"]
    await zoe.barrier()
    assert len([line for line in zoe.lines if line.endswith(" has left the chat")]) == count + 1


async def test_a_gateway_that_wakes_takes_no_session_from_where_it_went_on(start_cluster):
    """Promise 6: nobody living is ever said to have left.

    Somebody tried a gateway that was stopped, gave up, and is with another one.
    """
    cluster = await start_cluster(2)
    secret = secrets.token_hex(16)
    (zoe,) = await cluster.join("zoe", on=0)
    alice = await Bot.hello(cluster.gateways[0].port, "alice", session=secret)
    await zoe.expect("alice joined the chat")
    for number in range(5):
        cluster.gateways[1].stop()
        with socket.create_connection(("127.0.0.1", cluster.gateways[1].port)) as given_up:
            given_up.sendall(json.dumps({"name": "alice", "session": secret}).encode() + b"\n")
        cluster.gateways[1].cont()
        closed = number + 1
        await eventually(
            lambda closed=closed: len(cluster.gateways[1].logged("closed")) == closed, 10, "closed"
        )
        await zoe.say(f"{number}")
        await alice.hears("message", text=f"{number}")
    await zoe.expect_silence()


async def test_private_lines_keep_their_place_among_the_others(start_cluster):
    """Promise 1: what one person says is heard in the order in which it was said."""
    cluster = await start_cluster(1, *FAST)
    alice, bob = await cluster.join("alice", "bob")
    for number in range(40):
        await alice.say(f"room {number}", f"/msg bob private {number}")
        await alice.expect(f"* to bob: private {number}")
        await bob.expect(f"alice: room {number}", f"alice (private): private {number}")


async def test_many_answers_at_once_are_no_trouble(start_cluster):
    """Promise 5: a client costs the others nothing, whatever it sends."""
    cluster = await start_cluster(1, "--burst", "2000")
    alice, bob = await cluster.join("alice", "bob")
    await alice.say(*["/who"] * 1500)
    await alice.barrier(timeout=30)
    assert alice.lines.count("* 2 in lobby: alice, bob") == 1500
    await bob.expect_silence()


async def test_who_is_not_in_yet_is_told_what_a_drain_drops(start_cluster):
    """Promise 4: a line that could not be delivered is reported to its sender."""
    cluster = await start_cluster(1, "--drain-timeout", "4")
    zoe = await Person.connect(cluster.gateways[0].port)
    cluster.redis.stop()
    await zoe.say("zoe", "one", "two")
    await zoe.expect_told()  # that Redis is away
    cluster.gateways[0].terminate()
    lines = await zoe.ended()
    assert "* not delivered: one" in lines
    assert "* not delivered: two" in lines


async def resumed(cluster: Cluster, lines: int, size: int, *flags: str) -> Bot:
    """A program that comes back after it missed so many long lines."""
    secret, port = secrets.token_hex(16), cluster.gateways[0].port
    bot = await Bot.hello(port, "bot", session=secret)
    welcome = await bot.hears("welcome")
    (alice,) = await cluster.join("alice")
    other = await Bot.hello(cluster.gateways[1].port, "bot", session=secret)
    await other.hears("welcome")
    for number in range(lines):
        await alice.say(f"{number} ".ljust(size, '"'))
    await alice.barrier(timeout=30)
    return await Bot.hello(
        port, "bot", session=secret, epoch=welcome["epoch"], after=welcome["offset"]
    )


async def test_a_long_way_back_goes_page_by_page(start_cluster):
    """DESIGN 4: `after` replays exactly what followed, paged as the SendQ drains."""
    cluster = await start_cluster(2, *FAST, "--sendq", "65536")
    bot = await resumed(cluster, 700, 3000)
    await bot.until(lambda: len(bot.news) >= 702 or bot.hung_up, 30, "all of it")
    offsets = [line["offset"] for line in bot.news if line["type"] in ("message", "joined")]
    assert offsets == list(range(offsets[0], offsets[0] + 701))
    assert not bot.hung_up


async def test_a_place_that_no_log_has_is_told_as_missed(start_cluster):
    """DESIGN 4: if that is gone, `missed`; and the welcome tells where it goes on."""
    cluster = await start_cluster(1)
    (alice,) = await cluster.join("alice")
    epoch = cluster.redis.cli("hget", "chat:{room:lobby}:meta", "epoch")
    for number, place in enumerate(
        ({"epoch": epoch, "after": 5000}, {"epoch": "other", "after": 0})
    ):
        bot = await Bot.hello(cluster.gateways[0].port, f"bot{number}", **place)
        welcome = await bot.hears("welcome")
        await bot.hears("missed")
        await alice.expect(f"bot{number} joined the chat")
        await alice.say("hi")
        heard = await bot.hears("message", text="hi")
        assert welcome["offset"] < heard["offset"] <= welcome["offset"] + 2
        bot.abort()
        await alice.expect(f"bot{number} has left the chat")
