"""When a publisher tells what, while Redis keeps it waiting."""

import asyncio
import contextlib

import pytest

from gateway.broker.calls import NotSent
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.chat.events import Joined, Message
from gateway.config import Config


class Stage:
    """A publisher at work, and a Redis that answers as the test says."""

    def __init__(self):
        config = Config(publish_deadline=0.1)
        self.publisher = Publisher(None, Keys("test"), config, "G1", lambda room: None)
        self.told = asyncio.Queue()
        self.asked = asyncio.Event()

    async def call(self, client, calls):
        self.asked.set()
        return await self.answer()

    async def answer(self):
        """None comes."""
        await asyncio.get_running_loop().create_future()

    def operation(self, event, **more):
        def told(outcome, offset):
            self.told.put_nowait((getattr(event, "text", "joined"), outcome))

        return Operation("lobby", Holder("G1", "s1", 1), event, told, **more)

    def say(self, text):
        self.publisher.submit(self.operation(Message("s1", "alice", text)))


@pytest.fixture
async def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr("gateway.broker.publisher.call", stage.call)
    services = (stage.publisher.run_forever(), stage.publisher.expire_forever())
    tasks = [asyncio.create_task(service) for service in services]
    yield stage
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_deadlines_are_held_while_redis_is_waited_for(stage):
    """Promise 4: what is on its way can't be told yet; what waits behind it can."""
    stage.say("one")
    await stage.asked.wait()
    stage.say("two")
    assert await stage.told.get() == ("two", Outcome.NOT_DELIVERED)
    assert stage.told.empty()


async def test_when_all_was_told_nothing_is_left_to_send(stage):
    """server: a drain waits for this."""

    async def refused():
        raise NotSent("refused")

    stage.answer = refused
    stage.say("one")
    await stage.publisher.drained()
    assert stage.told.get_nowait() == ("one", Outcome.NOT_DELIVERED)
    assert stage.publisher.outbox.size_bytes == 0


async def test_what_is_restored_is_left_to_send(stage):
    """server: a drain waits for this."""
    keep = stage.operation(Joined("s1", "alice"), silent=True)
    stage.publisher.serve("lobby", "a", [keep])
    drained = asyncio.create_task(stage.publisher.drained())
    await stage.asked.wait()
    assert not drained.done()
    drained.cancel()
