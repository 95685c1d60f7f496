"""``sync.lua``, read as a gateway does: what its header says, on both servers alike."""

import pytest

from gateway.broker.outbox import Holder


@pytest.fixture
def say(redis, alice):
    """alice says these lines in the lobby, one batch each."""

    async def say(*texts, **limits):
        for text in texts:
            await redis.publish(alice.says(text), **limits)

    return say


def texts(lines):
    """What was said in raw lines, or in events."""
    raw = [getattr(line, "raw", line) for line in lines]
    return [line.rpartition(b" ")[2].decode() for line in raw]


async def test_a_room_without_a_log_gets_one_once(redis):
    """sync.lua: the epoch of a new log, if there is none."""
    first = await redis.sync()
    second = await redis.sync()
    assert first.epoch == second.epoch != ""
    assert (first.offset, first.people, first.members) == (0, 0, {})


async def test_a_log_is_made_only_if_asked_for(redis):
    """sync.lua: '' to make none."""
    looked = await redis.sync(create=False)
    assert (looked.epoch, looked.offset, looked.people) == ("", 0, 0)
    assert await redis.everything() == {}


async def test_a_new_log_starts_without_what_is_left_of_an_old_one(redis, say, alice):
    """DESIGN 3: a room's meta and its log live and expire together."""
    old = await redis.open("lobby", alice)
    await say("old")
    await redis.client.delete(redis.keys.room("lobby")[0])
    new = await redis.sync("lobby", old, 1)
    assert new.epoch != old
    assert (new.offset, new.people, new.members) == (0, 0, {})
    assert (new.at_known, list(new.events), list(new.history)) == (b"", [], [])
    await redis.publish(alice.joins(), alice.says("new"))
    assert [line.offset for line in await redis.log()] == [1, 2]


async def test_to_who_knows_the_log_what_follows_is_told(redis, say, alice):
    """sync.lua: the line at the offset known, and the lines after it; no members, no history."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2", "3", "4")
    read = await redis.sync("lobby", epoch, 2)
    assert (read.epoch, read.offset, read.people) == (epoch, 4, 1)
    assert (texts([read.at_known]), texts(read.events)) == (["2"], ["3", "4"])
    assert (read.members, list(read.history)) == (None, [])


async def test_to_who_is_at_the_end_nothing_follows(redis, say, alice):
    """DESIGN 3: the entry at one's own last offset is compared by identity."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2")
    read = await redis.sync("lobby", epoch, 2)
    assert (texts([read.at_known]), texts(read.events)) == (["2"], [])


@pytest.mark.parametrize("offset", [10**14, 2**53 + 1, 2**63 - 1])
async def test_to_who_knows_more_than_there_is_nothing_follows(redis, say, alice, offset):
    """Whatever a program says it has; a Lua number would be written as 1e+15."""
    epoch = await redis.open("lobby", alice)
    await say("one")
    told = await redis.sync(epoch=epoch, offset=offset, create=False)
    assert (told.offset, list(told.events), told.at_known) == (1, [], b"")


async def test_to_who_knows_the_start_all_lines_follow(redis, say, alice):
    """sync.lua: there is no line at offset 0."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2")
    read = await redis.sync("lobby", epoch, 0)
    assert (read.at_known, texts(read.events)) == (b"", ["1", "2"])


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_page_holds_as_many_lines_as_asked_for(redis, say, alice, page):
    """DESIGN 3: the range read from the log is bounded."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2", "3", "4", "5")
    read = await redis.sync("lobby", epoch, 1, replay_events=page)
    assert texts(read.events) == ["2", "3", "4"][:page]
    assert read.offset == 5


@pytest.mark.parametrize("known", [0, 1, 3])
async def test_the_line_at_the_end_is_told_whatever_is_known(redis, say, alice, known):
    """DESIGN 3: who starts at the end must know the log again by its entry there."""
    epoch = await redis.open("lobby", alice)
    assert (await redis.sync("lobby", epoch, 0)).at_last == b""
    await say("1", "2", "3")
    read = await redis.sync("lobby", epoch if known else "", known, replay_events=1)
    assert texts([read.at_last]) == ["3"]
    await redis.client.xtrim(redis.keys.room("lobby")[1], maxlen=0, approximate=False)
    assert (await redis.sync("lobby", epoch, known)).at_last == b""


async def test_a_log_whose_end_is_gone_tells_no_other_line_for_it(redis, say, alice):
    """sync.lua: the line at the last offset, or ''."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2")
    await redis.client.xdel(redis.keys.room("lobby")[1], "2-0")
    assert (await redis.sync("lobby", epoch, 0)).at_last == b""


async def test_a_line_that_was_trimmed_is_told_as_unknown(redis, say, alice):
    """sync.lua: the line at the offset known or ''."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2", "3")
    await redis.client.xtrim(redis.keys.room("lobby")[1], maxlen=1, approximate=False)
    read = await redis.sync("lobby", epoch, 1)
    assert (read.at_known, texts(read.events), read.offset) == (b"", ["3"], 3)


async def test_to_who_knows_nothing_people_and_history_are_told(redis, say, alice, bob):
    """sync.lua: to one that knows no epoch, the lines are empty."""
    await redis.open("lobby", alice, bob)
    await say("1", "2", "3")
    read = await redis.sync(history=2)
    assert (texts(read.history), list(read.events), read.at_known) == (["2", "3"], [], b"")
    assert {member.name for member in read.members.values()} == {"alice", "bob"}
    assert read.members["s2"].holder == Holder("G2", "s2", 2)
    assert read.people == 2


async def test_without_history_none_is_read(redis, say, alice):
    """DESIGN 4: --history 0."""
    await redis.open("lobby", alice)
    await say("1")
    assert list((await redis.sync(history=0)).history) == []


async def test_people_and_history_are_told_if_wanted(redis, say, alice):
    """sync.lua: '1' if the members are wanted in any case."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2")
    read = await redis.sync("lobby", epoch, 1, members=True)
    assert list(read.members) == ["s1"]
    assert (texts(read.history), texts(read.events)) == (["1", "2"], ["2"])


async def test_to_who_knows_another_log_all_of_this_one_is_told(redis, say, alice):
    """sync.lua: to one that knows another epoch, lines start at the first."""
    epoch = await redis.open("lobby", alice)
    await say("1", "2")
    read = await redis.sync("lobby", "another", 2)
    assert (read.epoch, read.at_known, texts(read.events)) == (epoch, b"", ["1", "2"])
    assert list(read.members) == ["s1"]


async def test_reading_changes_nothing(redis, say, alice):
    """sync.lua: reads."""
    epoch = await redis.open("lobby", alice)
    await say("1")
    before = await redis.everything()
    await redis.sync()
    await redis.sync("lobby", epoch, 0)
    await redis.sync("lobby", "another", 7, members=True)
    assert await redis.everything() == before


async def test_a_room_that_is_looked_at_does_not_expire(redis, say, alice):
    """DESIGN 3: a room's keys live and expire together."""
    epoch = await redis.open("lobby", alice)
    await say("1")
    keys = redis.keys.room("lobby")
    for key in keys:
        await redis.client.expire(key, 100)
    await redis.sync("lobby", epoch, 1)
    ttls = [await redis.client.ttl(key) for key in keys]
    assert min(ttls) > 990
    assert max(ttls) - min(ttls) <= 1
