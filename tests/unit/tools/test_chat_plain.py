"""``gateway chat`` in a pipe: what it complains of on stderr, and its exit code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO

import pytest
import pytest_asyncio

from gateway.client import connect
from gateway.tools.chat import plain
from gateway.tools.chat.plain import Plain
from tests.unit.client.fake import FakeGateway


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    gateway = await FakeGateway().start()
    yield gateway
    await gateway.stop()


@pytest.fixture
def stdin() -> Iterator[tuple[int, BinaryIO]]:
    """The end that is read, and the one that is written."""
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb", buffering=0) as lines:
        yield reading, lines


async def heard(capsys: Any, condition: Callable[[str], bool]) -> str:
    """What stands on stderr once it is enough."""
    text = ""
    async with asyncio.timeout(10):
        while not condition(text):
            await asyncio.sleep(0.005)
            text += capsys.readouterr().err
    return text


def running(gateway: FakeGateway, source: int) -> asyncio.Task[int]:
    chat = connect("127.0.0.1", gateway.port, name="alice")
    return asyncio.create_task(Plain(chat, source).run())


async def test_who_is_not_let_in_is_told_why_in_one_line(gateway, stdin, capsys, monkeypatch):
    monkeypatch.setattr(plain, "_PATIENCE_S", 0.05)
    gateway.full = b"* too many are here\n"
    run = running(gateway, stdin[0])
    complaint = await heard(capsys, lambda text: text.endswith("\n"))
    assert complaint == "gateway chat: not in the chat yet (too many are here), waiting\n"
    gateway.full = None
    stdin[1].close()
    assert await run == 0
    assert capsys.readouterr().err == ""


async def test_a_lost_connection_is_one_line_and_being_back_another(gateway, stdin, capsys):
    run = running(gateway, stdin[0])
    stdin[1].write(b"one\n")
    async with asyncio.timeout(10):
        while not gateway.log.said:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    gateway.drop()
    lost, again = (await heard(capsys, lambda text: text.count("\n") == 2)).splitlines()
    assert lost.startswith("gateway chat: the connection is lost (")
    assert again == "gateway chat: connected again, in lobby as alice"
    stdin[1].close()
    assert await run == 0


async def test_lines_that_are_refused_here_and_there_are_told_with_their_numbers(
    gateway, stdin, capsys
):
    """README: each line that was refused makes the exit code 1."""
    stdin[1].write(b"\n/nobody\nok\n/msg nobody hi\n\xff\xfe\n/history 0\n")
    stdin[1].close()
    assert await running(gateway, stdin[0]) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "gateway chat: line 2: unknown command: /nobody, did you mean /help?",
        "gateway chat: line 4: nobody is not here",
        "gateway chat: line 5: that line was not UTF-8, not sent",
        "gateway chat: line 6: usage: /history [N]",
    ]
    assert [line["text"] for line in gateway.lines if line["type"] == "say"] == ["ok"]
