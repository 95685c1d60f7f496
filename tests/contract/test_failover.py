"""A primary that became a replica: what it refused was not done, and goes to the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from processes import RealRedis, eventually
from proxy import FaultyProxy
from redis.exceptions import ReadOnlyError

from gateway.broker.calls import Caller
from gateway.broker.clock import RedisClock
from gateway.broker.dial import connect
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.presence import Presence
from gateway.broker.publisher import Publisher
from gateway.broker.registry import Registry
from gateway.broker.subscriber import Subscriber
from gateway.chat.events import Message
from gateway.config import Config

KEYS = Keys("test")
NOBODY = ("127.0.0.1", 1)


class Cluster:
    """Two primaries, and an address that leads to the first one, until ``fail_over``."""

    def __init__(self) -> None:
        self.old, self.new = RealRedis(), RealRedis()
        self.proxy = FaultyProxy(self.old.port)

    async def start(self, stack: AsyncExitStack) -> Cluster:
        for server in (self.old, self.new):
            stack.callback(server.close)
            await server.start()
        await self.proxy.start()
        stack.push_async_callback(self.proxy.close)
        return self

    def fail_over(self) -> None:
        """Connections that are open stay where they are."""
        self.old.cli("REPLICAOF", *NOBODY)
        self.proxy.target_port = self.new.port


async def end(task: asyncio.Task[None]) -> None:
    """redis-py, on Python 3.11, can swallow a ``cancel()`` that comes as a call completes."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=0.1)


class Presences:
    """G1's presence with its subscription, running."""

    def __init__(self, url: str, **settings: float) -> None:
        config = Config(redis_url=url, beat_s=0.05, **settings)
        self.client, self.clock = connect(config), RedisClock()
        self.time_when_ready: float | None = None
        self.beats = 0
        self.went_away: list[str] = []
        self.subscriber = Subscriber(
            config,
            on_message=lambda channel, payload: self.presence.probe_came_back(),
            on_batch=lambda: 0,
            on_subscribed=lambda channel: self.presence.subscribed(),
        )
        self.subscriber.subscribe([KEYS.probes("G1")])
        self.presence = Presence(
            Caller(self.client),
            KEYS,
            config,
            "G1",
            self.clock,
            describe=self.describe,
            on_ready=self.told_ready,
            on_away=lambda error: self.went_away.append(error),
            on_lease_anew=lambda: None,
            on_dead=lambda gateway: None,
            on_unproven=lambda: self.subscriber.rebuild("unproven"),
        )

    def describe(self) -> str:
        self.beats += 1
        return ""

    def told_ready(self) -> None:
        self.time_when_ready = self.clock.now_s()

    async def run(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self.client.aclose)
        for service in (self.subscriber.run_forever(), self.presence.run_forever()):
            task = asyncio.create_task(service)
            stack.push_async_callback(end, task)
        await eventually(lambda: self.presence.ready, 5, "ready")


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest_asyncio.fixture
async def cluster(stack) -> Cluster:
    return await Cluster().start(stack)


def subscribers(server):
    return server.cli("PUBSUB", "NUMSUB", KEYS.probes("G1"))[1]


async def test_the_subscription_follows_to_the_new_primary(cluster, stack):
    """Promise 3; no probe is waited for: what is published there in between is missed."""
    ours = Presences(cluster.proxy.url, probe_timeout_s=60.0)
    await ours.run(stack)
    cluster.fail_over()
    await eventually(lambda: subscribers(cluster.new), 5, "subscribed to the new primary")
    assert subscribers(cluster.old) == 0
    assert cluster.new.cli("ZRANGE", KEYS.beats, 0, -1) == ["G1"]


async def test_who_is_ready_knows_rediss_time(cluster, stack):
    """vitals: lateness is told in it, from the first delivery on."""
    ours = Presences(cluster.old.url)
    await ours.run(stack)
    seconds, _ = cluster.old.cli("TIME")
    assert ours.time_when_ready == pytest.approx(int(seconds), abs=30)


async def test_beats_that_were_hurried_put_off_no_other(cluster, stack):
    """Promise 6: a gateway whose subscription is made anew again and again is alive."""
    ours = Presences(cluster.old.url)
    await ours.run(stack)
    for _ in range(60):  # a beat each; one after the other they would last for 3 s
        before = ours.beats
        ours.presence.subscribed()
        await eventually(lambda before=before: ours.beats > before, 5, "a beat")
    before = ours.beats
    await eventually(lambda: ours.beats > before + 1, 1, "the beats after them")


async def test_a_subscription_that_is_held_is_not_taken_for_a_dead_one(cluster, stack):
    """hub: what was taken is to be delivered first; meanwhile no probe is read."""
    ours = Presences(cluster.old.url, probe_timeout_s=0.3)
    await ours.run(stack)
    for held in (True, False):
        ours.subscriber.hold(held)
        ours.presence.hold(held)
        enough = ours.beats + 12  # at 0.05 s or more: well over the time-out
        await eventually(lambda enough=enough: ours.beats >= enough, 10, "beats")
        assert ours.presence.ready
    assert (ours.subscriber.rebuilt, ours.went_away) == (0, [])
    ours.subscriber.hold(True)
    await eventually(lambda: ours.went_away, 5, "away")


async def test_a_subscription_that_stayed_behind_unnoticed_is_made_anew(cluster, stack):
    """DESIGN 3: liveness is proven end to end: a failover that kept pub/sub connections alive."""
    ours = Presences(cluster.proxy.url, probe_timeout_s=0.5)
    await ours.run(stack)
    cluster.proxy.target_port = cluster.new.port
    cluster.old.cli("CLIENT", "KILL", "TYPE", "normal")
    await eventually(lambda: subscribers(cluster.new), 5, "subscribed to the new primary")
    await eventually(lambda: ours.presence.ready, 5, "ready again")


@asynccontextmanager
async def demoted(client):
    """Its server is a replica meanwhile."""
    await client.execute_command("REPLICAOF", *NOBODY)
    try:
        yield
    finally:
        await client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)
async def test_what_a_replica_refused_was_not_said_and_is_said_later_once(redis, alice):
    """calls: it did nothing; so past the deadline "not delivered" would be true."""
    told = []
    ours = Publisher(redis.caller, redis.keys, Config(), "G3", lambda room: None)
    ours.serve("lobby", await redis.open("lobby", alice), [])
    holder = Holder("G1", "s1", 1)
    for text in ("one", "two"):
        event = Message("s1", "alice", text)
        ours.submit(Operation("lobby", holder, event, lambda *how: told.append(how)))
        async with demoted(redis.client):
            await ours.run_once()
        assert told == []
        if text == "one":
            ours.outbox.expire(asyncio.get_running_loop().time() + 60)
            assert told.pop() == (Outcome.NOT_DELIVERED, 0)
            ours.outbox.try_again("lobby")
    ours.outbox.try_again("lobby")
    assert await ours.run_once()
    assert told == [(Outcome.CONFIRMED, 1)]
    assert len(await redis.log()) == 1


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)
async def test_a_lease_that_a_replica_can_t_end_is_not_taken_for_ended(redis):
    """server: a drain is complete when everything is freed."""
    registry = Registry(redis.caller, redis.keys, Config(), "G1", on_forgone=lambda ghost: None)
    await redis.beat("G1")
    async with demoted(redis.client):
        with pytest.raises(ReadOnlyError):
            await registry.bury("G1")
    await registry.bury("G1")
    assert await redis.client.exists(redis.keys.beats) == 0
