"""``publish.lua``: what its header says, on fakeredis and on a real server alike."""

import contextlib

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from gateway.chat.events import Left, decode_envelope, encode_event

ROOM_KEYS = ("meta", "log", "history", "members")


# Offsets and batches


async def test_offsets_have_no_holes_whatever_is_refused_between(redis, alice, bob):
    """DESIGN 2: offsets are 1, 2, 3, … without holes."""
    await redis.open("lobby", alice, bob)
    stranger = alice._replace(session="s9")
    first = await redis.publish(alice.says("1"), stranger.says("no"), alice.says("2"))
    second = await redis.publish(stranger.leaves(), gateway="G2")
    third = await redis.publish(bob.says("3"), gateway="G2")
    assert (first, second, third) == ("1 0 2", "0", "3")
    assert [line.offset for line in await redis.log()] == [1, 2, 3]


async def test_a_line_of_the_log_tells_where_when_and_whose_it_is(redis, alice):
    """DESIGN 3: an event is known again by gateway, batch and index, a log by its epoch."""
    epoch = await redis.open("lobby", alice)
    before_s, _ = await redis.client.time()
    stranger = alice._replace(session="s9")
    await redis.publish(stranger.says("no"), alice.says("hi"), number=77)
    (line,) = await redis.log()
    assert (line.offset, line.epoch) == (1, epoch)
    assert line.raw.split(b" ")[3:6] == [b"G1", b"77", b"1"]
    assert 0 <= line.at_ms - before_s * 1000 < 60_000
    assert line.raw.endswith(b" hi")


async def test_an_event_bears_the_time_at_which_it_was_accepted(redis, alice):
    """Issue 6: from accepted to delivered, in Redis's time: waiting for Redis counts."""
    await redis.open("lobby", alice)
    await redis.publish(alice.says("now"), alice.does("say", "then", age_ms=5000))
    now, then = await redis.log()
    assert 4900 < now.at_ms - then.at_ms < 60_000


async def test_a_repeated_batch_changes_nothing_and_gets_the_first_reply(redis, channel, alice):
    """DESIGN 3: batches make repeats harmless."""
    await redis.open("lobby", alice)
    stranger = alice._replace(session="s9")
    batch = (alice.says(), stranger.says(), alice.renames("al"), alice.leaves(), alice.joins())
    first = await redis.publish(*batch, number=5)
    before = await redis.everything()
    await channel.heard()
    assert await redis.publish(*batch, number=5) == first
    assert await redis.everything() == before
    assert await channel.heard() == []


async def test_a_repeat_gets_its_reply_even_if_all_has_changed_since(redis, alice):
    """DESIGN 3: what an answer said was true then; the sender must be told that."""
    await redis.open("lobby", alice)
    first = await redis.publish(alice.says(), alice.leaves(), number=5)
    await redis.publish(alice.joins(), gateway="G2")
    assert await redis.publish(alice.says(), alice.leaves(), number=5) == first == "1 2"


async def test_an_older_batch_that_arrives_late_changes_nothing(redis, alice):
    """DESIGN 3: the last batch alone can be repeated.  A call can be stuck on a dead connection."""
    await redis.open("lobby", alice)
    await redis.publish(alice.says("one"), number=9)
    await redis.publish(alice.says("two"), number=10)
    before = await redis.everything()
    with contextlib.suppress(ResponseError):  # nobody waits for this answer
        await redis.publish(alice.says("one"), number=9)
    assert await redis.everything() == before


async def test_numbers_are_counted_for_each_gateway_and_room(redis, alice, bob):
    """DESIGN 3: Redis keeps the last batch per gateway and room."""
    await redis.open("lobby", alice, bob)
    await redis.open("den", alice)
    assert await redis.publish(alice.says(), number=900) == "1"
    assert await redis.publish(bob.says(), gateway="G2", number=900) == "2"
    assert await redis.publish(alice.says(), room="den", number=900) == "1"


async def test_a_batch_is_remembered_for_a_while_only(redis, alice, bob):
    """DESIGN 3: the last batch and its reply expire: when the keys' lives are renewed."""
    await redis.open("lobby", alice, bob)
    meta = redis.keys.room("lobby")[0]

    async def batch(gateway: str) -> list[bytes]:
        return (await redis.client.hget(meta, f"batch {gateway}") or b"").split()

    await redis.publish(alice.says(), number=70, memory_s=100)
    number, at, *reply = await batch("G1")
    assert (number, reply) == (b"70", [b"1"])
    for gateway, age in (("G8", 101), ("G9", 90)):
        await redis.client.hset(meta, f"batch {gateway}", f"7 {int(at) - age} 1 2")
    await redis.publish(bob.says(), gateway="G2", memory_s=100)
    assert await batch("G8")  # no renewal yet
    await redis.publish(bob.leaves(), bob.joins(), gateway="G2", memory_s=100)
    assert await batch("G8")  # who comes and goes is no reason
    await redis.client.hset(meta, "renew_at", int(at))
    await redis.publish(bob.says(), gateway="G2", memory_s=100)
    assert not await batch("G8")
    assert await batch("G9") == [b"7", b"%d" % (int(at) - 90), b"1", b"2"]
    assert (await batch("G1"))[0] == b"70"
    assert set(await redis.client.hkeys(meta)) == {
        *(b"epoch", b"offset", b"renew_at", b"batch G1", b"batch G2", b"batch G9")
    }


# Who may do what


@pytest.mark.parametrize("does", ["says", "leaves", "renames"])
@pytest.mark.parametrize(
    "change",
    [{"session": "s9"}, {"gateway": "G9"}, {"generation": 1}],
    ids=lambda change: "other " + ", ".join(change),
)
async def test_who_does_not_hold_the_membership_is_refused(redis, channel, alice, does, change):
    """DESIGN 3: holders are fenced; the scripts refuse what comes from another one."""
    alice = alice._replace(generation=12)
    await redis.open("lobby", alice)
    impostor = alice._replace(**change)
    operation = impostor.renames("eve") if does == "renames" else getattr(impostor, does)()
    assert await redis.publish(operation) == "0"
    assert await redis.log() == []
    assert await redis.members() == {"s1": "G1 12 alice"}
    assert await channel.heard() == []


async def test_joining_makes_a_member_and_an_event(redis, alice):
    """DESIGN 3: one script adds the membership and appends ``joined``."""
    await redis.open()
    assert await redis.publish(alice.joins(), alice.says()) == "1 2"
    assert await redis.members() == {"s1": "G1 1 alice"}
    assert [line.raw.split(b" ")[-1] for line in await redis.log()] == [b"joined", b"hi"]


async def test_joining_twice_says_nothing_twice(redis, alice):
    """publish.lua: -OFFSET if done without an event, behind that one."""
    await redis.open()
    assert await redis.publish(alice.joins()) == "1"
    assert await redis.publish(alice.says(), alice.joins(), alice.says()) == "2 -2 3"
    assert len(await redis.log()) == 3


async def test_keeping_makes_a_member_without_an_event(redis, channel, alice):
    """DESIGN 3: a Redis that came back empty is filled again; nobody joined."""
    await redis.open()
    assert await redis.publish(alice.keeps(), alice.keeps()) == "-0 -0"
    assert await redis.members() == {"s1": "G1 1 alice"}
    assert await redis.log() == await channel.heard() == []


@pytest.mark.parametrize("enter", ["joins", "keeps"])
async def test_a_newer_holder_takes_over_without_an_event(redis, alice, enter):
    """DESIGN 4: the membership goes over without leave or join; then the old one is fenced off."""
    await redis.open("lobby", alice)
    newer = alice._replace(gateway="G2", generation=10)
    assert await redis.publish(getattr(newer, enter)(), gateway="G2") == "~0:G1"
    assert await redis.members() == {"s1": "G2 10 alice"}
    assert await redis.publish(alice.says(), alice.leaves()) == "0 0"
    assert await redis.publish(newer.says(), gateway="G2") == "1"


@pytest.mark.parametrize("enter", ["joins", "keeps"])
async def test_who_takes_over_is_told_from_which_gateway_also_in_a_repeated_reply(
    redis, alice, enter
):
    """publish.lua: ~OFFSET:GATEWAY; it is to be told, even if the first answer was lost."""
    await redis.open("lobby", alice)
    newer = alice._replace(gateway="G2", generation=2)
    batch = (getattr(newer, enter)(), newer.says())
    assert await redis.publish(*batch, gateway="G2", number=1) == "~0:G1 1"
    assert await redis.publish(*batch, gateway="G2", number=1) == "~0:G1 1"
    assert await redis.publish(getattr(newer, enter)(), gateway="G2") == "-1"
    again = newer._replace(generation=3)
    assert await redis.publish(getattr(again, enter)(), gateway="G2") == "-1"


@pytest.mark.parametrize("enter", ["joins", "keeps"])
async def test_an_older_holder_cannot_come_back(redis, alice, enter):
    """DESIGN 3: a gateway that wakes late can't remove somebody who went on elsewhere."""
    newer = alice._replace(gateway="G2", generation=10)
    await redis.open("lobby", newer)
    older = alice._replace(generation=9)
    assert await redis.publish(getattr(older, enter)()) == "0"
    assert await redis.members() == {"s1": "G2 10 alice"}
    assert await redis.log() == []


async def test_leaving_ends_the_membership_once(redis, alice):
    """DESIGN 3: one script removes the membership and appends ``left``."""
    await redis.open("lobby", alice)
    assert await redis.publish(alice.leaves(), alice.leaves(), alice.says()) == "1 0 0"
    assert await redis.members() == {}


@pytest.mark.parametrize("known", ["Zoë-2", "50%1"], ids=["a name", "somebody else's"])
async def test_who_leaves_is_named_as_the_room_knows_it(redis, alice, known):
    """Promise 6: the registry had granted another name to who died before the room was told."""
    await redis.open("lobby", alice)
    await redis.publish(alice.renames(known))
    body = encode_event(Left("s1", "new")).decode()
    assert await redis.publish(alice._replace(name="new").does("leave", body)) == "2"
    line = (await redis.client.xrevrange(redis.keys.room("lobby")[1], count=1))[0][1][b"e"]
    assert decode_envelope(line).event == Left("s1", known)


@pytest.mark.parametrize("gateway", ["G1", "G2"])
async def test_who_went_on_can_leave_where_it_never_came(redis, alice, gateway):
    """publish.lua: moved to another gateway, and gone before its join: it must not stay for ever.

    What the older holder says then is refused, its own leaving, too.
    """
    alice = alice._replace(generation=12)
    await redis.open("lobby", alice)
    newer = alice._replace(gateway=gateway, generation=120)
    assert await redis.publish(newer.says(), newer.renames("al"), gateway="G2") == "0 0"
    assert await redis.publish(newer.leaves(), gateway="G2") == "1"
    assert await redis.members() == {}
    assert await redis.publish(alice.leaves(), alice.says()) == "0 0"
    assert len(await redis.log()) == 1


async def test_a_new_name_is_the_members_from_then_on(redis, alice):
    """publish.lua: rename."""
    await redis.open("lobby", alice)
    assert await redis.publish(alice.renames("Al")) == "1"
    assert await redis.members() == {"s1": "G1 1 Al"}


# Which log


@pytest.mark.parametrize("epoch", ["", "someother"])
async def test_without_a_log_nothing_is_done(redis, channel, alice, epoch):
    """publish.lua: 'epoch' if the room's log is another one."""
    assert await redis.publish(alice.joins(), epoch=epoch) == "epoch"
    assert await redis.everything() == {}
    assert await channel.heard() == []


async def test_what_is_meant_for_another_log_is_not_done(redis, channel, alice):
    """publish.lua: 'epoch' if the room's log is another one, and nothing is written."""
    epoch = await redis.open("lobby", alice)
    before = await redis.everything()
    assert await redis.publish(alice.says(), epoch=epoch + "0") == "epoch"
    assert await redis.everything() == before
    assert await channel.heard() == []
    assert await redis.publish(alice.says(), epoch=epoch) == "1"


# Errors


@pytest.mark.parametrize("broken", ROOM_KEYS)
async def test_nothing_is_written_if_a_key_is_of_another_type(redis, channel, alice, bob, broken):
    """DESIGN 3: Lua does not roll back: check everything that can fail before the first write."""
    await redis.open("lobby", alice)
    await redis.publish(alice.says())
    await channel.heard()
    keys = dict(zip(ROOM_KEYS, redis.keys.room("lobby"), strict=True))
    await redis.client.delete(keys[broken])
    await redis.client.sadd(keys[broken], "something else")
    before = await redis.everything()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await redis.publish(bob.joins(), alice.says(), alice.renames("al"), alice.leaves())
    assert await redis.everything() == before
    assert await channel.heard() == []


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)  # fakeredis has no limit
@pytest.mark.parametrize("first", ["says", "joins", "keeps", "leaves"])
async def test_out_of_memory_a_batch_is_done_whole_or_not_at_all(redis, alice, bob, first):
    """Issue 3: out-of-memory answers at run time; senders are told the truth."""
    await redis.open("lobby", alice)
    before = await redis.everything()
    someone = bob if first in ("joins", "keeps") else alice
    batch = (getattr(someone, first)(), someone.joins(), someone.says())
    await redis.client.config_set("maxmemory", 1)
    try:
        reply = await redis.publish(*batch, number=50)
    except OutOfMemoryError:
        assert await redis.everything() == before
        await redis.client.config_set("maxmemory", 0)
        reply = await redis.publish(*batch, number=51)
    finally:
        await redis.client.config_set("maxmemory", 0)
    events = sum(int(offset) > 0 for offset in reply.split())
    assert [line.offset for line in await redis.log()] == list(range(1, events + 1))
    assert "0" not in reply.split()


async def test_nothing_is_written_if_a_sessions_refs_are_of_another_type(redis, alice):
    """DESIGN 3: Lua does not roll back; what is before the operation that fails counts, too."""
    await redis.open("lobby", alice)
    await redis.client.set(redis.keys.refs("lobby") + "s1", "something else")
    before = await redis.everything()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await redis.publish(alice.says("without a ref"), alice.says("with one", ref=1))
    assert await redis.everything() == before


# What others get


async def test_what_is_published_is_what_the_log_holds(redis, channel, alice):
    """DESIGN 3: one script appends and publishes the same envelopes, a batch as one message."""
    await redis.open("lobby", alice)
    stranger = alice._replace(session="s9")
    await redis.publish(alice.says("one"), stranger.says(), alice.keeps(), alice.says("two"))
    await redis.publish(alice.says("three"))
    heard = await channel.heard()
    assert [payload.count(b"\n") for payload in heard] == [1, 0]
    assert b"\n".join(heard).split(b"\n") == [line.raw for line in await redis.log()]


async def test_only_what_people_said_is_history(redis, alice):
    """publish.lua: the history holds what people said only."""
    await redis.open()
    await redis.publish(alice.joins(), alice.says("hi"), alice.renames("al"), alice.leaves())
    log = await redis.log()
    assert len(log) == 4
    assert await redis.history() == [log[1]]


async def test_joins_and_leaves_never_push_messages_out_of_the_history(redis, alice, bob):
    """DESIGN 4: joins and leaves never push messages out of the history."""
    await redis.open("lobby", alice)
    await redis.publish(*(alice.says(str(i)) for i in range(5)), history_length=5, log_length=5)
    said = await redis.history()
    for _ in range(5):
        come_and_go = (bob.joins(), bob.leaves()) * 200
        await redis.publish(*come_and_go, history_length=5, log_length=5)
    assert await redis.history() == said
    assert said[0] not in await redis.log()


async def test_log_and_history_are_bounded(redis, alice):
    """Issue 3: MAXLEN on the logs.  Trimming is of whole nodes, of 100 entries by default."""
    await redis.open("lobby", alice)
    for _ in range(10):
        says = [alice.says() for _ in range(100)]
        await redis.publish(*says, log_length=200, history_length=50)
    log, history = await redis.log(), await redis.history()
    assert 200 <= len(log) <= 300
    assert 50 <= len(history) <= 150
    assert log[-1].offset == history[-1].offset == 1000


async def test_a_large_batch_is_remembered_whole(redis, alice):
    """publish.lua: Lua unpacks only so many at once."""
    await redis.open("lobby", alice)
    await redis.publish(*(alice.says() for _ in range(2500)), history_length=5000)
    assert [line.offset for line in await redis.history()] == list(range(1, 2501))


async def test_the_keys_of_a_room_expire_together(redis, alice, bob):
    """DESIGN 3: a room's meta hash and its log live and expire together."""

    async def lifetimes() -> list[int]:
        ttls = [await redis.client.ttl(key) for key in redis.keys.room("lobby")]
        return [ttl for ttl in ttls if ttl != -2]  # that is not there

    async def live(seconds: int) -> None:
        for key in redis.keys.room("lobby"):
            await redis.client.expire(key, seconds)

    async def made_last(*operations) -> None:
        await live(800)
        await redis.publish(*operations, retention_s=1000)
        ttls = await lifetimes()
        assert min(ttls) > 990
        assert max(ttls) - min(ttls) <= 1

    await redis.open("lobby")
    await made_last(alice.joins())  # the log and the members
    await made_last(alice.says())  # what was said
    await redis.publish(alice.leaves())
    await made_last(bob.joins())  # the members again
    await live(800)
    await redis.publish(bob.says(), retention_s=1000)
    assert max(await lifetimes()) <= 800  # none was made, and it is not half over
    now_s, renew_at = int((await redis.client.time())[0]), await redis.renew_at()
    assert 498 <= renew_at - now_s <= 500
    await redis.client.hset(redis.keys.room("lobby")[0], "renew_at", now_s)
    await redis.publish(bob.says(), retention_s=1000)
    assert min(await lifetimes()) > 990
    assert await redis.renew_at() >= renew_at
    await live(300)
    await redis.client.hdel(redis.keys.room("lobby")[0], "renew_at")  # as sync.lua leaves it
    await redis.publish(bob.says(), retention_s=1000)
    assert min(await lifetimes()) > 990


async def test_a_rooms_keys_are_of_one_slot_and_no_others_are_made(redis, alice):
    """DESIGN 3: all keys of a room share the hash tag; no script touches two rooms."""
    await redis.open("lobby", alice)
    await redis.publish(alice.says())
    made = set(await redis.everything())
    assert made == set(redis.keys.room("lobby"))
    assert all("{room:lobby}" in key for key in made)
