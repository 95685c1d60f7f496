"""``beat.lua`` and ``bury.lua``: what their headers say, on both servers alike."""

import pytest

from gateway.config import Config

HOUR_MS = 3_600_000
DEAD_TICKS = Config().dead_ticks


async def test_the_first_beat_takes_a_lease_and_the_next_ones_renew_it(redis):
    """beat.lua: state is 'new' if it had no lease until now, else 'alive'."""
    assert (await redis.beat("G1")).state == "new"
    assert (await redis.beat("G1")).state == "alive"
    assert await redis.client.hget(redis.keys.gateways, "G1") == b"about G1"


async def test_a_beat_sends_its_probe_to_the_gateways_own_channel(redis, probes):
    """DESIGN 3: liveness is proven end to end."""
    await redis.beat("G1")
    await redis.beat("G2")
    await redis.beat("G1")
    assert await probes.heard() == [b"probe of G1"] * 2


async def test_a_beat_tells_rediss_time(redis):
    """DESIGN 3: gateways beat with Redis's clock; events carry its time, and lag is told in it."""
    seconds, microseconds = await redis.client.time()
    before_s = seconds + microseconds / 1e6
    first, second = await redis.beat("G1"), await redis.beat("G1")
    assert before_s <= first.redis_s <= second.redis_s < before_s + 60


async def test_there_is_at_most_one_tick_an_interval(redis):
    """beat.lua: at most one an interval, however many gateways beat."""
    first = (await redis.beat("G1")).tick
    for number in range(50):
        assert (await redis.beat(f"G{number}")).tick == first
    await redis.pass_time(1000)
    assert (await redis.beat("G1")).tick == first + 1
    assert (await redis.beat("G2")).tick == first + 1


@pytest.mark.parametrize("ms", [1000, 10_000, HOUR_MS])
async def test_any_time_in_which_nobody_beat_is_one_tick(redis, ms):
    """DESIGN 3: no TTL decides a death; a Redis that was stopped has aged nobody."""
    first = (await redis.beat("G1")).tick
    await redis.pass_time(ms)
    assert (await redis.beat("G1")).tick == first + 1


async def test_a_redis_that_was_silent_for_long_lets_nobody_look_dead(redis):
    """Issue 3: after a Redis that was stopped nobody is reaped on that evidence."""
    gateways = [f"G{number}" for number in range(5)]
    await redis.beat_for(3, *gateways)
    for _ in range(3):
        await redis.pass_time(HOUR_MS)
        assert [(await redis.beat(gateway)).to_reap for gateway in gateways] == [[]] * 5
        assert {(await redis.beat(gateway)).state for gateway in gateways} == {"alive"}


async def test_a_clock_that_went_back_goes_on(redis):
    """DESIGN 3: beats are with Redis's clock, which somebody can set."""
    first = (await redis.beat("G1")).tick
    await redis.pass_time(-HOUR_MS)
    assert (await redis.beat("G1")).tick == first + 1
    assert (await redis.beat("G1")).tick == first + 1


async def test_who_is_silent_for_long_enough_is_given_to_one_to_be_reaped(redis):
    """DESIGN 3: silent for 10 s of Redis's time: reaped.  beat.lua: given to one caller."""
    await redis.beat_for(1, "G1", "G2", "G3")
    assert await redis.beat_for(DEAD_TICKS - 1, "G2", "G3") == []
    assert await redis.beat_for(1, "G2", "G3") == ["G1"]
    assert await redis.beat_for(DEAD_TICKS - 1, "G2", "G3") == []


async def test_however_short_the_ticks_are_ten_seconds_of_silence_are_needed(redis):
    """DESIGN 3: silent for 10 s of Redis's time: reaped.  A tick can be 0.9 s long."""
    await redis.beat_for(1, "G1", "G2")
    silent_ms, to_reap = 0, []
    while not to_reap:
        await redis.pass_time(900)
        silent_ms += 900
        to_reap = (await redis.beat("G2")).to_reap
    assert 9900 <= silent_ms <= 10_800


async def test_who_beats_now_and_then_is_not_reaped(redis):
    """Promise 6: nobody living is ever said to have left."""
    await redis.beat_for(1, "G1", "G2")
    for _ in range(5):
        assert await redis.beat_for(DEAD_TICKS - 1, "G2") == []
        await redis.beat("G1")


async def test_who_was_away_and_beats_itself_is_not_reaped_by_itself(redis):
    """beat.lua: a beat renews the lease before the silent are looked for."""
    await redis.beat_for(1, "G1", "G2")
    await redis.beat_for(DEAD_TICKS - 1, "G2")
    await redis.pass_time(1000)
    beat = await redis.beat("G1")
    assert (beat.state, beat.to_reap) == ("alive", [])


async def test_who_is_being_reaped_has_no_lease_until_it_is_buried(redis):
    """beat.lua: state is 'dying'; a gateway that was reaped joins its sessions again."""
    await redis.beat_for(1, "G1", "G2")
    await redis.beat_for(DEAD_TICKS, "G2")
    assert (await redis.beat("G1")).state == "dying"
    assert await redis.claim("alice", "s1") == "wait"
    await redis.bury("G1")
    assert (await redis.beat("G1")).state == "new"
    assert (await redis.claim("alice", "s1")).startswith("ok ")


async def test_who_is_not_reaped_in_time_is_given_to_another(redis):
    """beat.lua: if that one does not finish, to another one after as many ticks again."""
    await redis.beat_for(1, "G1", "G2", "G3")
    assert await redis.beat_for(DEAD_TICKS, "G2", "G3") == ["G1"]
    assert await redis.beat_for(DEAD_TICKS - 1, "G3", "G2") == []
    assert await redis.beat_for(1, "G3", "G2") == ["G1"]
    await redis.bury("G1")
    assert await redis.beat_for(30, "G2", "G3") == []


async def test_all_who_fell_silent_are_given_at_once(redis):
    """DESIGN 3: a gateway that died is noticed by the others."""
    await redis.beat_for(1, "G1", "G2", "G3")
    assert sorted(await redis.beat_for(DEAD_TICKS, "G3")) == ["G1", "G2"]


async def test_a_redis_that_came_back_empty_gives_everybody_a_new_lease(redis):
    """DESIGN 3: it is filled again by the gateways."""
    await redis.beat_for(3, "G1", "G2")
    await redis.client.flushall()
    for gateway in ("G1", "G2"):
        beat = await redis.beat(gateway)
        assert (beat.state, beat.tick, beat.to_reap) == ("new", 1, [])


async def test_what_gateways_share_does_not_expire_while_one_beats(redis):
    """beat.lua: only kept from expiring."""
    await redis.beat("G1")
    await redis.claim("alice", "s1")
    await redis.registry(("people", "", "", 1, "lobby", ""))
    await redis.beat("G1", retention_s=1000)
    ttls = await redis.ttls()
    assert len(ttls) == 8
    assert min(ttls.values()) > 990
    for key in ttls:
        await redis.client.expire(key, 400)
    await redis.beat("G1", retention_s=1000)
    assert min((await redis.ttls()).values()) > 990


async def test_of_a_gateway_that_was_buried_nothing_is_left(redis):
    """bury.lua: ends a gateway's lease, nothing of it is left.  Can be repeated."""
    await redis.beat_for(1, "G1", "G2")
    await redis.claim("alice", "s1")
    await redis.claim("bob", "s2", gateway="G2")
    await redis.beat_for(DEAD_TICKS, "G2")
    for _ in range(2):
        await redis.bury("G1")
        assert await redis.client.zrange(redis.keys.beats, 0, -1) == [b"G2"]
        assert await redis.client.exists(redis.keys.dying, redis.keys.holds("G1")) == 0
        assert await redis.client.hkeys(redis.keys.gateways) == [b"G2"]
        assert await redis.client.smembers(redis.keys.holds("G2")) == {b"bob"}
