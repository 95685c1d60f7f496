"""When a publisher tells what, while Redis keeps it waiting."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ResponseError

from gateway.broker.calls import NotSent
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.chat.events import Joined, Message
from gateway.config import Config, Pace

FOR_EVER_S = 3600.0
ENOUGH = 20


class Stage:
    """A publisher at work, and a Redis that answers as the test says."""

    def __init__(self, deadline_s):
        pace = Pace(
            FOR_EVER_S,
            FOR_EVER_S,
            few=ENOUGH,
            enough=ENOUGH,
            lull_s=FOR_EVER_S,
            person_s=1.0,
        )
        config = Config(publish_deadline=deadline_s, publish_pace=pace)
        self.people = 0
        self.publisher = Publisher(
            self, Keys("test"), config, "G1", lambda room: None, people=lambda: self.people
        )
        self.calls = []
        self.rooms = []  # of each call, by channel
        self.told = asyncio.Queue()
        self.asked = asyncio.Event()

    async def reach(self):
        """Redis can be had at once."""

    async def call(self, calls):
        self.calls.append(len(calls))
        self.rooms.append([call.args[2] for call in calls])
        self.asked.set()
        return await self.answer()

    async def answer(self):
        """None comes."""
        await asyncio.get_running_loop().create_future()

    def operation(self, event, room="lobby", **more):
        def told(outcome, offset):
            self.told.put_nowait((getattr(event, "text", "joined"), outcome))

        return Operation(room, Holder("G1", "s1", 1), event, told, **more)

    def say(self, text, room="lobby"):
        self.publisher.submit(self.operation(Message("s1", "alice", text), room))


@pytest.fixture
async def stage(request):
    """With the deadline that the test asks for, or a short one."""
    stage = Stage(getattr(request, "param", 0.1))
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


async def test_a_deadline_is_held_while_redis_cannot_be_had(stage):
    """Promise 4: what was never sent is told in time, however long a connection takes."""
    stage.reach = stage.answer  # neither made nor refused
    stage.say("one")
    assert await stage.told.get() == ("one", Outcome.NOT_DELIVERED)
    assert stage.calls == []


@pytest.mark.parametrize("stage", [FOR_EVER_S], indirect=True)
async def test_a_room_of_which_redis_takes_nothing_keeps_no_other_one_waiting(stage):
    """Promise 5: what is refused is tried again by itself, later and later."""

    async def answer():
        return [ResponseError("WRONGTYPE") if ":tea" in room else b"1" for room in stage.rooms[-1]]

    stage.answer = answer
    stage.say("cup", "tea")
    await stage.asked.wait()
    await asyncio.sleep(0)
    assert not stage.publisher.outbox.ready
    for number in range(50):
        stage.say(f"{number}")
        assert await stage.told.get() == (f"{number}", Outcome.CONFIRMED)
    refused = sum(":tea" in room for rooms in stage.rooms for room in rooms)
    assert 0 < refused < 10
    assert stage.publisher.retries == refused


@pytest.mark.parametrize("stage", [FOR_EVER_S], indirect=True)
async def test_what_redis_refused_is_said_when_it_takes_it(stage):
    """All of it, over one connection: each of a replica's answers costs it."""
    refused = [ResponseError("READONLY")] * 100

    async def answer():
        return refused if len(stage.calls) < 4 else [b"1"] * 100

    stage.answer = answer
    for number in range(100):
        stage.say("one", f"room{number}")
    for _ in range(100):
        assert await stage.told.get() == ("one", Outcome.CONFIRMED)
    assert stage.calls == [100] * 4


async def test_what_is_restored_is_left_to_send(stage):
    """server: a drain waits for this."""
    keep = stage.operation(Joined("s1", "alice"), silent=True)
    stage.publisher.serve("lobby", "a", [keep])
    drained = asyncio.create_task(stage.publisher.drained())
    await stage.asked.wait()
    assert not drained.done()
    drained.cancel()


@pytest.mark.parametrize("stage", [FOR_EVER_S], indirect=True)
async def test_what_comes_soon_after_a_call_shares_the_next_one(stage):
    """DESIGN 3: the first event at once; under load one call carries all that waits."""
    applied = []

    async def answer():
        applied.append(len(stage.publisher.outbox))
        return [b" ".join([b"1"] * len(stage.publisher.outbox))]

    stage.answer, stage.people = answer, 1_000_000
    stage.say("first")
    assert await stage.told.get() == ("first", Outcome.CONFIRMED)
    for number in range(ENOUGH - 1):
        stage.say(f"{number}")
    await asyncio.sleep(0.02)  # in which they would be sent, if they did not wait
    assert stage.told.empty()
    stage.say("enough")
    for _ in range(ENOUGH):
        assert (await stage.told.get())[1] is Outcome.CONFIRMED
    assert applied == [1, ENOUGH]
    assert stage.calls == [1, 1]


@pytest.mark.parametrize("stage", [FOR_EVER_S], indirect=True)
async def test_a_flood_is_let_come_before_each_call(stage):
    """Flood: it goes on by itself, until it is over."""
    gathered = asyncio.Queue()
    flood = stage.publisher.flood

    async def gather():
        flood.on = await gathered.get()

    async def answer():
        return [b"1"]

    flood.gather, stage.answer = gather, answer
    stage.say("one")
    await asyncio.sleep(0)
    assert stage.calls == []
    gathered.put_nowait(True)
    assert await stage.told.get() == ("one", Outcome.CONFIRMED)
    stage.publisher.outbox.submit(stage.operation(Message("s1", "alice", "two")))  # not due
    gathered.put_nowait(False)
    assert await stage.told.get() == ("two", Outcome.CONFIRMED)
    stage.publisher.outbox.submit(stage.operation(Message("s1", "alice", "three")))
    gathered.put_nowait(False)
    await asyncio.sleep(0.02)  # in which it would be sent
    assert stage.told.empty()


async def test_only_what_people_say_makes_a_flood(stage):
    """Flood: a crowd that joins is none."""
    stage.publisher.submit(stage.operation(Joined("s1", "alice")))
    stage.say("one")
    assert (stage.publisher.flood.lines, stage.publisher.submitted) == (1, 2)
