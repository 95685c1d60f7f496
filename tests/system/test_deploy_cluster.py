"""``make cluster LB=haproxy``: the local cluster behind the balancer of production."""

from __future__ import annotations

import os
import re
import signal
import sys

import psutil
import pytest
from deployment import HAPROXY_CFG, get, tool
from people import Person
from processes import REPOSITORY, Process, eventually


@pytest.fixture
async def cluster(processes_end):
    """Two gateways behind HAProxy, on free ports."""
    tool("haproxy", "apt-get install haproxy")
    cluster = Process("cluster")
    options = ("--gateways", "2", "--port", "0", "--balancer", "haproxy")
    cluster.spawn(sys.executable, "-m", "gateway", "cluster", *options)
    await eventually(
        lambda: "chat is up" in cluster.output or not cluster.running,
        30,
        "the cluster is up",
        lambda: cluster.output,
    )
    return cluster


def children(cluster):
    return psutil.Process(cluster.pid).children(recursive=True)


def port(cluster):
    return int(re.search(r"^chat is up: nc localhost (\d+)$", cluster.output, re.M)[1])


def ready(cluster):
    """How many gateways HAProxy finds ready."""
    page = int(re.search(r"^HAProxy on http://127.0.0.1:(\d+)", cluster.output, re.M)[1])
    rows = get(page, "/;csv")[1].splitlines()
    return len([row for row in rows if re.match(r"gateways,gateway\d,.*,UP,", row)])


async def test_people_talk_through_haproxy_and_all_ends_with_ctrl_c(cluster):
    await eventually(lambda: ready(cluster) == 2, 15, "both are ready", lambda: cluster.output)
    alice = await Person.connect(port(cluster))
    await alice.join("alice")
    bob = await Person.connect(port(cluster))
    await bob.join("bob")
    await alice.expect("bob joined the chat")
    await alice.say("hi")
    await bob.expect("alice: hi")
    # It was started when there was something to find, and said nothing needless.
    assert "HAProxy: " not in cluster.output
    # By leastconn they are on different gateways; and no file but the shipped one is used.
    said = re.findall(r"(\w+) joined on gateway (\d)", cluster.output)
    assert sorted(number for _, number in said) == ["1", "2"]
    haproxy = next(each for each in children(cluster) if each.name() == "haproxy")
    assert str(HAPROXY_CFG) in haproxy.cmdline()
    before = children(cluster)
    cluster.send(signal.SIGINT)
    assert await cluster.ended(20) == 0, cluster.output
    assert [each for each in before if each.is_running()] == []
    for person in (alice, bob):
        await person.ended()


async def test_a_haproxy_that_died_is_started_again_on_its_port(cluster):
    await eventually(lambda: ready(cluster) == 2, 15, "both are ready", lambda: cluster.output)
    haproxy = next(each for each in children(cluster) if each.name() == "haproxy")
    os.kill(haproxy.pid, signal.SIGKILL)
    # The socket is the parent's: who calls meanwhile waits.
    alice = await Person.connect(port(cluster))
    await alice.join("alice")
    assert "HAProxy ended; starting it again" in cluster.output
    alice.abort()


async def test_a_gateway_that_hangs_is_told_of_once(cluster):
    def states():
        return re.findall(r"^HAProxy: .*?(gateway\d is \w+)", cluster.output, re.M)

    await eventually(lambda: ready(cluster) == 2, 15, "both are ready", lambda: cluster.output)
    gateway = next(each for each in children(cluster) if "serve" in each.cmdline())
    gateway.suspend()
    await eventually(states, 15, "down", lambda: cluster.output)
    gateway.resume()
    await eventually(lambda: "is UP" in cluster.output, 20, "up", lambda: cluster.output)
    (down, up) = states()
    assert (down[8:], up) == (" is DOWN", down.replace("DOWN", "UP"))


async def test_without_haproxy_it_is_one_clear_line(processes_end, tmp_path):
    cluster = Process("cluster")
    cluster.environment["PATH"] = str(tmp_path)
    options = ("--port", "0", "--balancer", "haproxy")
    cluster.spawn(sys.executable, "-m", "gateway", "cluster", *options)
    assert await cluster.ended(15) == 1
    (line,) = cluster.output.splitlines()
    assert "no haproxy on the PATH" in line


def test_make_passes_it_on():
    makefile = (REPOSITORY / "Makefile").read_text()
    assert '--balancer "$(LB)"' in makefile
