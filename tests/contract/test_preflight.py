"""What a Redis must be, asked of real ones that are not: one line says which setting is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from processes import RealRedis, free_port

from gateway.broker.calls import Caller, connect
from gateway.broker.keys import Keys
from gateway.broker.preflight import wait_for_redis
from gateway.config import Config, SettingsError

KEYS = Keys("chat")
ALL = ("on", "nopass", "~chat*", "&chat*", "+@all")

Start = Callable[..., Awaitable[RealRedis]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[RealRedis] = []

    async def start(*options: str) -> RealRedis:
        servers.append(RealRedis(*options))
        return await servers[-1].start()

    yield start
    for server in servers:
        server.close()


async def check(redis: RealRedis, user: str = "") -> None:
    client = connect(Config(redis_url=redis.url.replace("//", f"//{user}") if user else redis.url))
    try:
        async with asyncio.timeout(5):
            await wait_for_redis(client, Caller(client), KEYS)
    finally:
        await client.aclose()


async def refusal(redis: RealRedis, user: str = "") -> str:
    with pytest.raises(SettingsError) as refused:
        await check(redis, user)
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_one_that_would_evict_is_refused(start, policy):
    """preflight: memberships and names have no copy elsewhere."""
    text = await refusal(await start("--maxmemory", "100mb", "--maxmemory-policy", policy))
    assert f"maxmemory-policy {policy}" in text
    assert "noeviction" in text


@pytest.mark.parametrize(
    "options",
    [(), ("--maxmemory", "100mb"), ("--maxmemory-policy", "allkeys-lru")],
    ids=["as it is", "bounded", "unbounded"],
)
async def test_one_that_never_evicts_is_taken(start, options):
    """preflight: without maxmemory the policy is none."""
    redis = await start(*options)
    await check(redis)
    assert redis.cli("DBSIZE") == 0, "it wrote something"


async def test_a_cluster_is_refused(start):
    """DESIGN 3: rooms can later be spread over a cluster; not yet."""
    # Else the bus would be 10,000 above the port, where there may be none.
    flags = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert "cluster-enabled yes" in await refusal(await start(*flags))


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (("-evalsha",), "evalsha"),
        (("-script",), "script"),
        (("-publish",), "publish"),
        (("resetchannels",), "channel"),
        (("resetkeys",), "key"),
        (("-info",), "info"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_user_who_may_not_do_it_is_refused(start, rule, named):
    """preflight: what everything else is made of."""
    redis = await start()
    redis.cli("ACL", "SETUSER", "gateway", *ALL)
    await check(redis, "gateway:any@")
    redis.cli("ACL", "SETUSER", "gateway", *rule)
    text = await refusal(redis, "gateway:any@")
    assert "ACL SETUSER" in text
    assert named in text.lower()


async def test_a_wrong_password_is_refused(start):
    """preflight: waiting would not help."""
    redis = await start()
    redis.cli("ACL", "SETUSER", "gateway", *ALL, "resetpass", ">right")
    assert "--redis-url" in await refusal(redis, "gateway:wrong@")
    assert "--redis-url" in await refusal(redis, "nobody:right@")
    await check(redis, "gateway:right@")
