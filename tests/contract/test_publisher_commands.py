"""What a publisher costs Redis, and what it makes of answers that never came."""

import asyncio

import pytest

from gateway.broker.calls import NotSent
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.chat.events import Joined, Message
from gateway.config import Config

ALICE = Holder("G1", "s1", 1)


def publisher(redis, on_other_log=lambda room: None):
    return Publisher(redis.caller, redis.keys, Config(), "G3", on_other_log)


@pytest.fixture
def told():
    """Outcome and offset of each operation, in the order of their telling."""
    return []


def says(room, text, told):
    event = Message("s1", "alice", text)
    return Operation(room, ALICE, event, lambda *outcome: told.append(outcome))


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)  # fakeredis counts no commands
async def test_a_batch_is_one_command_however_many_events_it_carries(redis, alice, told):
    """DESIGN 3: one script call carries all events that wait for a room."""
    ours = publisher(redis)
    for room in ("lobby", "den"):
        ours.serve(room, await redis.open(room, alice), [])
        for number in range(100):
            ours.submit(says(room, f"{number}", told))
    await redis.client.config_resetstat()
    assert await ours.run_once()
    stats = await redis.client.info("commandstats")
    called = {name: stat["calls"] for name, stat in stats.items() if "eval" in name}
    assert called == {"cmdstat_evalsha": 2}
    assert stats["cmdstat_publish"]["calls"] == 2
    offsets = [offset for outcome, offset in told if outcome is Outcome.CONFIRMED]
    assert sorted(offsets) == sorted([*range(1, 101)] * 2)


async def test_what_was_not_answered_is_repeated_and_said_once(
    redis, channel, alice, told, monkeypatch
):
    """DESIGN 3: batches make repeats harmless; redis-py's own retries would publish twice."""
    ours, call = publisher(redis), redis.caller.call

    async def done_but_not_answered(calls):
        await call(calls)
        raise TimeoutError

    ours.serve("lobby", await redis.open("lobby", alice), [])
    monkeypatch.setattr(redis.caller, "call", done_but_not_answered)
    ours.submit(says("lobby", "hi", told))
    assert not await ours.run_once()
    assert told == []
    monkeypatch.undo()
    assert await ours.run_once()
    assert told == [(Outcome.CONFIRMED, 1)]
    assert len(await channel.heard()) == len(await redis.log()) == 1


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(NotSent("refused"), Outcome.NOT_DELIVERED), (TimeoutError(), Outcome.NOT_CONFIRMED)],
)
async def test_who_spoke_while_redis_was_away_is_told_the_truth_past_the_deadline(
    redis, alice, told, monkeypatch, failure, outcome
):
    """Promise 4: "not delivered" if it was never sent, be it tried; "not confirmed" if it was."""

    async def fails(calls):
        raise failure

    ours = publisher(redis)
    ours.serve("lobby", await redis.open("lobby", alice), [])
    monkeypatch.setattr(redis.caller, "call", fails)
    ours.submit(says("lobby", "hi", told))
    for _ in range(2):
        assert not await ours.run_once()
    ours.outbox.expire(asyncio.get_running_loop().time() + Config().publish_deadline)
    assert told == [(outcome, 0)]


async def test_a_server_that_forgot_the_scripts_is_given_them_again(redis, alice, told):
    """Promise 3: a Redis restart; it knows no scripts then."""
    ours = publisher(redis)
    ours.serve("lobby", await redis.open("lobby"), [])
    await redis.client.script_flush()
    ours.submit(
        Operation(
            "lobby",
            ALICE,
            Joined("s1", "alice"),
            lambda *outcome: told.append(outcome),
            silent=True,
        )
    )
    ours.submit(says("lobby", "hi", told))
    assert await ours.run_once()
    assert [outcome for outcome, _ in told] == [Outcome.CONFIRMED, Outcome.CONFIRMED]


async def test_what_a_log_that_is_gone_did_not_take_is_said_to_the_next_one(redis, alice, told):
    """DESIGN 3: another log, a restart without a file: it is to be read before it is spoken to."""
    others = []
    ours = publisher(redis, on_other_log=others.append)
    ours.serve("lobby", await redis.open("lobby", alice), [])
    await redis.client.flushall()
    ours.submit(says("lobby", "hi", told))
    assert await ours.run_once()
    assert (others, told) == (["lobby"], [])
    ours.serve("lobby", await redis.open("lobby", alice), [])
    assert await ours.run_once()
    assert told == [(Outcome.CONFIRMED, 1)]
