"""``gateway chat``: what its address means, and how it complains."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

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
    for name in ("NAME", "ROOM"):
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
    assert ran == [{"host": host, "port": port, "name": "", "room": ""}]


def test_without_an_address_it_is_this_machine(ran, monkeypatch):
    monkeypatch.setenv("GATEWAY_NAME", "alice")
    assert run("--room", "kitchen") == 0
    assert ran == [{"host": "localhost", "port": 8080, "name": "alice", "room": "kitchen"}]


@pytest.mark.parametrize("address", ["", ":80", "host:", "host:0", "host:65536", "host:x", "[::1"])
def test_a_bad_address_is_one_line_and_exit_code_2(ran, capsys, address):
    assert run(address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{address!r} is not HOST or HOST:PORT")
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


async def test_a_package_that_is_not_installed_is_named(capsys, monkeypatch):
    async def missing(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'prompt_toolkit'", name="prompt_toolkit")

    monkeypatch.setattr(command, "_on_a_terminal", lambda: True)
    monkeypatch.setattr(command, "_run_screen", missing)
    assert await command.run_chat(host="localhost", port=1, name="a", room="") == 1
    assert "prompt_toolkit is not installed: pip install" in capsys.readouterr().err
