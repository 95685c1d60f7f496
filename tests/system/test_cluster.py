"""``gateway cluster``: the whole of it, as somebody at a terminal runs it.

DESIGN 4: Redis, N gateways and one front port; Ctrl-C drains the gateways, ends Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys

import psutil
import pytest
from people import PROMPT, Person
from processes import Process, RealRedis, eventually, free_port


class Cluster(Process):
    """A cluster of three, its front on a free port unless ``arguments`` say otherwise."""

    def __init__(self):
        super().__init__("cluster")
        self.people = []

    def run(self, *arguments, gateways=3, port=0):
        options = ("--gateways", str(gateways), "--port", str(port))
        self.spawn(sys.executable, "-m", "gateway", "cluster", *options, *arguments)
        return self

    async def up(self):
        """Wait until it says what to type; from then on it has ``port`` and ``gateways``."""

        def told():
            return "chat is up" in self.output or not self.running

        await eventually(told, 30, "the cluster is up;", lambda: self.output)
        assert self.running, f"it ended with {self.returncode}:\n{self.output}"
        return self

    @property
    def port(self):
        """Of the front: what ``nc`` is told to connect to."""
        return int(re.search(r"^chat is up: nc localhost (\d+)$", self.output, re.M)[1])

    @property
    def ports(self):
        """Of the gateways, in their order."""
        return [int(port) for port in re.findall(r"^gateway \d+ on \S+:(\d+)$", self.output, re.M)]

    @property
    def redis_url(self):
        return re.search(r"^Redis on (\S+)$", self.output, re.M)[1]

    def children(self):
        return psutil.Process(self.pid).children(recursive=True)

    def listener(self, port):
        """The child that listens on ``port``, or None."""
        for child in self.children():
            try:
                if port in {each.laddr.port for each in child.net_connections("inet")}:
                    return child
            except psutil.Error:  # it has just ended
                continue
        return None

    def gateway(self, index):
        return self.listener(self.ports[index])

    @property
    def redis(self):
        return self.listener(int(re.search(r":(\d+)/", self.redis_url)[1]))

    async def dial(self, port=None):
        """Somebody at the front port, or at a gateway's."""
        self.people.append(await Person.dial(port or self.port))
        return self.people[-1]

    async def join(self, *names, port=None):
        """People who come one after the other, and hear of each other."""
        here = []
        for name in names:
            person = await self.dial(port)
            await person.expect(PROMPT)
            await person.join(name)
            for other in here:
                await other.expect(f"{name} joined the chat")
            here.append(person)
        return here

    async def expect_output(self, text, within_s=15):
        await eventually(lambda: text in self.output, within_s, text, lambda: self.output)


def gone(processes):
    """Did all of them end, be they reaped or not yet?"""
    return not [
        each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture
async def clusters():
    """Makes clusters, and ends what is left of them."""
    made, left = [], []

    def make():
        made.append(Cluster())
        return made[-1]

    yield make
    for cluster in made:
        if cluster.running:
            left += cluster.children()
        cluster.close()
        for person in cluster.people:
            person.abort()
            await person.ended()
    await eventually(lambda: gone(left), 10, "all processes have ended", lambda: left)


@pytest.fixture
async def cluster(clusters):
    return await clusters().run().up()


async def test_it_tells_what_to_type_and_who_came_and_went(cluster):
    """Issue 2: prints what to type and a live line of who came and went."""
    alice, bob = await cluster.join("alice", "bob")
    first, second, _ = cluster.ports
    await cluster.expect_output(f"alice joined on gateway 1 ({first}) — 1 here\n")
    await cluster.expect_output(f"bob joined on gateway 2 ({second}) — 2 here\n")
    await bob.leave()
    alice.close()
    await cluster.expect_output(f"bob left on gateway 2 ({second}) — ")
    await cluster.expect_output(f"alice left on gateway 1 ({first}) — ")
    await cluster.expect_output(" — 0 here\n")
    assert "Traceback" not in cluster.output


async def test_it_tells_how_to_see_how_it_is(cluster):
    """The line can be pasted as it is."""
    command = shlex.split(re.search(r"^to see how it is: (.*)$", cluster.output, re.M)[1])
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    for port in cluster.ports:
        assert f"127.0.0.1:{port}" in done.stdout


async def test_a_password_file_is_for_all_of_its_gateways(processes_end, clusters, tmp_path):
    redis = await RealRedis(password="hunter2").start()
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    flags = ("--redis-url", redis.url, "--redis-password-file", str(file))
    cluster = await clusters().run(*flags, gateways=1).up()
    assert f"gateway status {shlex.join(flags)}\n" in cluster.output
    cluster.terminate()
    assert await cluster.ended() == 0


async def test_connections_are_dealt_in_turn_and_talk_to_each_other(cluster):
    """DESIGN 4: each accepted descriptor to the next live gateway in turn."""
    people = await cluster.join("ann", "ben", "cid", "dan", "eve", "fay")
    for number, person in enumerate(people):
        await cluster.expect_output(f"{person.name} joined on gateway {number % 3 + 1} ")
    for speaker in people:
        await speaker.say("hello")
        for other in people:
            if other is not speaker:
                await other.expect(f"{speaker.name}: hello")
    for person in people:
        await person.expect_silence()


async def test_a_gateway_s_own_port_leads_to_the_same_chat(cluster):
    (alice,) = await cluster.join("alice")
    await cluster.join("bob", port=cluster.ports[2])
    await alice.expect("bob joined the chat")


async def test_a_killed_gateway_takes_only_its_own_clients_and_comes_back(cluster):
    """Issue 2, done when: killing any gateway leaves the others' clients talking."""
    alice, bob, carol = await cluster.join("alice", "bob", "carol")
    second = cluster.ports[1]
    cluster.gateway(1).kill()
    await bob.ended()
    await alice.say("still here")
    await carol.expect("alice: still here")
    await cluster.expect_output(f"gateway 2 ({second}) was ended by SIGKILL, 1 cut off")
    await cluster.expect_output(f"gateway 2 ({second}) is back\n")
    await cluster.join("dave", port=second)
    await carol.hear("dave joined the chat")


async def test_a_stopped_gateway_holds_up_one_newcomer_only(cluster):
    """The front never hands a gateway more than one unanswered connection."""
    stopped = cluster.gateway(0)
    stopped.suspend()
    try:
        held_up, *others = [await cluster.dial() for _ in range(10)]
        for person in others:
            await person.expect(PROMPT)
        assert held_up.lines == []
    finally:
        stopped.resume()
    await held_up.expect(PROMPT)


async def test_a_newcomer_held_up_by_a_gateway_that_dies_goes_to_another(cluster):
    stopped = cluster.gateway(0)
    stopped.suspend()
    held_up, other = await cluster.dial(), await cluster.dial()
    await other.expect(PROMPT)
    assert held_up.lines == []
    stopped.kill()
    await held_up.expect(PROMPT)
    assert not other.hung_up


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_a_signal_drains_the_gateways_then_ends_redis(cluster, number):
    """DESIGN 4: exit code 0 after a signal and a full drain; names are freed meanwhile."""
    alice, bob = await cluster.join("alice", "bob")
    children = cluster.children()
    cluster.send(number)
    assert await cluster.ended() == 0, cluster.output
    for person in (alice, bob):
        assert any(line.startswith("* ") for line in await person.ended())
    assert gone(children)
    assert "Traceback" not in cluster.output
    for name in ("alice", "bob"):
        assert f"{name} left on gateway" in cluster.output


async def test_a_second_signal_ends_everything_at_once(cluster):
    children = cluster.children()
    cluster.gateway(0).suspend()  # it will not drain
    cluster.send(signal.SIGINT)
    await cluster.expect_output("draining")
    cluster.send(signal.SIGINT)
    assert await cluster.ended(5) == 1
    assert gone(children)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
async def test_nothing_is_left_running_when_the_parent_is_killed(cluster, stopped):
    """Issue 2, done when: after ``kill -9`` of the parent nothing of it is left running."""
    children = cluster.children()
    assert len(children) >= 4
    if stopped:
        for child in children:
            child.suspend()
    cluster.kill()
    await eventually(lambda: gone(children), 5, "all have ended", lambda: children)


async def test_ctrl_c_in_the_terminal_reaches_the_parent_only(cluster):
    """Issue 2: Ctrl-C does not end Redis before the gateways have drained."""
    assert {os.getpgid(child.pid) for child in cluster.children()}.isdisjoint({cluster.pid})


async def test_a_redis_that_died_is_started_again_and_people_stay(cluster):
    people = await cluster.join("alice", "bob")
    cluster.redis.kill()
    await cluster.expect_output("Redis is back\n")
    assert [person.hung_up for person in people] == [False, False]


async def test_a_given_redis_is_used_and_left_alone(clusters):
    redis = RealRedis()
    try:
        await redis.start()
        cluster = await clusters().run("--redis-url", redis.url).up()
        assert cluster.redis_url == redis.url
        assert cluster.redis is None
        cluster.terminate()
        assert await cluster.ended() == 0
        assert redis.running
    finally:
        redis.close()


def in_use_behind(free):
    """A socket that listens, on a port with so many ``free`` ones before it.

    Not of those that the kernel gives out: others who run here could get one of these yet.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for before in range(port - free, port):
                stack.enter_context(socket.create_server(("127.0.0.1", before)))
            return socket.create_server(("127.0.0.1", port))
    raise AssertionError("no ports are free")


@pytest.mark.parametrize("nth", [0, 2], ids=["front", "gateway"])
async def test_a_port_in_use_is_one_line_with_the_address(clusters, nth):
    """DESIGN 4: exit code 1; issue 2: one line, with the address, no traceback."""
    with in_use_behind(free=nth) as other:
        taken = other.getsockname()[1]
        cluster = clusters().run(port=taken - nth)
        assert await cluster.ended() == 1
    line = f"gateway cluster: cannot listen on 127.0.0.1:{taken}: Address already in use\n"
    assert cluster.output == line


async def test_a_redis_that_is_not_there_is_told_and_waited_for(clusters):
    """Issue 2: Redis unreachable at the start: says so, accepts nobody until it is there."""
    redis = RealRedis()
    try:
        cluster = clusters().run("--redis-url", redis.url, gateways=1)
        await cluster.expect_output("gateway 1 warning: ")
        assert "chat is up" not in cluster.output
        await redis.start()
        await cluster.up()
        await cluster.join("alice")
        cluster.terminate()
        assert await cluster.ended() == 0
    finally:
        redis.close()


async def test_ctrl_c_before_it_is_up_ends_it_as_well(clusters):
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    cluster = clusters().run("--redis-url", nobody)
    await eventually(lambda: len(cluster.children()) == 3, 15, "three gateways are started")
    children = cluster.children()
    cluster.send(signal.SIGINT)
    assert await cluster.ended() == 0, cluster.output
    assert gone(children)
