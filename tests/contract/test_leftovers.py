"""What is left in Redis when gateways have come and gone."""

import asyncio

from gateway.config import Config

ROOMS = [f"room{number}" for number in range(10)]


class Gateway:
    """A gateway with one person, who speaks once."""

    def __init__(self, redis, number):
        self.id = f"G{number}"
        self._redis, self._room = redis, ROOMS[number % 10]
        self._member = redis.member(f"s{number}", gateway=self.id, name=f"name{number}")

    async def live_and_vanish(self):
        await self._redis.beat(self.id)
        member = self._member
        answer = await self._redis.claim(member.name, member.session, gateway=self.id)
        self._member = member = member._replace(generation=int(answer.split()[1]))
        says = (member.joins(), member.says(ref=1))
        await self._redis.publish(*says, room=self._room, gateway=self.id)

    async def is_reaped(self):
        """By G0, in the order of the reaper: its membership, its name, its lease."""
        member = self._member
        await self._redis.publish(member.leaves(), room=self._room, gateway="G0")
        await self._redis.release(member.name, member.session, member.generation, gateway=self.id)
        await self._redis.bury(self.id)


async def test_after_a_thousand_gateways_came_and_went_redis_holds_what_it_held(redis):
    """Issue 3: Redis memory is bounded; what a dead gateway can leave behind expires."""
    asyncio.get_running_loop().set_debug(False)  # thousands of calls
    await redis.beat("G0")
    for room in ROOMS:
        await redis.open(room)
    vanished = {}
    for number in range(1, 1001):
        gateway = vanished[f"G{number}"] = Gateway(redis, number)
        await gateway.live_and_vanish()
        if number % 100 == 0:
            for dead in await redis.beat_for(Config().dead_ticks, "G0"):
                await vanished.pop(dead).is_reaped()
    assert vanished == {}
    ttls = await redis.ttls()
    assert [key for key, ttl in ttls.items() if ttl < 0] == []
    lasting = {key for key in ttls if ":refs:" not in key}
    # Of the registry clock, beats and gateways, and of each room meta, log and history.
    assert len(lasting) == 3 + 3 * len(ROOMS)
    assert max(ttl for key, ttl in ttls.items() if key not in lasting) <= 600
    assert await redis.client.zrange(redis.keys.beats, 0, -1) == [b"G0"]
    assert await redis.client.hkeys(redis.keys.gateways) == [b"G0"]


async def test_what_the_last_gateway_leaves_behind_expires(redis):
    """Issue 3: expiry on everything that a dead gateway can leave behind; nobody reaps this one."""
    await redis.open(ROOMS[1])
    await Gateway(redis, 1).live_and_vanish()
    await redis.registry(("people", "", "", 1, ROOMS[1], ""))
    assert [key for key, ttl in (await redis.ttls()).items() if ttl < 0] == []
