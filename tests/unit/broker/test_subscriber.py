"""How much of a subscription is read at once, on a Redis that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from gateway.broker.subscriber import Subscriber
from gateway.config import Config

FOR_EVER_S = 3600.0
CHANNEL = "news"
A_MOMENT_S = 0.05
"""In which what is not to be read would be."""


def message(payload):
    return b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%b\r\n" % (len(payload), payload)


class Stage:
    """A subscriber, what it read at a time, and its Redis's side."""

    def __init__(self, *, people, pause_s=FOR_EVER_S):
        self.reads = asyncio.Queue()
        self._read = []
        self._pause_s = pause_s
        self._people = people
        self._connections = asyncio.Queue()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._subscriber = Subscriber(
            Config(
                redis_url=f"redis://127.0.0.1:{port}",
                listen_pause_s=self._pause_s,
                listen_pause_person_s=FOR_EVER_S,
                listen_enough=5,
            ),
            on_message=lambda _channel, payload: self._read.append(payload),
            on_batch=self._batch,
            on_subscribed=lambda _channel: None,
            people=lambda: self._people,
        )
        self._subscriber.subscribe([CHANNEL])
        self._task = asyncio.create_task(self._subscriber.run_forever())
        self._writer = await self._connections.get()
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        self._server.close()

    async def _serve(self, reader, writer):
        await reader.readuntil(b"news\r\n")
        self._connections.put_nowait(writer)

    def _batch(self):
        read, self._read = self._read, []
        if read:
            self.reads.put_nowait(b" ".join(read))
        return len(read)

    async def reconnect(self):
        self._writer.close()
        self._writer = await self._connections.get()

    def publish(self, *payloads):
        self._writer.write(b"".join(map(message, payloads)))

    async def moment(self):
        await asyncio.sleep(A_MOMENT_S)
        assert self.reads.empty()


async def test_what_comes_soon_after_a_read_is_read_together():
    """DESIGN 3: the first event at once; under load one flush every few milliseconds."""
    async with Stage(people=1000, pause_s=0.2) as redis:
        redis.publish(b"one")
        assert await redis.reads.get() == b"one"
        redis.publish(b"two")
        await redis.moment()
        redis.publish(b"three")
        assert await redis.reads.get() == b"two three"


@pytest.mark.skipif(sys.platform != "linux", reason="SO_RCVLOWAT counts only there for sure")
async def test_a_pause_ends_when_much_has_come():
    async with Stage(people=1000) as redis:
        redis.publish(b"one")
        assert await redis.reads.get() == b"one"
        redis.publish(b"two")
        await redis.moment()
        redis.publish(b"x" * 9000)
        assert (await redis.reads.get()).startswith(b"two x")


async def test_after_many_events_there_is_no_pause():
    async with Stage(people=1000) as redis:
        redis.publish(b"1", b"2", b"3", b"4", b"5")
        assert await redis.reads.get() == b"1 2 3 4 5"
        redis.publish(b"six")
        assert await redis.reads.get() == b"six"


async def test_for_nobody_there_is_no_pause():
    async with Stage(people=0) as redis:
        for word in (b"one", b"two"):
            redis.publish(word)
            assert await redis.reads.get() == word


async def test_a_pause_is_over_when_the_connection_is():
    async with Stage(people=1000) as redis:
        redis.publish(b"one")
        assert await redis.reads.get() == b"one"
        await redis.reconnect()
        redis.publish(b"two")
        assert await redis.reads.get() == b"two"


async def test_what_is_no_redis_is_given_up_and_no_pause_begins():
    async with Stage(people=1000) as redis:
        redis._writer.write(message(b"one") + b"nonsense\r\n")
        assert await redis.reads.get() == b"one"
        given_up, redis._writer = redis._writer, await redis._connections.get()
        given_up.close()
        redis.publish(b"two")
        assert await redis.reads.get() == b"two"
