"""A gateway's life: starting, being ready, draining, dying (DESIGN 4, commands; promise 6)."""

import asyncio
import signal
import socket
import subprocess
import sys

import pytest
from cluster import Cluster
from people import PROMPT, Person
from processes import GatewayProcess, Process, RealRedis, eventually, fault_lasts, free_port

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "flags",
    [
        ["--no-such-flag"],
        ["--port", "eighty"],
        ["--port", "70000"],
        ["--history", "-1"],
        ["--rate", "0"],
        ["--max-line", "10"],
        ["--framing", "morse"],
        ["--log-format", "xml"],
        ["--redis-url", "http://127.0.0.1/"],
        ["stray-word"],
    ],
    ids=" ".join,
)
async def test_bad_usage_is_one_line_and_exit_code_2(start_cluster, flags):
    gateway = GatewayProcess().launch(NOWHERE, *flags)
    assert await gateway.ended() == 2
    (line,) = gateway.output.splitlines()
    assert flags[0] in line or flags[-1] in line


@pytest.mark.parametrize(
    "flags",
    [
        ["--admin-port", "18999", "--port", "18999"],
        ["--trusted-proxies", "everybody"],
        ["--tls-cert", "/nowhere.pem"],
        ["--tls-key", "/nowhere.pem"],
    ],
    ids=" ".join,
)
async def test_settings_that_cannot_work_are_refused_before_a_redis_is_started(
    start_cluster, flags
):
    gateway = GatewayProcess().launch("", *flags)
    assert await gateway.ended() == 2
    (line,) = gateway.output.splitlines()
    assert line.startswith(f"gateway serve: {flags[0]}")


def command_lines(pid: int) -> str:
    """Of a process and its children, as everybody on the machine can read them."""
    command = ["ps", "-ww", "-o", "args=", "--pid", str(pid), "--ppid", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_password_does_not_stay_on_the_command_line(processes_end):
    """Issue: secrets never show in logs, ``ps`` or errors.  The process stays the same one."""
    redis = await RealRedis(password="hunter2").start()
    url = f"redis://:hunter2@127.0.0.1:{redis.port}/0"
    gateway = await GatewayProcess().launch(url).wait_ready()
    (warning,) = [entry for entry in gateway.log if entry["level"] == "warning"]
    assert "GATEWAY_REDIS_URL" in warning["event"]
    assert "--redis-password-file" in warning["event"]
    assert "gateway serve --port 0" in command_lines(gateway.pid)
    assert "hunter2" not in command_lines(gateway.pid) + gateway.output
    gateway.terminate()
    assert await gateway.ended() == 0


async def test_nor_on_that_of_a_cluster_and_its_gateways(processes_end):
    redis = await RealRedis(password="hunter2").start()
    cluster = Process("cluster")
    options = ("--gateways", "1", "--port", "0", "--redis-url")
    url = f"redis://:hunter2@127.0.0.1:{redis.port}/0"
    cluster.spawn(sys.executable, "-m", "gateway", "cluster", *options, url)
    await eventually(lambda: "chat is up" in cluster.output, 30, "up", lambda: cluster.output)
    assert "gateway cluster" in command_lines(cluster.pid)
    assert "gateway serve" in command_lines(cluster.pid)
    assert "hunter2" not in command_lines(cluster.pid) + cluster.output
    cluster.send(signal.SIGINT)
    assert await cluster.ended(20) == 0


async def test_a_bad_variable_of_the_environment_is_named(start_cluster):
    """DESIGN 4: each flag is also an environment variable ``GATEWAY_<FLAG>``."""
    gateway = GatewayProcess()
    gateway.environment["GATEWAY_HISTORY"] = "many"
    gateway.launch(NOWHERE)
    assert await gateway.ended() == 2
    (line,) = gateway.output.splitlines()
    assert "GATEWAY_HISTORY" in line


async def test_a_port_in_use_is_one_line_with_the_address_and_exit_code_1(start_cluster):
    cluster = await start_cluster(1)
    address = cluster.gateways[0].address
    other = GatewayProcess("other").launch(
        cluster.redis.url, "--port", str(cluster.gateways[0].port)
    )
    assert await other.ended() == 1
    assert len([line for line in other.output.splitlines() if address in line]) == 1
    assert not other.logged("ready")
    assert "Traceback" not in other.output
    assert "traceback" not in other.output


async def test_a_gateway_without_its_redis_says_so_and_accepts_nobody_until_it_is_there(
    start_cluster,
):
    redis, port = RealRedis(), free_port()
    gateway = GatewayProcess().launch(redis.url, "--port", str(port))
    await eventually(lambda: gateway.log, 10, "the gateway says something")
    with pytest.raises(ConnectionRefusedError):
        await Person.dial(port)
    await redis.start()
    await gateway.wait_ready()
    complaints = [e for e in gateway.log if e["level"] in ("warning", "error")]
    assert len(complaints) == 1, "said once, not at every attempt"
    person = await Person.connect(port)
    assert await person.join("alice")
    person.abort()
    assert not gateway.blemishes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_drains_a_gateway(cluster: Cluster, number: signal.Signals):
    """Clients are told, sockets flushed and closed, names freed, exit 0."""
    alice, bob, carol, dave = await cluster.join("alice", "bob", "carol", "dave")
    stranger = await cluster.newcomer(on=0)
    await alice.say("my last words")
    for other in (bob, carol, dave):
        await other.expect("alice: my last words")
    cluster.gateways[0].send(number)
    for leaver in (alice, dave):
        rest = await leaver.ended()
        assert any(line.startswith("* ") for line in rest)
        assert all(line.startswith("* ") or line.endswith(" has left the chat") for line in rest)
    await stranger.ended()
    assert await cluster.gateways[0].ended() == 0
    for stayer in (bob, carol):
        left = sorted([await stayer.next_line(), await stayer.next_line()])
        assert left == ["alice has left the chat", "dave has left the chat"]
        await stayer.expect_silence()
    await cluster.join("alice", "dave", on=1)


async def test_idle_and_unread_clients_do_not_hold_up_a_drain(start_cluster):
    cluster = await start_cluster(2, "--drain-timeout", "2")
    alice, bob = await cluster.join("alice", "bob")
    alice.pause_reading()
    cluster.gateways[0].terminate()
    assert await cluster.gateways[0].ended(within_s=8) == 0
    await bob.expect("alice has left the chat")


async def test_a_draining_gateway_can_be_replaced_while_people_talk(start_cluster):
    """A rolling restart: those on other gateways notice no more than who left."""
    cluster = await start_cluster(2)
    _, bob = await cluster.join("alice", "bob")
    cluster.gateways[0].terminate()
    await bob.expect("alice has left the chat")
    fresh = await cluster.launch().wait_ready()
    assert fresh.port != cluster.gateways[1].port
    (alice,) = await cluster.join("alice", on=2)
    await alice.say("back again")
    await bob.expect("alice: back again")


async def test_killing_a_gateway_leaves_the_others_talking_and_ends_its_names_once(
    cluster: Cluster,
):
    """Promise 6: within 15 s, and ``left`` is said exactly once."""
    alice, bob, carol, dave = await cluster.join("alice", "bob", "carol", "dave")
    cluster.gateways[0].kill()
    for victim in (alice, dave):
        await victim.ended()
    for number in range(5):
        await bob.say(f"still here {number}")
        await carol.expect(f"bob: still here {number}")
    for survivor in (bob, carol):
        left = sorted([await survivor.next_line(timeout=15), await survivor.next_line(timeout=1)])
        assert left == ["alice has left the chat", "dave has left the chat"]
    await cluster.join("alice", "dave", on=1)
    for survivor in (bob, carol):
        await survivor.expect_silence()


async def test_the_name_of_a_killed_gateways_client_can_be_claimed_after_two_beats(
    cluster: Cluster,
):
    """DESIGN 4, names: its ``left`` is said, then the new ``joined``."""
    _, bob = await cluster.join("alice", "bob")
    cluster.gateways[0].kill()
    again = await cluster.newcomer(on=1)
    deadline = asyncio.get_running_loop().time() + 8
    await again.say("alice")
    while (await again.next_line(), await again.next_line())[1] == PROMPT:
        assert asyncio.get_running_loop().time() < deadline, "refused by one's own ghost"
        await again.say("alice")
    await bob.expect("alice has left the chat", "alice joined the chat")
    await again.say("me again")
    await bob.expect("alice: me again")
    await bob.expect_silence()


async def test_newcomers_wait_while_redis_is_away_and_their_deadline_stands_still(start_cluster):
    """DESIGN 4: while Redis is away newcomers are told to wait."""
    cluster = await start_cluster(1, "--name-timeout", "6")
    gateway = cluster.gateways[0]
    (alice,) = await cluster.join("alice")
    early, late, silent = [await cluster.newcomer() for _ in range(3)]
    cluster.redis.kill()
    await early.say("bob")
    await eventually(lambda: gateway.logged("redis away"), 10, "the gateway has noticed")
    await late.say("carol")
    await late.expect_told("wait")
    await early.expect_told("wait")
    await fault_lasts(6)
    await silent.say("dave")
    await cluster.redis.restart()
    joined = [await alice.next_line(timeout=15) for _ in range(3)]
    assert sorted(joined) == [f"{name} joined the chat" for name in ("bob", "carol", "dave")]
    await alice.expect_silence()


async def test_who_gave_a_name_is_not_told_that_none_was_given(start_cluster):
    """However long Redis takes to grant it, and however late it is seen to be away."""
    cluster = await start_cluster(1, "--name-timeout", "1")
    (alice,) = await cluster.join("alice")
    bob = await cluster.newcomer()
    cluster.redis.stop()
    await bob.say("bob")
    await fault_lasts(2)
    cluster.redis.cont()
    await alice.expect("bob joined the chat")
    await bob.barrier()
    assert "* no name was given in time, goodbye" not in bob.lines


async def test_systemctl_status_shows_what_a_gateway_waits_for(processes_end, tmp_path):
    """``Type=notify``: started means ready, and until then it says why it is not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)

        async def told() -> str:
            text = await asyncio.get_running_loop().sock_recv(systemd, 4096)
            return text.decode().replace("\n", " ")

        redis = RealRedis()
        gateway = GatewayProcess()
        gateway.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        gateway.launch(redis.url)
        async with asyncio.timeout(60):
            assert await told() == "STATUS=waiting for Redis"
            await redis.start()
            assert await told() == "READY=1 STATUS=ready"
            redis.stop()
            assert await told() == "STATUS=waiting for Redis"
            redis.cont()
            assert await told() == "STATUS=ready"
            gateway.terminate()
            assert await told() == "STOPPING=1 STATUS=draining"
        assert await gateway.ended() == 0


async def test_the_port_is_free_again_after_the_end(start_cluster):
    cluster = await start_cluster(1)
    await cluster.join("alice")
    port = cluster.gateways[0].port
    cluster.gateways[0].terminate()
    assert await cluster.gateways[0].ended() == 0
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    await GatewayProcess("next").launch(cluster.redis.url, "--port", str(port)).wait_ready()
