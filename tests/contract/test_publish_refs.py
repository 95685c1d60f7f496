"""``publish.lua``: what programs count, and what is posted to one of them."""

import pytest


async def test_a_ref_that_was_said_before_is_not_said_again(redis, channel, alice):
    """DESIGN 4: a say repeated with the same session and ref is not said twice, same ack."""
    await redis.open("lobby", alice)
    assert await redis.publish(alice.says("one", ref=7), alice.says("two", ref=9)) == "1 2"
    assert await redis.publish(alice.says("one", ref=7), alice.says("two", ref=9)) == "=1 =2"
    elsewhere = alice._replace(gateway="G2", generation=2)
    reply = await redis.publish(elsewhere.joins(), elsewhere.says("one", ref=7), gateway="G2")
    assert reply == "~2:G1 =1"
    assert len(await redis.log()) == len(b"\n".join(await channel.heard()).split(b"\n")) == 2


async def test_refs_are_counted_for_each_session(redis, alice, bob):
    """DESIGN 4: session and ref together."""
    await redis.open("lobby", alice, bob)
    assert await redis.publish(alice.says(ref=7), bob._replace(gateway="G2").says(ref=7)) == "1 2"


async def test_a_ref_that_is_older_than_the_newest_is_not_said(redis, alice):
    """DESIGN 4: refs grow; one that was forgotten may have been said."""
    await redis.open("lobby", alice)
    says = [alice.says(ref=ref) for ref in range(1, 301)]
    await redis.publish(*says)
    assert await redis.publish(alice.says(ref=1), alice.says(ref=300)) == "? =300"
    assert len(await redis.log()) == 300


LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (9, 10),
        (99, 100),
        (2**53, 2**53 + 1),
        (LARGEST - 1, LARGEST),
        (10**18 - 1, 10**18),
        (7, LARGEST),
    ],
)
async def test_refs_grow_as_numbers_do_however_long_they_are(redis, alice, older, newer):
    """DESIGN 4: ref is decimal and grows; a double tells no two neighbours over 2^53 apart."""
    await redis.open("lobby", alice)
    assert await redis.publish(alice.says(ref=older), alice.says(ref=newer)) == "1 2"
    assert await redis.publish(alice.says(ref=newer), alice.says(ref=older)) == "=2 =1"
    bob = alice._replace(session="s2", name="bob")
    await redis.publish(bob.joins())
    assert await redis.publish(bob.says(ref=newer), bob.says(ref=older)) == "4 ?"


async def test_refs_are_remembered_for_a_while_only(redis, alice):
    """DESIGN 4: for 10 minutes."""
    await redis.open("lobby", alice)
    await redis.publish(alice.says(ref=1))
    assert 590 < await redis.client.ttl(redis.keys.refs("lobby") + "s1") <= 600


async def test_something_posted_needs_no_membership(redis, channel, alice):
    """publish.lua: post is for the log of a gateway's own inbox, which has no members."""
    await redis.open()
    assert await redis.publish(alice.does("post", "psst")) == "1"
    assert [line.raw for line in await redis.log()] == await channel.heard()
    assert await redis.history() == []
