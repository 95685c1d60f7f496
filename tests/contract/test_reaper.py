"""What a dead gateway leaves behind is ended, and nothing else."""

import asyncio
import contextlib

import pytest

from gateway.broker.outbox import Holder
from gateway.broker.publisher import Publisher
from gateway.broker.reaper import Reaper, _repeat
from gateway.broker.registry import Ghost, Registry
from gateway.config import Config

CONFIG = Config()


class Ours:
    """G3, which reaps."""

    def __init__(self, redis):
        self._redis = redis
        caller, keys = redis.caller, redis.keys
        publisher = Publisher(caller, keys, CONFIG, "G3", lambda room: None)
        self.registry = Registry(caller, keys, CONFIG, "G3", on_forgone=lambda ghost: None)
        self.reaper = Reaper(redis.client, keys, publisher, self.registry)
        self.services = (publisher.run_forever, self.registry.run_forever)

    async def reap_the_silent(self):
        """G1 and G2, unless they are buried: the others beat.  Returns who was reaped."""
        dead = await self._redis.beat_for(CONFIG.dead_ticks, "G3", "G4")
        for gateway in dead:
            await self.reaper.reap_one(gateway)
        await self.registry.drained()
        return dead


@pytest.fixture
async def ours(redis):
    ours = Ours(redis)
    for gateway in ("G1", "G2", "G3", "G4"):
        await redis.beat(gateway)
    running = [asyncio.create_task(service()) for service in ours.services]
    yield ours
    for task in running:
        task.cancel()
    await asyncio.wait(running)


@pytest.fixture
def come(redis):
    """A session claims its name at a gateway, and joins the lobby."""

    async def come(session, name, gateway, *, joins=True):
        answer = await redis.claim(name, session, gateway=gateway)
        member = redis.member(
            session, gateway=gateway, name=name, generation=int(answer.split()[1])
        )
        if joins:
            await redis.publish(member.joins(), gateway=gateway)
            people = len(await redis.members())
            await redis.registry(("people", "", "", people, "lobby", ""), gateway=gateway)
        return member

    return come


async def lefts(redis):
    """Who was said to have left."""
    return [line.event.name for line in await redis.log() if type(line.event).__name__ == "Left"]


async def counts(redis):
    """How many people are in each room, as ``/rooms`` says."""
    rooms = await redis.client.zrange(redis.keys.rooms, 0, -1, withscores=True)
    return {room.decode(): people for room, people in rooms}


async def held(redis):
    return sorted(name.decode() for name in await redis.client.hkeys(redis.keys.names))


async def test_of_a_dead_gateway_nothing_is_left_and_each_of_its_people_is_said_to_have_left(
    redis, ours, come
):
    """Promise 6: a name and a membership end with the session; left is said exactly once."""
    await redis.open()
    for session, name, gateway in (("s1", "alice", "G1"), ("s2", "bob", "G1"), ("s3", "eve", "G4")):
        await come(session, name, gateway)
    assert await ours.reap_the_silent() == ["G1", "G2"]
    assert sorted(await lefts(redis)) == ["alice", "bob"]
    assert list(await redis.members()) == ["s3"]
    assert await held(redis) == ["eve"]
    assert await redis.client.hlen(redis.keys.sessions) == 1
    assert await counts(redis) == {"lobby": 1}


async def test_who_came_to_a_dead_gateway_and_was_not_joined_yet_has_left_where_it_was(
    redis, ours, come
):
    """Promise 6: its name was the dead gateway's, its membership still of the one before."""
    await redis.open()
    await come("s1", "alice", "G1")
    await come("s1", "alice", "G2", joins=False)
    await redis.bury("G1")
    assert await ours.reap_the_silent() == ["G2"]
    assert await lefts(redis) == ["alice"]
    assert (await redis.members(), await held(redis)) == ({}, [])
    assert await counts(redis) == {}


async def test_who_went_on_from_a_dead_gateway_stays(redis, ours, come):
    """Promise 6: nobody living is ever said to have left."""
    await redis.open()
    await come("s1", "alice", "G1")
    await come("s2", "bob", "G1")
    newer = await come("s1", "alice", "G4")
    assert await ours.reap_the_silent() == ["G1", "G2"]
    assert await lefts(redis) == ["bob"]
    assert await redis.members() == {"s1": f"G4 {newer.generation} alice"}
    assert await held(redis) == ["alice"]


async def test_a_name_that_was_left_over_ends_nobody_who_went_on(redis, ours, come):
    """publish.lua: the newer membership is not ended by an older holder of a name."""
    await redis.open()
    old = await come("s1", "alice", "G1")
    second = ("claim", "al", "s1", old.generation, "lobby", "al")
    await redis.registry(second)
    newer = await come("s1", "alice", "G4")
    assert await ours.reap_the_silent() == ["G1", "G2"]
    assert await lefts(redis) == []
    assert await redis.members() == {"s1": f"G4 {newer.generation} alice"}
    assert await held(redis) == ["al"]


async def test_what_somebody_else_wrote_among_the_members_keeps_nobody_else(redis, ours, come):
    """Promise 6; the names of those who were there are freed, too."""
    await redis.open()
    await come("s1", "alice", "G1")
    await redis.registry(("claim", "bob", "s2", 0, "tea", "bob"), gateway="G1")
    await redis.client.set(redis.keys.room("tea")[3], "something else")
    await redis.claim("carol", "s3", gateway="G1")
    await redis.client.hset(redis.keys.names, "carol", "something else")
    assert await ours.reap_the_silent() == ["G1", "G2"]
    assert await lefts(redis) == ["alice"]
    assert await held(redis) == ["carol"]


async def test_reaping_ends_though_redis_py_swallows_a_cancellation():
    """python/cpython#86296: else a gateway that is told to end never does."""

    async def job():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()

    reaping = asyncio.create_task(_repeat(job))
    await asyncio.sleep(0)
    reaping.cancel()
    done, _ = await asyncio.wait((reaping,), timeout=5)
    assert done
    assert reaping.cancelled()


async def test_a_room_that_takes_nothing_keeps_no_other_gateway_s_people(redis, ours, come):
    """Promise 6: each dead gateway is reaped whatever becomes of another one."""
    await redis.open()
    await come("s1", "alice", "G1")
    await come("s2", "bob", "G2")
    answer = await redis.registry(("claim", "carol", "s3", 0, "tea", "carol"), gateway="G1")
    tea = redis.keys.room("tea")
    await redis.client.hset(tea[3], "s3", f"G1 {answer[0].split()[1]} carol")
    await redis.client.set(tea[0], "something else")
    buried, bury = asyncio.Queue(), ours.registry.bury

    async def bury_and_tell(gateway, **how):
        await bury(gateway, **how)
        buried.put_nowait(gateway)

    ours.registry.bury = bury_and_tell
    reaping = asyncio.create_task(ours.reaper.run_forever())
    for gateway in await redis.beat_for(CONFIG.dead_ticks, "G3", "G4"):
        ours.reaper.reap(gateway)
    assert await buried.get() == "G2"
    assert await held(redis) == ["alice", "carol"]
    assert sorted(await lefts(redis)) == ["alice", "bob"]
    reaping.cancel()
    await asyncio.wait((reaping,))


@pytest.mark.parametrize("frees", [True, False])
async def test_after_a_single_ghost_was_ended_its_room_is_counted(redis, ours, come, frees):
    """DESIGN 4: /rooms; perhaps no gateway serves the room any more, and so none counts it."""
    await redis.open()
    await come("s1", "alice", "G1")
    bob = await come("s2", "bob", "G2")
    done = asyncio.Event()
    ghost = Ghost("bob", Holder("G2", "s2", bob.generation), "lobby", "bob")
    (ours.reaper.evict if frees else ours.reaper.end)(ghost, done.set)
    await done.wait()
    await ours.reaper.count_one()
    await ours.registry.drained()
    assert await lefts(redis) == ["bob"]
    assert await held(redis) == (["alice"] if frees else ["alice", "bob"])
    assert await counts(redis) == {"lobby": 1}
