"""``gateway status``: what an operator sees of a real cluster."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
from operators import status, status_json
from processes import RealRedis, eventually, fault_lasts


async def test_gateways_and_rooms_are_shown(start_cluster):
    cluster = await start_cluster(2)
    await cluster.join("alice", "bob", "carol")
    ids = {gateway.logged("ready")[0]["gateway"] for gateway in cluster.gateways}
    report = await eventually_shown(
        cluster.redis.url,
        lambda report: (
            report["rooms"] == [{"room": "lobby", "people": 3}]
            and sorted(gateway["connections"] for gateway in report["gateways"]) == [1, 2]
        ),
    )
    assert {gateway["id"] for gateway in report["gateways"]} == ids
    assert report["warnings"] == []
    for gateway in report["gateways"]:
        assert not gateway["draining"]
        assert not gateway["not_ready"]
        assert 0 <= gateway["uptime_s"] < 60
        assert gateway["rooms"] == 1

    done = await status(cluster.redis.url)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:4] == ["GATEWAY", "HOST", "ADDRESS", "VERSION"]
    where = {
        gateway.logged("ready")[0]["gateway"]: [socket.gethostname(), gateway.address]
        for gateway in cluster.gateways
    }
    assert {line[0]: line[1:3] for line in lines[1:3]} == where
    assert {each["id"]: [each["host"], each["address"]] for each in report["gateways"]} == where
    assert {line[0] for line in lines[1:3]} == ids
    assert ["lobby", "3"] in lines
    assert "WARNING" not in done.stdout


async def eventually_shown(url, condition):
    """The first report that fulfils ``condition``: gateways describe themselves once a second."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 15
    while not condition(report := await status_json(url)):
        assert loop.time() < deadline, report
    return report


async def test_a_gateway_that_fell_silent_is_warned_of_and_then_gone(start_cluster):
    cluster = await start_cluster(2)
    id = cluster.gateways[0].logged("ready")[0]["gateway"]
    cluster.gateways[0].stop()
    report = await eventually_shown(
        cluster.redis.url,
        lambda report: "silent" in [each["state"] for each in report["gateways"]],
    )
    assert len(report["warnings"]) == 1
    assert id in report["warnings"][0]
    done = await status(cluster.redis.url)
    assert done.returncode == 0  # somebody can come in
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(id)]
    assert re.search(r"  silent \d+ s$", line)
    cluster.gateways[0].kill()
    await eventually(
        lambda: id not in cluster.redis.cli("hgetall", "chat:{registry}:gateways"), 20, "reaped"
    )
    assert (await status_json(cluster.redis.url))["warnings"] == []


async def test_a_gateway_whose_loop_was_held_up_is_warned_of(start_cluster):
    cluster = await start_cluster(1)
    cluster.gateways[0].stop()
    await fault_lasts(1.5)
    cluster.gateways[0].cont()
    await eventually_shown(cluster.redis.url, lambda report: "held up" in str(report["warnings"]))


async def test_a_draining_gateway_is_shown_as_such(start_cluster):
    cluster = await start_cluster(2, "--drain-delay", "30")
    cluster.gateways[0].terminate()
    report = await eventually_shown(
        cluster.redis.url,
        lambda report: any(each["draining"] for each in report["gateways"]),
    )
    assert report["warnings"] == []
    assert "draining" in (await status(cluster.redis.url)).stdout


async def test_gateways_that_were_all_killed_are_silent(start_cluster):
    """Nobody is left who counts ticks, and nobody reaps them."""
    cluster = await start_cluster(2)
    for gateway in cluster.gateways:
        gateway.kill()
    report = await eventually_shown(
        cluster.redis.url,
        lambda report: all(each["state"] == "silent" for each in report["gateways"]),
    )
    assert len(report["gateways"]) == 2
    assert len(report["warnings"]) == 3
    assert report["warnings"][-1].startswith("no gateway was ready")
    assert (await status(cluster.redis.url)).returncode == 1


async def test_an_empty_redis_has_no_gateways(processes_end):
    redis = await RealRedis().start()
    warning = "no gateways: is this the Redis, and the database, that they use?"
    done = await status(redis.url)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"no gateways\n\nno rooms\n\nWARNING: {warning}\n"
    assert await status_json(redis.url) == {"gateways": [], "rooms": [], "warnings": [warning]}


@pytest.mark.parametrize("by", ["--redis-url", "--redis-password-file"])
async def test_a_wrong_password_is_blamed_on_what_it_came_from(processes_end, tmp_path, by):
    redis = await RealRedis(password="hunter2").start()
    file = tmp_path / "password"
    file.write_text("wrong")
    if by == "--redis-url":
        done = await status(redis.url.replace("://", "://:wrong@"))
    else:
        done = await status(redis.url, by, str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"it refuses the user or password of {by}: " in done.stderr.splitlines()[-1]


async def test_a_database_that_is_not_there_is_named_as_the_reason(processes_end):
    redis = await RealRedis().start()
    done = await status(f"{redis.url}99")
    assert (done.returncode, done.stdout) == (1, "")
    assert "DB index is out of range" in done.stderr


async def test_no_redis_is_one_line_without_the_password_and_exit_code_1():
    done = await status("redis://:secret@127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (1, "")
    warning, line = done.stderr.splitlines()
    assert "GATEWAY_REDIS_URL" in warning
    assert line.startswith("gateway status: redis://***@127.0.0.1:1/0 cannot be asked")
    assert "secret" not in done.stderr


async def test_without_a_redis_url_it_is_bad_usage():
    done = await status("")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--redis-url" in done.stderr
