"""``gateway chat``: what its address means, and how it complains."""

from __future__ import annotations

import asyncio
import ssl
import sys
from types import ModuleType
from typing import Any

import pytest
import trustme

from gateway import cli
from gateway.tools.chat import command


@pytest.fixture
def ran(monkeypatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    async def run_chat(**settings: Any) -> int:
        calls.append(settings)
        return 0

    module = ModuleType("gateway.tools.chat.command")
    module.run_chat = run_chat  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.tools.chat.command", module)
    for name in ("NAME", "ROOM", "TLS", "CA"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    return calls


def run(*args: str) -> object:
    with pytest.raises(SystemExit) as exit:
        cli.main(["chat", *args])
    return exit.value.code


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("chat.example.org", "chat.example.org", 8080),
        ("chat.example.org:9", "chat.example.org", 9),
        ("10.0.0.1:65535", "10.0.0.1", 65535),
        ("::1", "::1", 8080),
        ("[::1]", "::1", 8080),
        ("[fe80::1]:9", "fe80::1", 9),
    ],
)
def test_an_address_is_a_host_and_maybe_a_port(ran, address, host, port):
    assert run(address) == 0
    assert ran == [{"host": host, "port": port, "name": "", "room": "", "tls": None}]


def test_without_an_address_it_is_this_machine(ran, monkeypatch):
    monkeypatch.setenv("GATEWAY_NAME", "alice")
    assert run("--room", "kitchen") == 0
    settings = {"host": "localhost", "port": 8080, "name": "alice", "room": "kitchen"}
    assert ran == [{**settings, "tls": None}]


@pytest.mark.parametrize("address", ["", ":80", "host:", "host:0", "host:65536", "host:x", "[::1"])
def test_a_bad_address_is_one_line_and_exit_code_2(ran, capsys, address):
    assert run(address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"gateway chat: {address!r} is not HOST or HOST:PORT"
    assert ran == []


def test_tls_trusts_whom_it_is_told_to_trust(ran, monkeypatch, tmp_path):
    authority, file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    assert run("--tls", "--ca", str(file)) == 0
    monkeypatch.setenv("GATEWAY_TLS", "1")
    assert run() == 0
    trusted, default = (settings["tls"] for settings in ran)
    assert trusted.cert_store_stats()["x509_ca"] == 1
    for context in (trusted, default):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--ca", "ca.pem"), "--ca: it is of use with --tls only"),
        (("--tls", "--ca", "/no/such"), "--ca: '/no/such': No such file or directory"),
        (("--tls", "--ca", __file__), f"--ca: {__file__!r}: no certificates in it"),
    ],
)
def test_bad_authorities_are_one_line_and_exit_code_2(ran, capsys, arguments, complaint):
    assert run(*arguments) == 2
    assert capsys.readouterr().err == f"gateway chat: {complaint}\n"
    assert ran == []


@pytest.fixture(autouse=True)
def no_stdin(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


async def test_nobody_at_the_address_is_one_line_and_exit_code_1(capsys):
    assert await command.run_chat(host="127.0.0.1", port=1, name="a", room="") == 1
    assert capsys.readouterr().err == "gateway chat: cannot reach 127.0.0.1:1: Connection refused\n"


async def test_a_host_that_does_not_exist_is_one_line(capsys):
    assert await command.run_chat(host="no.such.host.invalid", port=1, name="a", room="") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gateway chat: cannot reach no.such.host.invalid:1: ")


@pytest.mark.parametrize("on_a_terminal", [False, True])
async def test_a_port_that_is_no_chat_is_one_line_and_exit_code_1(
    capsys, monkeypatch, on_a_terminal
):
    async def ssh(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        writer.close()

    async def screen(dial: Any, _name: str) -> None:
        async with dial("alice"):
            pass

    monkeypatch.setattr(command, "_on_a_terminal", lambda: on_a_terminal)
    monkeypatch.setattr(command, "_run_screen", screen)
    async with await asyncio.start_server(ssh, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await command.run_chat(host="127.0.0.1", port=port, name="a", room="") == 1
    complaint = f"cannot reach 127.0.0.1:{port}: what answers there is no chat"
    assert capsys.readouterr().err == f"gateway chat: {complaint}\n"


async def test_a_package_that_is_not_installed_is_named(capsys, monkeypatch):
    async def missing(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'prompt_toolkit'", name="prompt_toolkit")

    monkeypatch.setattr(command, "_on_a_terminal", lambda: True)
    monkeypatch.setattr(command, "_run_screen", missing)
    assert await command.run_chat(host="localhost", port=1, name="a", room="") == 1
    hint = "prompt_toolkit is not installed: pip install '.[chat]' in the checkout"
    assert capsys.readouterr().err == f"gateway chat: {hint}\n"
