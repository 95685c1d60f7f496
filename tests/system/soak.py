"""Faults while a crowd talks; as a program, at random for as long as one likes.

    python tests/system/soak.py --seconds 300 --seed 7

prints the schedule of faults that the seed makes, breaks things by it, and
exits with 1 if anything was lost, doubled, reordered, disagreed on or made up.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import soaking
from cluster import Cluster
from crowd import RATES, Crowd
from processes import GatewayProcess, RealRedis, fault_lasts
from proxy import FaultyProxy

GATEWAYS = 3
PEOPLE_ON_EACH = 10
LONG_LINE = "x" * 3900
CUT = "output buffer limits"
"""What Redis logs of a client that it cut because too much waited for it."""


class Storm:
    """A cluster whose gateway 0 reaches Redis by a proxy, and a talking crowd on it."""

    def __init__(self, cluster: Cluster, proxy: FaultyProxy, crowd: Crowd) -> None:
        self.cluster = cluster
        self.redis = cluster.redis
        self.proxy = proxy
        self.crowd = crowd

    @classmethod
    async def start(cls, seed: int = 0) -> Storm:
        redis = await RealRedis(*RealRedis.DURABLE).start()
        proxy = await FaultyProxy(redis.port).start()
        storm = cls(Cluster(redis, RATES), proxy, Crowd(PEOPLE_ON_EACH, seed))
        try:
            await storm.cluster.grow(GATEWAYS, detour=proxy.url)
            await storm.crowd.gather(*storm.cluster.gateways)
        except BaseException:
            await storm.crowd.close()
            await proxy.close()
            raise
        return storm

    async def close(self) -> None:
        await self.crowd.close()
        await self.cluster.close()
        await self.proxy.close()


# Each fault breaks something, for about so many seconds, and mends it.

SURELY_NOT_DEAD_S = 5
"""Cut off for longer, and slow to come back, a gateway may be silent for 10 s: taken for dead."""


def may_be_reaped(storm: Storm, gateway: GatewayProcess) -> None:
    for talker in storm.crowd.of(gateway):
        talker.record.reaped = True


async def pubsub_connections_killed(storm: Storm, seconds: float) -> None:
    killed = 0
    for _ in range(int(seconds / 0.2)):
        killed += storm.redis.cli("client", "kill", "type", "pubsub")
        await fault_lasts(0.2)
    assert killed >= GATEWAYS, "there was nothing to kill"


async def all_connections_killed(storm: Storm, seconds: float) -> None:
    killed = 0
    for _ in range(int(seconds / 0.4)):
        killed += storm.redis.cli("client", "kill", "type", "normal")
        killed += storm.redis.cli("client", "kill", "type", "pubsub")
        await fault_lasts(0.4)
    assert killed >= 2 * GATEWAYS, "there was nothing to kill"


async def redis_stopped(storm: Storm, seconds: float) -> None:
    storm.redis.stop()
    await fault_lasts(seconds)
    storm.redis.cont()


async def redis_killed_and_restarted(storm: Storm, seconds: float) -> None:
    storm.redis.kill()
    await fault_lasts(seconds / 2)
    await storm.redis.restart()
    await fault_lasts(seconds / 2)
    await storm.redis.restart()


async def one_way_to_redis_blackholed(storm: Storm, seconds: float) -> None:
    if seconds > SURELY_NOT_DEAD_S:
        may_be_reaped(storm, storm.cluster.gateways[0])
    storm.proxy.blackhole()
    await fault_lasts(seconds)
    storm.proxy.heal()


async def answers_of_redis_swallowed(storm: Storm, seconds: float) -> None:
    if seconds > SURELY_NOT_DEAD_S:
        may_be_reaped(storm, storm.cluster.gateways[0])
    storm.proxy.blackhole(requests=False)
    await fault_lasts(seconds)
    storm.proxy.heal()


async def answers_of_redis_late(storm: Storm, seconds: float) -> None:
    """Past the read timeout, after the commands took effect."""
    if seconds > SURELY_NOT_DEAD_S:
        may_be_reaped(storm, storm.cluster.gateways[0])
    storm.proxy.delay_answers(4)
    await fault_lasts(seconds)
    storm.proxy.heal()


async def connections_to_redis_dropped(storm: Storm, seconds: float) -> None:
    for _ in range(int(seconds / 0.5)):
        await storm.proxy.drop_all()
        await fault_lasts(0.5)


async def subscriber_cut_by_its_output_buffer(storm: Storm, seconds: float) -> None:
    """One gateway takes nothing until Redis has cut it; ``seconds`` bound that."""
    storm.redis.cli("config", "set", "client-output-buffer-limit", "pubsub 256kb 256kb 0")
    victim = storm.cluster.gateways[-1]
    hit = (victim, storm.cluster.gateways[0])  # the latter may still mend from another fault
    reader, *speakers = [talker for talker in storm.crowd.there() if talker.gateway not in hit]
    place = len(reader.person.lines)
    cuts = storm.redis.log.count(CUT)
    deadline = time.monotonic() + seconds
    victim.stop()
    try:
        while storm.redis.log.count(CUT) == cuts:
            assert time.monotonic() < deadline, "Redis has not cut the stopped gateway"
            lines = [await speaker.say(LONG_LINE) for speaker in speakers]
            await reader.person.until(
                lambda: lines[-1] in reader.person.lines[place:],  # noqa: B023
                10,
                "the long lines",
            )
    finally:
        victim.cont()
        storm.redis.cli("config", "set", "client-output-buffer-limit", "pubsub 32mb 8mb 60")


async def gateway_killed(storm: Storm, seconds: float) -> None:
    """And replaced by another with people of its own."""
    victim = storm.cluster.gateways[-1]
    for talker in storm.crowd.of(victim):
        talker.ends("died")
    victim.kill()
    fresh = await storm.cluster.launch().wait_ready()
    await storm.crowd.gather(fresh)
    await fault_lasts(seconds)


async def gateway_stopped(storm: Storm, seconds: float) -> None:
    """For so long that the others take it for dead; then it goes on."""
    victim = storm.cluster.gateways[-1]
    may_be_reaped(storm, victim)
    victim.stop()
    await fault_lasts(seconds)
    victim.cont()


Fault = Callable[[Storm, float], Awaitable[None]]

FAULTS: dict[Fault, tuple[float, float]] = {
    pubsub_connections_killed: (2, 10),
    all_connections_killed: (2, 10),
    redis_stopped: (1, 15),
    redis_killed_and_restarted: (1, 8),
    one_way_to_redis_blackholed: (1, 20),
    answers_of_redis_swallowed: (1, 20),
    answers_of_redis_late: (5, 20),
    connections_to_redis_dropped: (1, 6),
    subscriber_cut_by_its_output_buffer: (9, 9),
    gateway_killed: (1, 15),
    gateway_stopped: (15, 30),
}
"""Every fault, and how many seconds it may take: the least and the most."""

Schedule = Sequence[tuple[Fault, float, float]]


def schedule(seconds: float, seed: int) -> Schedule:
    """Faults, how long each lasts and how long all is well before it; the same for a seed."""
    chance = random.Random(seed)
    planned, total = [], 0.0
    while total < seconds:
        fault = chance.choice(list(FAULTS))
        calm_s, fault_s = round(chance.uniform(0, 3), 1), round(chance.uniform(*FAULTS[fault]), 1)
        planned.append((fault, calm_s, fault_s))
        total += calm_s + fault_s
    return planned


async def soak(seconds: float, seed: int) -> bool:
    """Whether nothing was found."""
    planned = schedule(seconds, seed)
    for number, (fault, calm_s, fault_s) in enumerate(planned):
        print(f"{number:4}  {calm_s:4} s calm, {fault_s:4} s {fault.__name__}", flush=True)
    storm = await Storm.start(seed)
    began = time.monotonic()
    try:
        with soaking.judged() as verdict:
            for number, (fault, calm_s, fault_s) in enumerate(planned):
                await fault_lasts(calm_s)
                at_s = time.monotonic() - began
                print(f"{at_s:6.1f} s  {number:4} {fault.__name__}", flush=True)
                await fault(storm, fault_s)
            await storm.crowd.settle()
            said = sum(len(talker.record.sent) for talker in storm.crowd.talkers)
            summary = f"seed {seed}: {len(storm.crowd.talkers)} people said {said} lines"
            verdict.tell(summary, storm.crowd.findings(), storm.cluster.blemishes())
    finally:
        await storm.close()
    return verdict.good


if __name__ == "__main__":
    sys.exit(soaking.main(soak, __doc__, seconds=300))
