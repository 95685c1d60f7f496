"""The registry's calls: repeated when they are lost, undone when nobody wants them any more."""

import asyncio

import pytest

from gateway.broker.calls import NotSent
from gateway.broker.outbox import Holder
from gateway.broker.registry import Found, Ghost, Granted, Registry
from gateway.config import Config


class Ours:
    """The registry of G2, and what came of it."""

    def __init__(self, redis, monkeypatch):
        self.forgone, self.answers = [], []
        self.registry = Registry(
            redis.caller, redis.keys, Config(), "G2", on_forgone=self.forgone.append
        )
        self._monkeypatch, self._caller = monkeypatch, redis.caller

    def claim(self, session="s1", name="alice", generation=0):
        """Returns a list that is empty as long as the claim is wanted."""
        gone = []
        self.registry.claim(
            name,
            name,
            session,
            generation,
            "lobby",
            self.answers.append,
            wanted=lambda: not gone,
        )
        return gone

    async def ask_in_vain(self):
        """Redis does what is asked, and its answer is lost."""

        call = self._caller.call

        async def done_but_not_answered(calls):
            await call(calls)
            raise TimeoutError

        with self._monkeypatch.context() as patch:
            patch.setattr(self._caller, "call", done_but_not_answered)
            assert not await self.registry.run_once()

    async def settle(self):
        settled = asyncio.create_task(self.registry.run_forever())
        await self.registry.drained()
        settled.cancel()
        await asyncio.wait((settled,))


@pytest.fixture
async def ours(redis, monkeypatch):
    await redis.beat("G1")
    await redis.beat("G2")
    return Ours(redis, monkeypatch)


async def at_g1(redis):
    """s1 is alice, in the kitchen, at G1.  Returns its generation there."""
    claim = ("claim", "alice", "s1", 0, "kitchen", "alice")
    return int((await redis.registry(claim))[0].split()[1])


async def held(redis):
    return sorted(record.decode() for record in await redis.client.hvals(redis.keys.names))


async def test_a_question_is_asked_once_and_a_claim_until_it_is_answered(redis, ours):
    """Registry: None, if Redis can't be asked; whoever asks can ask again."""
    ours.registry.find("alice", ours.answers.append)
    ours.claim()
    await ours.ask_in_vain()
    assert ours.answers == [None]
    await ours.settle()
    assert ours.answers == [None, Granted(1, "lobby", "alice")]
    ours.registry.find("alice", ours.answers.append)
    await ours.settle()
    assert ours.answers[2:] == [Found(Holder("G2", "s1", 1), "lobby", "alice")]


async def test_questions_behind_do_not_wait_for_what_is_away(redis, ours, monkeypatch):
    """Registry: they would wait as long for as little."""
    ours.claim()
    ours.registry.find("alice", ours.answers.append)
    ours.registry.release("bob", Holder("G9", "s9", 1))  # a call of its own
    ours.registry.rooms(10, ours.answers.append)
    await ours.ask_in_vain()
    assert ours.answers == [None, None]


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)
async def test_a_question_that_redis_refuses_is_answered_too(redis, ours):
    """Registry: None, if Redis can't be asked."""
    await redis.client.set(redis.keys.rooms, "something else")
    ours.registry.rooms(10, ours.answers.append)
    assert not await ours.registry.run_once()
    assert ours.answers == [None]


async def g1_falls_silent(redis):
    await redis.beat_for(Config().silent_ticks, "G2")


@pytest.mark.parametrize("asked", ["alice", "bob"])
async def test_a_session_that_came_by_a_lost_claim_and_went_is_given_up(redis, ours, asked):
    """Promise 6: its name is freed, and its membership, be it another gateway's, ended."""
    before = await at_g1(redis)
    await g1_falls_silent(redis)
    gone = ours.claim(name=asked)
    await ours.ask_in_vain()
    gone.append("hung up")
    await ours.ask_in_vain()
    await ours.settle()
    (ghost,) = ours.forgone
    assert ghost == Ghost("alice", Holder("G2", "s1", before + 1), "kitchen", "alice")
    assert await held(redis) == []
    assert ours.answers == [None]


async def test_a_claim_that_was_not_heard_is_made_again_under_a_later_number(redis, ours):
    """registry.lua: each call has a greater number, also one that repeats."""
    ours.claim()
    await ours.ask_in_vain()
    first = int(await redis.client.hget(redis.keys.calls, "G2"))
    await ours.settle()
    assert int(await redis.client.hget(redis.keys.calls, "G2")) > first
    assert ours.answers == [Granted(1, "lobby", "alice")]


async def test_a_claim_that_was_never_made_and_is_not_wanted_is_not_made(redis, ours):
    """Host: the session may have gone on elsewhere since."""
    ours.claim().append("hung up")
    await ours.settle()
    assert (await held(redis), ours.forgone, ours.answers) == ([], [], [None])


async def test_a_claim_that_redis_never_got_is_not_undone(redis, ours, monkeypatch):
    """Registry: there is nothing to undo, and Redis, just back, has others to answer."""

    async def refused(calls):
        raise NotSent("refused")

    gone = ours.claim()
    with monkeypatch.context() as patch:
        patch.setattr(redis.caller, "call", refused)
        assert not await ours.registry.run_once()
    gone.append("hung up")
    before = await redis.everything()
    await ours.settle()
    assert await redis.everything() == before


async def test_a_session_that_went_on_elsewhere_is_not_given_up(redis, ours):
    """DESIGN 3: holders are fenced."""
    gone = ours.claim()
    await ours.ask_in_vain()
    gone.append("hung up")
    generation = await at_g1(redis)
    await ours.settle()
    assert ours.forgone == []
    assert await held(redis) == [f"G1 s1 {generation} lobby alice"]


@pytest.mark.parametrize("asked", ["alice", "bob"])
async def test_a_session_that_lives_where_it_was_has_its_name_again(redis, ours, asked):
    """Promise 6: nobody living is ever said to have left, whatever a second connection did."""
    generation = await at_g1(redis)
    gone = ours.claim(name=asked)
    await ours.ask_in_vain()
    gone.append("hung up")
    await ours.settle()
    assert (ours.forgone, ours.answers) == ([], [None])
    assert await held(redis) == [f"G1 s1 {generation} kitchen alice"]
    await redis.release("alice", "s1", generation)
    assert await held(redis) == []


@pytest.mark.parametrize("lost", [True, False])
async def test_who_comes_again_at_once_gets_what_its_lost_claim_brought(redis, ours, lost):
    """DESIGN 4: the same session; nobody living is ever said to have left."""
    generation = 1 + await at_g1(redis)
    gone = ours.claim()
    if lost:
        await ours.ask_in_vain()
    gone.append("hung up")
    ours.claim(name="bob")
    await ours.settle()
    assert ours.forgone == []
    assert ours.answers == [None, Granted(generation, "kitchen", "alice")]
    assert await held(redis) == [f"G2 s1 {generation} kitchen alice"]


async def test_who_comes_again_later_is_newer_than_what_is_ended(redis, ours):
    """publish.lua: so its membership is not the one that is ended."""
    gone = ours.claim()
    await ours.ask_in_vain()
    gone.append("hung up")
    await ours.registry.run_once()
    ours.claim()
    await ours.settle()
    (ghost,), (none, granted) = ours.forgone, ours.answers
    assert none is None
    assert granted.generation > ghost.holder.generation
    assert await held(redis) == [f"G2 s1 {granted.generation} lobby alice"]


async def test_what_is_granted_to_who_went_meanwhile_is_given_up(redis, ours, monkeypatch):
    """Promise 6: a name and a membership end with the session."""
    before = await at_g1(redis)
    await g1_falls_silent(redis)
    gone, call = ours.claim(), redis.caller.call

    async def hangs_up_meanwhile(calls):
        gone.append("hung up")
        return await call(calls)

    monkeypatch.setattr(redis.caller, "call", hangs_up_meanwhile)
    await ours.settle()
    assert [ghost.holder.generation for ghost in ours.forgone] == [before + 1]
    assert (await held(redis), ours.answers) == ([], [None])


async def test_a_new_name_that_nobody_wants_any_more_is_freed_and_the_old_one_stays(redis, ours):
    """DESIGN 4: /nick; the session goes, and says ``left`` by itself."""
    ours.claim()
    await ours.settle()
    (granted,) = ours.answers
    gone = ours.claim(name="al", generation=granted.generation)
    await ours.ask_in_vain()
    gone.append("hung up")
    await ours.settle()
    assert ours.forgone == []
    assert await held(redis) == [f"G2 s1 {granted.generation} lobby alice"]
