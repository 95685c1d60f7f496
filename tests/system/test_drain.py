"""A gateway leaves service: what its clients hear, in what order, and what others notice."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from operators import Operator
from people import PROMPT, Person
from processes import fault_lasts

RESTARTING = "* this gateway is restarting, please reconnect"


async def test_during_the_delay_it_is_not_ready_and_takes_everybody(start_cluster):
    """Load balancers need a moment to notice."""
    cluster = await start_cluster(1, "--admin-port", "0", "--drain-delay", "2")
    gateway, operator = cluster.gateways[0], Operator(cluster.gateways[0])
    (alice,) = await cluster.join("alice")
    begun_at = time.monotonic()
    gateway.terminate()
    assert "draining" in await operator.until_ready(False)
    assert (await operator.get("/healthz"))[0] == 200
    await operator.until("gateway_draining", 1)
    (bob,) = await cluster.join("bob")
    await alice.say("in time")
    await bob.expect("alice: in time")
    for person in (alice, bob):
        assert RESTARTING in await person.ended()
    assert time.monotonic() - begun_at >= 2
    assert await gateway.ended() == 0


async def test_a_second_signal_during_the_delay_ends_it_at_once(start_cluster):
    """DESIGN 4, exit codes: it did not drain."""
    cluster = await start_cluster(1, "--drain-delay", "60")
    await cluster.join("alice")
    cluster.gateways[0].terminate()
    await cluster.people[0].barrier()
    cluster.gateways[0].terminate()
    assert await cluster.gateways[0].ended(within_s=5) == 1


async def test_two_signals_at_once_are_two(start_cluster):
    cluster = await start_cluster(1, "--drain-delay", "60")
    gateway = cluster.gateways[0]
    gateway.stop()
    gateway.send(signal.SIGINT)
    gateway.send(signal.SIGTERM)
    gateway.cont()
    assert await gateway.ended(within_s=5) == 1


async def test_what_has_drained_is_gone_from_redis_at_once(start_cluster):
    """The others need not wait for its lease to run out."""
    cluster = await start_cluster(2)
    gateway = cluster.gateways[0]
    await cluster.join("alice", "bob")
    gateway.terminate()
    assert await gateway.ended() == 0
    (other,) = {entry["gateway"] for entry in cluster.gateways[1].log}
    assert cluster.redis.cli("hkeys", "chat:{registry}:gateways") == [other]
    assert cluster.redis.cli("zrange", "chat:{registry}:beats", 0, -1) == [other]


async def test_after_the_delay_nobody_is_taken_and_it_ends_within_its_time(start_cluster):
    cluster = await start_cluster(1, "--drain-delay", "1", "--drain-timeout", "4")
    gateway = cluster.gateways[0]
    strangers = [await cluster.newcomer() for _ in range(50)]
    begun_at = time.monotonic()
    gateway.terminate()
    await strangers[0].until(lambda: any(s.hung_up for s in strangers), 10, "the first end")
    assert time.monotonic() - begun_at >= 1
    with pytest.raises(ConnectionRefusedError):
        await Person.dial(gateway.port)
    assert gateway.running
    assert await gateway.ended() == 0
    assert time.monotonic() - begun_at < 1 + 4


async def test_who_reconnects_at_once_is_not_refused_by_an_own_ghost(start_cluster):
    """Closed only when `left` is confirmed and the name is free."""
    cluster = await start_cluster(2)
    people = await cluster.join(*(f"p{number}" for number in range(8)), on=0)
    cluster.gateways[0].terminate()

    async def come_back(person: Person) -> None:
        await person.until(lambda: person.hung_up, 10, "the end")
        again = await Person.connect(cluster.gateways[1].port)
        cluster.people.append(again)
        await again.say(person.name)
        line = await again.next_line()
        assert line != PROMPT
        assert "welcome" in line, line

    await asyncio.gather(*map(come_back, people))
    assert await cluster.gateways[0].ended() == 0


async def test_nothing_that_was_said_before_is_lost_on_either_side(start_cluster):
    """What the leaving said is heard, and what was said before its `left` it still hears."""
    cluster = await start_cluster(2, "--rate", "2000", "--burst", "2000")
    alice, bob = await cluster.join("alice", "bob")
    lines = [f"line {number}" for number in range(500)]
    await bob.say(*lines)
    await alice.say(*lines)
    await bob.expect("alice: line 0")
    cluster.gateways[0].terminate()
    heard = await alice.ended(timeout=20)
    assert await cluster.gateways[0].ended() == 0

    of_alice = await bob.hear("alice has left the chat")
    said = ["alice: line 0", *of_alice]
    assert said == [f"alice: {line}" for line in lines[: len(said)]]
    told = [line for line in heard if line.startswith("* not delivered: ")]
    assert len(said) + len(told) <= len(lines)
    assert told == [f"* not delivered: {line}" for line in lines[len(said) :][: len(told)]]

    of_bob = [line for line in heard if line.startswith("bob: ")]
    assert of_bob == [f"bob: {line}" for line in lines[: len(of_bob)]]
    # All that bob had said before alice left, as the log has it.
    log = cluster.redis.cli("xrange", "chat:{room:lobby}:log", "-", "+")
    events = [next(iter(fields.values())) for _, fields in log]
    end = next(i for i, event in enumerate(events) if '"left"' in event and '"alice"' in event)
    before = [event for event in events[:end] if '"message"' in event and '"bob"' in event]
    assert len(of_bob) == len(before)


async def test_lines_that_wait_for_their_turn_are_not_dropped_silently(start_cluster):
    """DESIGN, promises: a line that could not be delivered is reported to its sender."""
    cluster = await start_cluster(2, "--rate", "1", "--burst", "5")
    alice, bob = await cluster.join("alice", "bob")
    alice.send("".join(f"line {number}\n" for number in range(20)).encode())
    await bob.expect("alice: line 0")
    cluster.gateways[0].terminate()
    heard = await alice.ended()
    said = ["alice: line 0", *await bob.hear("alice has left the chat")]
    told = [line for line in heard if line.startswith("* not delivered: ")]
    delivered = [line.removeprefix("alice: ") for line in said]
    reported = [line.removeprefix("* not delivered: ") for line in told]
    assert reported
    assert delivered + reported == [f"line {number}" for number in range(20)]


async def test_many_are_let_go_one_after_the_other(start_cluster):
    """So that the other gateways are not stormed; yet within half of the time."""
    cluster = await start_cluster(1, "--drain-timeout", "8")
    port = cluster.gateways[0].port
    strangers = await asyncio.gather(*(Person.connect(port) for _ in range(300)))
    cluster.gateways[0].terminate()
    await asyncio.gather(*(stranger.ended(timeout=20) for stranger in strangers))
    ends = sorted(stranger.heard_at[-1] for stranger in strangers)
    assert 1 < ends[-1] - ends[0] < 5
    middle = ends[150] - ends[0]
    assert 0.2 < middle / (ends[-1] - ends[0]) < 0.8
    assert await cluster.gateways[0].ended() == 0
    order = [strangers.index(each) for each in sorted(strangers, key=lambda s: s.heard_at[-1])]
    assert order != sorted(order)


async def test_without_its_redis_it_ends_in_time_and_says_that_it_is_incomplete(start_cluster):
    cluster = await start_cluster(1, "--drain-timeout", "2")
    (alice,) = await cluster.join("alice")
    cluster.redis.kill()
    cluster.gateways[0].terminate()
    assert RESTARTING in await alice.ended()
    assert await cluster.gateways[0].ended(within_s=6) == 1
    assert cluster.gateways[0].logged("drain incomplete")


async def test_a_slow_reader_over_his_rate_hears_all_of_it(start_cluster):
    """What he sent and nobody read must not cost him what he was sent."""
    cluster = await start_cluster(2, "--drain-timeout", "20", "--rate", "1000", "--burst", "40")
    bob = await cluster.newcomer(on=0)
    await cluster.welcome(bob, "bob")
    (alice,) = await cluster.join("alice", on=1)
    bob.shrink_buffer(4096)
    bob.pause_reading()
    lines = [f"{number} {'x' * 1000}" for number in range(200)]
    await alice.say(*lines)
    bob.send(b"".join(b"mine %d\n" % number for number in range(5000)))
    await alice.hear("bob: mine 100")
    await alice.barrier()
    cluster.gateways[0].terminate()
    await alice.hear("bob has left the chat")
    await fault_lasts(2.5)  # an eighth of the time, which was all he had once
    bob.resume_reading()
    heard = await bob.ended(timeout=20)
    assert [line for line in heard if line.startswith("alice: ")] == [f"alice: {x}" for x in lines]
    assert RESTARTING in heard
    assert await cluster.gateways[0].ended(within_s=25) == 0


async def test_who_does_not_read_is_let_go_in_the_end_and_counted(start_cluster):
    """README, exit codes: exit 0 means seven eighths of the time for them, too."""
    cluster = await start_cluster(1, "--drain-timeout", "4", "--rate", "5000", "--burst", "5000")
    alice, bob, carol = await cluster.join("alice", "bob", "carol")
    bob.shrink_buffer(4096)
    bob.pause_reading()
    await alice.say(*("x" * 4000 for _ in range(200)))
    await carol.hear("alice: " + "x" * 4000)
    await alice.barrier()
    begun_at = time.monotonic()
    cluster.gateways[0].terminate()
    assert await cluster.gateways[0].ended() == 0
    assert 3 < time.monotonic() - begun_at < 5
    ends = {entry["name"]: entry["reason"] for entry in cluster.gateways[0].logged("closed")}
    assert ends == {"alice": "drained", "bob": "unflushed", "carol": "drained"}
    (stopped,) = cluster.gateways[0].logged("stopped")
    assert (stopped["drained"], stopped["unflushed"]) == (True, 1)
