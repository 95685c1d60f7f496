"""What a Redis must be, asked of real ones that are not: one line says which setting is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from processes import RealRedis, free_port

from gateway.broker.calls import Caller
from gateway.broker.dial import connect
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


async def check(redis: RealRedis, user: str = "", **settings: str) -> None:
    url = redis.url.replace("//", f"//{user}") if user else redis.url
    config = Config(**{"redis_url": url, **settings})
    client = connect(config)
    try:
        async with asyncio.timeout(5):
            await wait_for_redis(client, Caller(client), KEYS, config)
    finally:
        await client.aclose()


async def refusal(redis: RealRedis, user: str = "", **settings: str) -> str:
    with pytest.raises(SettingsError) as refused:
        await check(redis, user, **settings)
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


async def test_a_wrong_password_is_blamed_on_where_it_is_from(start, tmp_path, caplog):
    """preflight: one line that says what to mend; the file is read quietly at each connection."""
    redis = await start()
    redis.cli("ACL", "SETUSER", "gateway", *ALL, "resetpass", ">right")
    file = tmp_path / "password"
    file.write_text("wrong\n")
    text = await refusal(redis, "gateway@", redis_password_file=str(file))
    assert "--redis-password-file" in text
    file.write_text("right\n")
    await check(redis, "gateway@", redis_password_file=str(file))
    assert not caplog.records, "redis-py complains of how it is read"


async def test_a_database_that_there_is_not_is_refused(start):
    """preflight: waiting would not help."""
    redis = await start()
    text = await refusal(redis, redis_url=f"redis://127.0.0.1:{redis.port}/99")
    assert "--redis-url" in text
    assert "DB index" in text
