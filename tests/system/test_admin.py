"""Health, readiness and metrics of real gateways (issue: in production)."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from operators import Operator
from people import Person
from processes import GatewayProcess, RealRedis, eventually

from gateway.ops.metrics import TABLE, Kind


async def test_a_gateway_without_its_redis_lives_and_is_not_ready(start_cluster):
    redis = RealRedis()
    gateway = GatewayProcess().launch(redis.url, "--admin-port", "0")
    operator = await Operator(gateway).reach()
    assert await operator.get("/healthz") == (200, "ok\n")
    assert "starting" in await operator.why_not_ready()
    await redis.start()
    await gateway.wait_ready()
    await operator.until_ready(True)


async def test_readiness_goes_and_comes_with_redis_and_nobody_is_cut_off(start_cluster):
    """A Redis that hangs: its connections look open, so only the probes tell."""
    cluster = await start_cluster(1, "--admin-port", "0")
    operator = Operator(cluster.gateways[0])
    alice, bob = await cluster.join("alice", "bob")
    assert await operator.why_not_ready() == ""
    cluster.redis.stop()
    assert "Redis" in await operator.until_ready(False)
    assert await operator.get("/healthz") == (200, "ok\n")
    await operator.until("gateway_redis_ready", 0)
    cluster.redis.cont()
    await operator.until_ready(True)
    await alice.say("still here")
    await bob.expect("alice: still here", timeout=15)


async def test_a_full_gateway_is_not_ready(start_cluster):
    cluster = await start_cluster(1, "--admin-port", "0", "--max-connections", "1")
    operator = Operator(cluster.gateways[0])
    (alice,) = await cluster.join("alice")
    assert "full" in await operator.why_not_ready()
    other = await Person.dial(cluster.gateways[0].port)
    await other.expect("* this gateway is full, please try again later")
    await operator.until("gateway_connections_refused_total{full}", 1)
    await alice.leave()
    await operator.until_ready(True)


async def test_a_stopped_gateway_does_not_look_alive(start_cluster):
    """The answer comes from the loop itself."""
    cluster = await start_cluster(1, "--admin-port", "0")
    operator = Operator(cluster.gateways[0])
    asking = asyncio.create_task(operator.get("/healthz"))
    assert (await asking)[0] == 200
    cluster.gateways[0].stop()
    asking = asyncio.create_task(operator.get("/healthz"))
    done, _ = await asyncio.wait((asking,), timeout=0.5)
    assert not done
    cluster.gateways[0].cont()
    assert (await asking)[0] == 200
    assert (await operator.metrics())["gateway_loop_lag_max_seconds"] > 0.3


async def test_an_admin_port_in_use_is_one_line_and_exit_code_1(start_cluster):
    cluster = await start_cluster(1, "--admin-port", "0")
    taken = Operator(cluster.gateways[0]).port
    other = GatewayProcess("other").launch(cluster.redis.url, "--admin-port", str(taken))
    assert await other.ended() == 1
    (line,) = other.output.splitlines()
    assert str(taken) in line


async def test_metrics_tell_what_happened(start_cluster):
    cluster = await start_cluster(2, "--admin-port", "0", "--redis-password-file", "")
    first, second = map(Operator, cluster.gateways)
    alice, bob, carol = await cluster.join("alice", "bob", "carol")
    for number in range(5):
        await alice.say(f"line {number}")
        await bob.expect(f"alice: line {number}")
        await carol.expect(f"alice: line {number}")
    await carol.leave()
    await alice.expect("carol has left the chat")
    await bob.expect("carol has left the chat")
    # People may hear of an event a moment before its gateway hears that Redis has it.
    await first.until("gateway_publish_outcomes_total{confirmed}", 8)

    here = await first.metrics()
    assert here["gateway_ready"] == here["gateway_redis_ready"] == 1
    assert here["gateway_connections"] == here["gateway_sessions"] == 1
    assert here["gateway_rooms"] == 1
    assert here["gateway_connections_accepted_total"] == 2
    assert here["gateway_connections_closed_total{quit}"] == 1
    # Two joins, five lines, one leave.  Alice's own join had nobody to go to, but bob's had.
    assert here["gateway_events_in_total"] == 8
    assert here["gateway_publish_seconds_count"] == 8
    assert 0 < here["gateway_publish_seconds_sum"] < 8
    assert here["gateway_events_out_total"] == here["gateway_delivery_seconds_count"] == 8
    # Redis's clock is known to half a round trip: at first that can be as long as all of it.
    assert 0 <= here["gateway_delivery_seconds_sum"] < 8
    assert here["gateway_flush_events_sum"] >= 8
    said = ("alice", "/barrier-1", *5 * ["line 0"], "carol", "/barrier-1", "/quit")
    assert here["gateway_received_bytes_total"] == sum(len(line) + 1 for line in said)
    assert here["gateway_sent_bytes_total"] == len(alice.raw) + len(carol.raw)
    assert here["gateway_sendq_bytes"] == here["gateway_outbox_bytes"] == 0
    there = await second.metrics()
    assert there["gateway_events_in_total"] == 1
    assert there["gateway_events_out_total"] == 7


async def test_every_metric_of_the_table_is_shown(start_cluster):
    """But those of a certificate that is not there."""
    cluster = await start_cluster(1, "--admin-port", "0")
    shown = {name.partition("{")[0] for name in await Operator(cluster.gateways[0]).metrics()}
    wanted = {row.name + "_count" * (row.kind is Kind.HISTOGRAM) for row in TABLE}
    assert {name for name in wanted if "_tls_" not in name} <= shown


async def test_a_client_that_does_not_read_shows_in_the_sendq(start_cluster):
    cluster = await start_cluster(1, "--admin-port", "0", "--rate", "1000", "--burst", "1000")
    alice, bob = await cluster.join("alice", "bob")
    operator = Operator(cluster.gateways[0])
    bob.shrink_buffer(4096)
    bob.pause_reading()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    while not (await operator.metrics())["gateway_sendq_max_bytes"]:
        await alice.say(*("x" * 4000 for _ in range(50)))
        assert loop.time() < deadline
    seen = await operator.metrics()
    assert seen["gateway_sendq_bytes"] == seen["gateway_sendq_max_bytes"]
    bob.resume_reading()
    await operator.until("gateway_sendq_bytes", 0, within_s=60)  # in sips of 4 KB


@pytest.mark.undisturbed
async def test_scraping_under_load_costs_little(start_cluster):
    """Issue, proof: under 1 % of a core, at the 5 s of ``deploy/prometheus/prometheus.yml``.

    200 people of whom 20 talk; the same load without a scrape and then with 20 a second.
    """
    cluster = await start_cluster(1, "--admin-port", "0", "--rate", "100")
    gateway = cluster.gateways[0]
    operator, process = Operator(gateway), psutil.Process(gateway.pid)
    people = await asyncio.gather(*(Person.connect(gateway.port) for _ in range(200)))
    cluster.people += people
    await asyncio.gather(*(p.say(f"p{number}") for number, p in enumerate(people)))
    await operator.until("gateway_sessions", 200)

    async def loaded(*, scraped: bool) -> float:
        """CPU seconds that 100 lines in 5 s cost, each with a scrape or without."""
        loop, before = asyncio.get_running_loop(), sum(process.cpu_times()[:2])
        begun_at = loop.time()
        for number in range(100):
            await people[number % 20].say(f"line {number}")
            if scraped:
                assert "gateway_sessions 200.0" in (await operator.get("/metrics"))[1]
            await asyncio.sleep(begun_at + (number + 1) * 0.05 - loop.time())
        return sum(process.cpu_times()[:2]) - before

    deliveries = (await operator.metrics())["gateway_deliveries_total"]
    without_s = await loaded(scraped=False)
    assert (await operator.metrics())["gateway_deliveries_total"] - deliveries > 90 * 199
    with_s = await loaded(scraped=True)
    assert (with_s - without_s) / 100 < 0.01 * 5


async def test_a_log_tells_numbers_and_never_what_was_said(start_cluster):
    """Issue: one line per connection end with its numbers, no message text; ids of both."""
    cluster = await start_cluster(1, "--publish-deadline", "0.2")
    gateway = cluster.gateways[0]
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("sesame one", "/me sesame two", "/sesame", "x" * 5000)
    await bob.expect("alice: sesame one", "** alice sesame two")
    await alice.say("/msg bob sesame three")
    await bob.expect("alice (private): sesame three")
    program = await cluster.newcomer()
    program.send(b'{"name":"bot","session":"sesame-sesame-sesame-sesame-sesame"}\n')
    program.send(b'{"type":"say","text":"sesame four"}\n')
    await bob.hear("bot: sesame four")
    cluster.redis.stop()
    await alice.say("sesame at a bad time")
    await eventually(lambda: gateway.logged("redis away"), 15, "Redis seen to be away")
    cluster.redis.cont()
    await eventually(lambda: gateway.logged("redis back"), 15, "Redis seen to be back")
    await alice.barrier()
    alice.close()
    await eventually(lambda: gateway.logged("closed"), 5, "the end")
    (end,) = gateway.logged("closed")
    assert end["received_bytes"] > 5000
    assert end["sent_bytes"] == len(alice.raw)
    assert 0 < end["seconds"] < 60
    assert (end["name"], end["reason"]) == ("alice", "hung_up")
    assert end["session"] == gateway.logged("joined")[0]["session"]
    gateway.terminate()
    assert await gateway.ended() == 0
    assert "sesame" not in gateway.output
    assert {entry["gateway"] for entry in gateway.log} == {end["gateway"]}
