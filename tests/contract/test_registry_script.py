"""``registry.lua``: what its header says, on fakeredis and on a real server alike."""

import pytest
from redis.exceptions import ResponseError


@pytest.fixture(autouse=True)
async def _two_gateways(redis):
    await redis.beat("G1")
    await redis.beat("G2")


async def fall_silent(redis, gateway, *others):
    """``gateway`` misses beats until its names can be claimed."""
    await redis.beat_for(3, *others)
    assert gateway not in others


async def test_a_free_name_is_granted_with_a_generation_of_its_own(redis):
    """DESIGN 3: a newer generation fences the older ones off."""
    first, second = await redis.claim("alice", "s1"), await redis.claim("bob", "s2")
    words = [first.split(), second.split()]
    assert [word[0] for word in words] == ["ok", "ok"]
    assert 0 < int(words[0][1]) < int(words[1][1])


async def test_a_name_is_held_once_in_the_whole_cluster(redis):
    """DESIGN 4: unique in the whole cluster."""
    await redis.claim("alice", "s1")
    assert await redis.claim("alice", "s2") == "taken"
    assert await redis.claim("alice", "s3", gateway="G2") == "taken"
    assert await redis.claim("Alice", "s3", gateway="G2") == "taken"


@pytest.mark.parametrize("late", [7, 8])
async def test_a_call_that_arrives_after_a_later_one_changes_nothing(redis, late):
    """registry.lua: it must not claim again what has been released since."""
    claim = ("claim", "alice", "s1", 0, "lobby", "alice")
    await redis.registry(claim, number=7)
    await redis.registry(("release", "alice", "s1", 1, "", ""), number=8)
    before = await redis.everything()
    with pytest.raises(ResponseError, match="STALE"):
        await redis.registry(claim, number=late)
    assert await redis.everything() == before


async def test_each_gateways_calls_are_numbered_for_themselves(redis):
    """registry.lua: calls, by the calling gateway."""
    await redis.registry(("claim", "alice", "s1", 0, "lobby", "alice"), number=8)
    claim = ("claim", "bob", "s2", 0, "lobby", "bob")
    (answer,) = await redis.registry(claim, gateway="G2", number=1)
    assert answer.startswith("ok ")


async def test_a_repeated_claim_may_bring_another_spelling(redis):
    """registry.lua: sets room and spelling; "alice" becomes "Alice"."""
    generation = int((await redis.claim("alice", "s1")).split()[1])
    assert await redis.claim("Alice", "s1", generation) == f"ok {generation} lobby Alice"
    (record,) = await redis.client.hvals(redis.keys.names)
    assert record.endswith(b" Alice")


async def test_a_second_name_of_a_session_keeps_its_generation(redis):
    """DESIGN 3: a membership names its generation, which a new nick must not change."""
    generation = int((await redis.claim("alice", "s1")).split()[1])
    assert await redis.claim("al", "s1", generation) == f"ok {generation} lobby al"


async def test_a_released_name_is_free(redis):
    """DESIGN promise 6: a name ends with the session."""
    generation = int((await redis.claim("alice", "s1")).split()[1])
    await redis.release("alice", "s1", generation)
    assert (await redis.claim("alice", "s2", gateway="G2")).startswith("ok ")


@pytest.mark.parametrize(
    ("session", "off", "gateway"), [("s2", 0, "G1"), ("s1", 1, "G1"), ("s1", 0, "G2")]
)
async def test_only_its_holder_can_release_a_name(redis, session, off, gateway):
    """DESIGN 3: holders are fenced."""
    generation = int((await redis.claim("alice", "s1")).split()[1])
    await redis.release("alice", session, generation + off, gateway=gateway)
    assert await redis.claim("alice", "s3") == "taken"


async def test_a_repeated_release_does_not_free_what_another_holds_by_now(redis):
    """registry.lua: release can be repeated."""
    generation = int((await redis.claim("alice", "s1")).split()[1])
    await redis.release("alice", "s1", generation)
    await redis.claim("alice", "s2")
    await redis.release("alice", "s1", generation)
    assert await redis.claim("alice", "s3") == "taken"
    assert await redis.client.smembers(redis.keys.holds("G1")) == {b"alice"}


async def test_what_a_gateway_holds_is_known(redis):
    """registry.lua: holds, the folded names that this gateway may hold: by it, it is reaped."""
    first = int((await redis.claim("Alice", "s1")).split()[1])
    await redis.claim("Bob", "s2")
    assert await redis.client.smembers(redis.keys.holds("G1")) == {b"alice", b"bob"}
    await redis.release("Alice", "s1", first)
    assert await redis.client.smembers(redis.keys.holds("G1")) == {b"bob"}


async def test_a_gateway_without_a_lease_waits(redis):
    """registry.lua: 'wait' if the gateway has no lease now; a release needs none."""
    assert await redis.claim("alice", "s1", gateway="G9") == "wait"
    assert await redis.client.exists(redis.keys.names) == 0
    generation = int((await redis.claim("bob", "s2")).split()[1])
    await redis.bury("G1")
    assert await redis.claim("carol", "s3") == "wait"
    await redis.release("bob", "s2", generation)
    assert (await redis.claim("bob", "s4", gateway="G2")).startswith("ok ")


async def test_a_name_whose_gateway_missed_two_beats_is_a_ghosts(redis):
    """DESIGN 4: it may be claimed at once, after its ``left`` is said."""
    generation = (await redis.claim("Alice", "s1")).split()[1]
    await redis.beat_for(2, "G2")
    assert await redis.claim("alice", "s2", gateway="G2") == "taken"
    await redis.beat_for(1, "G2")
    ghost = f"ghost alice G1 s1 {generation} lobby Alice"
    assert await redis.claim("alice", "s2", gateway="G2") == ghost
    assert await redis.claim("alice", "s2", gateway="G2") == ghost
    await redis.release("alice", "s1", int(generation))
    assert (await redis.claim("alice", "s2", gateway="G2")).startswith("ok ")


async def test_a_record_that_somebody_else_wrote_is_nobody_s(redis):
    """Promise 5: who asks for that name gets it, and others are answered as ever."""
    for name in ("alice", "bob"):
        await redis.client.hset(redis.keys.names, name, "something else")
    find = ("find", "bob", "", 0, "", "")
    claim = ("claim", "alice", "s1", 0, "lobby", "alice")
    found, claimed, other = await redis.registry(
        find, claim, ("claim", "carol", "s2", 0, "lobby", "carol")
    )
    assert (found, claimed.split()[0], other.split()[0]) == ("absent", "ok", "ok")


async def test_a_name_whose_gateway_is_unknown_is_a_ghosts(redis):
    """DESIGN 3: a lease is the proof of life on which a name hangs."""
    await redis.claim("alice", "s1")
    await redis.bury("G1")
    assert (await redis.claim("alice", "s2", gateway="G2")).startswith("ghost alice G1 s1 ")


async def test_a_name_is_no_ghosts_when_its_gateway_beats_again(redis):
    """Promise 6: nobody living is ever said to have left."""
    await redis.claim("alice", "s1")
    await fall_silent(redis, "G1", "G2")
    await redis.beat("G1")
    assert await redis.claim("alice", "s2", gateway="G2") == "taken"


async def test_a_session_takes_its_name_with_it_to_another_gateway(redis):
    """DESIGN 4: the same session on another gateway takes the name over; the old one is fenced."""
    old = int((await redis.claim("alice", "s1")).split()[1])
    verdict, new, *where = (await redis.claim("alice", "s1", gateway="G2")).split()
    assert (verdict, where) == ("ok", ["lobby", "alice"])
    assert int(new) > old
    await redis.release("alice", "s1", old)
    assert await redis.claim("alice", "s3") == "taken"


async def test_a_gateway_that_wakes_late_does_not_take_a_name_back(redis):
    """DESIGN 3: it can neither speak for nor remove somebody who went on elsewhere."""
    old = int((await redis.claim("alice", "s1")).split()[1])
    new = int((await redis.claim("alice", "s1", gateway="G2")).split()[1])
    assert await redis.claim("alice", "s1", old, gateway="G1") == "taken"
    await redis.release("alice", "s1", new, gateway="G2")
    assert (await redis.claim("alice", "s4")).startswith("ok ")


async def test_a_registry_that_was_emptied_gives_no_generation_twice(redis):
    """DESIGN 3: a Redis that came back empty is filled again with what the sessions hold."""
    await redis.client.flushall()
    await redis.beat("G1")
    assert (await redis.claim("alice", "s1", 41)).split()[:2] == ["ok", "41"]
    assert (await redis.claim("bob", "s2", 7)).split()[:2] == ["ok", "7"]
    assert int((await redis.claim("carol", "s3")).split()[1]) > 41


async def test_operations_are_answered_in_their_order(redis):
    """Registry: all that waits travels in one call."""
    claim = ("claim", "alice", "s1", 0, "lobby", "alice")
    generation = int((await redis.registry(claim))[0].split()[1])
    release = ("release", "alice", "s1", generation, "", "")
    other = ("claim", "alice", "s2", 0, "lobby", "alice")
    answers = await redis.registry(other, release, other, claim)
    assert [answer.split()[0] for answer in answers] == ["taken", "done", "ok", "taken"]


async def test_a_name_is_found_while_its_gateway_lives(redis):
    """registry.lua: find."""
    generation = (await redis.claim("Alice", "s1")).split()[1]
    find = ("find", "alice", "", 0, "", "")
    assert await redis.registry(find, gateway="G2") == [f"found G1 s1 {generation} lobby Alice"]
    await fall_silent(redis, "G1", "G2")
    assert await redis.registry(find, gateway="G2") == ["absent"]
    assert await redis.registry(("find", "bob", "", 0, "", "")) == ["absent"]


async def test_the_biggest_rooms_come_first(redis):
    """registry.lua: people and rooms; an empty room is none."""
    counts = {"den": 3, "lobby": 20, "attic": 1, "cellar": 2}
    await redis.registry(*(("people", "", "", n, room, "") for room, n in counts.items()))
    await redis.registry(("people", "", "", 0, "cellar", ""))
    two, all_of_them = ("rooms", "", "", 2, "", ""), ("rooms", "", "", 50, "", "")
    assert await redis.registry(two, all_of_them) == [
        "rooms lobby 20 den 3",
        "rooms lobby 20 den 3 attic 1",
    ]


@pytest.mark.parametrize("broken", ["names", "holds", "rooms", "sessions"])
async def test_nothing_is_written_if_a_key_is_of_another_type(redis, broken):
    """DESIGN 3: Lua does not roll back: check everything that can fail before the first write."""
    key = redis.keys.holds("G1") if broken == "holds" else getattr(redis.keys, broken)
    await redis.client.set(key, "something else")
    before = await redis.everything()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await redis.claim("alice", "s1")
    assert await redis.everything() == before
