"""One way to ask Redis: a pipeline of script calls, answered in time or not at all.

Nothing here tries again by itself.  Whether a call may be repeated is known
only to who makes it; redis-py's own retries would publish twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import hiredis
import msgspec
import redis.asyncio as redis_asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Unreachable = (RedisError, OSError, TimeoutError)
"""What a call raises when Redis did not answer: it may have done the work or not."""


class NotSent(RedisConnectionError):
    """No connection could be had: nothing of the calls was written, and none of them can run.

    Refused, timed out, not let in, or still loading its file when the connection was made.
    One of ``Unreachable``.
    """


_ANSWERS = (ResponseError, BusyLoadingError, AuthenticationError)
"""What Redis answers instead of running a command; to redis-py some are lost connections."""


@dataclass(frozen=True, slots=True)
class Script:
    """One of ``scripts/*.lua``; its first lines say what it takes and returns."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        text = resources.files(__package__).joinpath("scripts", f"{name}.lua").read_text("utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH = Script.load("publish")
SYNC = Script.load("sync")
REGISTRY = Script.load("registry")
BEAT = Script.load("beat")
BURY = Script.load("bury")
SCRIPTS = (PUBLISH, SYNC, REGISTRY, BEAT, BURY)


class Call(msgspec.Struct, frozen=True):
    """A script, its keys and its other arguments."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]


def of_wrong_type(reply: object) -> bool:
    """Whether Redis answered that a key is of another type: somebody else wrote it."""
    # What a script raised is quoted by servers older than 7.
    return isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)


def from_replica(reply: object) -> bool:
    """Whether Redis answered that it did nothing, since it is a replica (by now)."""
    if isinstance(reply, ReadOnlyError | MasterDownError):
        return True
    # What a script raised is quoted by servers older than 7.
    return isinstance(reply, ResponseError) and "-READONLY " in str(reply)


class Caller:
    """Calls scripts over connections that it keeps, one for each call that is under way.

    They are the client's, but taken from its pool once and not for each call: that, and the
    two time-outs that redis-py has for each of them, cost more than the call.
    """

    def __init__(self, client: redis_asyncio.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._limit_s: float | None = self._pool.connection_kwargs.get("socket_timeout")
        self._idle: list[Any] = []

    async def reach(self) -> None:
        """Return when a connection is there for the next call.  Raises ``NotSent``."""
        if not self._idle:
            with cancellable():
                self._idle.append(await self._connect())

    async def call(self, calls: Sequence[Call]) -> list[Any]:
        """Make all ``calls`` in one pipeline; their replies, or the errors Redis answered.

        Raises one of ``Unreachable`` if they were not all answered in time; ``NotSent`` if
        Redis can't have got any of them.  An error that Redis answered says that the call
        was not run.  Scripts that Redis does not know (any more) are loaded and called again.
        """
        try:
            with cancellable():
                replies = await self._call(calls)
        except Unreachable:
            # The other connections are as suspect: each would cost a time-out of its own.
            await self._part_with_idle()
            raise
        if any(isinstance(reply, AuthenticationError) or from_replica(reply) for reply in replies):
            # New connections may be let in, or lead to the primary.  One that is in use now must
            # not be used again either: a replica still answers those who only read.
            await self._pool.update_active_connections_for_reconnect()
            await self._part_with_idle()
        return replies

    async def _call(self, calls: Sequence[Call]) -> list[Any]:
        replies = await self._pipeline([_packed(one) for one in calls])
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            scripts = {calls[i].script for i in unknown}
            loads = [_pack("SCRIPT", "LOAD", script.text) for script in scripts]
            try:
                again = await self._pipeline(loads + [_packed(calls[i]) for i in unknown])
            except NotSent:
                return replies  # the others have run
            for i, reply in zip(unknown, again[len(loads) :], strict=True):
                replies[i] = reply
        return replies

    async def _pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Without redis-py's own pipeline, whose packing and retry machinery cost as much again."""
        connection = await self._connection()
        answered = False
        try:
            async with asyncio.timeout(self._limit_s):
                await connection.send_packed_command(b"".join(commands), check_health=False)
                replies = [await _reply(connection) for _ in commands]
            answered = True
        except TimeoutError as error:
            raise RedisTimeoutError(f"no answer for {self._limit_s:g} s") from error
        finally:
            # What is still to come must not answer the next call.
            if answered and not connection.should_reconnect():
                self._idle.append(connection)
            else:
                await self._part_with(connection)
        return replies

    async def _connection(self) -> Any:
        """One that is there and was not closed meanwhile, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            with contextlib.suppress(OSError, RedisError):
                if not await connection.can_read():
                    return connection
            await self._part_with(connection)
        return await self._connect()

    async def _connect(self) -> Any:
        """A new one.  Raises ``NotSent``."""
        try:
            connection = await self._pool.get_connection()
        except Unreachable as error:
            raise NotSent(str(error) or type(error).__name__) from error
        connection.socket_timeout = None  # ours is for the whole pipeline
        return connection

    async def _part_with_idle(self) -> None:
        while self._idle:
            await self._part_with(self._idle.pop())
        await self._pool.disconnect(inuse_connections=False)

    async def _part_with(self, connection: Any) -> None:
        """Give a connection back to the pool, to be made anew by who uses it next."""
        connection.socket_timeout = self._limit_s
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Raise the ``CancelledError`` that came in between and was swallowed.

    Below Python 3.12 ``asyncio.wait_for``, with which redis-py greets a server, can do that
    (python/cpython#86296); and then a task that repeats its calls never ends.
    """
    task = asyncio.current_task()
    assert task
    before = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except _ANSWERS as error:
        return error


def _packed(one: Call) -> bytes:
    return _pack("EVALSHA", one.script.sha, len(one.keys), *one.keys, *one.args)


def _pack(*words: str | bytes | int) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # wrong stub
    return packed
