"""Whether a Redis can keep what is promised: asked once, at the start.

What can't work is an error that names the setting; a Redis that is not there
yet is waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from gateway.broker.backoff import Backoff
from gateway.broker.calls import SCRIPTS, SYNC, Call, Caller, Unreachable
from gateway.broker.keys import Keys
from gateway.config import Config, SettingsError
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_OLDEST = (6, 2)
"""Valkey reports the version of Redis that it is compatible with, 7.2 or newer."""


async def wait_for_redis(client: Redis, caller: Caller, keys: Keys, config: Config) -> None:
    """Return when Redis answered and is fit.  Says once per change why it does not answer.

    Raises ``SettingsError`` if it answers and can't be used.
    """
    backoff = Backoff()
    said = ""
    while True:
        try:
            await _check(client, caller, keys)
            return
        except (AuthenticationError, AuthorizationError) as error:
            file = " and --redis-password-file" if config.redis_password_file else ""
            raise SettingsError(
                f"Redis refuses the user or password of --redis-url{file}: {error}"
            ) from None
        except Unreachable as error:
            why = str(error) or type(error).__name__
            if why != said:
                log.warning("redis unreachable, trying on", error=why)
                said = why
            await asyncio.sleep(backoff.next_s())


async def _check(client: Redis, caller: Caller, keys: Keys) -> None:
    try:
        info: dict[str, Any] = await client.info()
        _check_settings(info)
        await _check_permissions(client, caller, keys)
    except NoPermissionError as error:
        raise SettingsError(f"Redis refuses this user (ACL SETUSER): {error}") from None
    except ResponseError as error:
        if "DB index" not in str(error):
            raise
        raise SettingsError(f"Redis has no such database as in --redis-url: {error}") from None


def _check_settings(info: dict[str, Any]) -> None:
    version = tuple(map(int, str(info.get("redis_version", "0.0")).split(".")[:2]))
    if version < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise SettingsError(f"Redis {info.get('redis_version')} is too old: {wanted} or newer")
    if info.get("cluster_enabled"):
        raise SettingsError(
            "Redis runs as a cluster (cluster-enabled yes), which is not supported: use one primary"
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if info.get("maxmemory") and policy != "noeviction":
        # All keys of the chat expire, so the volatile-* policies would evict them, too.
        raise SettingsError(
            f"Redis would evict keys of the chat (maxmemory-policy {policy}): set it to noeviction"
        )


async def _check_permissions(client: Redis, caller: Caller, keys: Keys) -> None:
    """Load the scripts, read with one of them, publish: what everything else is made of."""
    for script in SCRIPTS:
        await client.script_load(script.text)
    # Knows no log and makes none: nothing is written.
    (reply,) = await caller.call([Call(SYNC, keys.room("@"), ("", 0, 0, 0, 60, "", "0"))])
    if isinstance(reply, ResponseError):
        raise NoPermissionError(str(reply)) if "permission" in str(reply).lower() else reply
    if isinstance(reply, RedisError):
        raise reply
    await client.publish(keys.channel("@"), b"")
