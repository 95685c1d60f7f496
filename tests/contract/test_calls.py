"""What a call that was not answered as it should be may have done: against a server of our own.

No real one says at will that it loads its file, or closes between two answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import hiredis
import pytest
import pytest_asyncio
from processes import eventually
from redis.exceptions import NoScriptError, RedisError

from gateway.broker.calls import BEAT, SYNC, Call, Caller, NotSent, Unreachable
from gateway.broker.dial import connect
from gateway.config import Config

OK = b"+OK\r\n"
SYNC_CALL, BEAT_CALL = Call(SYNC, ("key",), ("1",)), Call(BEAT, ("key",), ("2",))


class Server:
    """Answers each command with what ``answer(words)`` returns; None: nothing, b"": the end."""

    def __init__(self) -> None:
        self.answer: Callable[[list[bytes]], bytes | None] = lambda words: OK
        self.port = self.connections = 0
        self.commands: list[list[bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._came = asyncio.Event()

    async def asked(self, verb: bytes) -> None:
        """Wait for such a command."""
        while not any(words[0] == verb for words in self.commands):
            self._came.clear()
            await self._came.wait()

    async def hang_up(self) -> None:
        """Close all connections."""
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()

    def answer_to(self, verb: bytes, answer: bytes | None) -> None:
        self.answer = lambda words: answer if words[0] == verb else OK

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        parser = hiredis.Reader()
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while received := await reader.read(65536):
                parser.feed(received)
                while (words := parser.gets()) is not False:
                    self.commands.append(words)
                    self._came.set()
                    answer = self.answer(words)
                    if answer == b"":
                        return
                    writer.write(answer or b"")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest_asyncio.fixture
async def caller(server):
    config = Config(redis_url=f"redis://:secret@127.0.0.1:{server.port}/0", reply_timeout_s=0.3)
    client = connect(config)
    yield Caller(client)
    await client.aclose()


def error(text: str) -> bytes:
    return f"-{text}\r\n".encode()


async def test_what_nobody_listens_for_was_not_sent():
    """Promise 4: who said it is told "not delivered", and that is true."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        client = connect(Config(redis_url=f"redis://127.0.0.1:{bound.getsockname()[1]}/0"))
        with pytest.raises(NotSent, match="Connect"):
            await Caller(client).call([SYNC_CALL])
        await client.aclose()


@pytest.mark.parametrize(
    "answer",
    [None, b"", error("WRONGPASS no"), error("LOADING the dataset"), error("ERR max clients")],
    ids=["silent", "closed", "refused", "loading", "full"],
)
async def test_what_was_not_let_in_was_not_sent(server, caller, answer):
    """calls: no connection could be had."""
    server.answer_to(b"AUTH", answer)
    with pytest.raises(NotSent):
        await caller.call([SYNC_CALL])
    assert not any(words[0] == b"EVALSHA" for words in server.commands)


@pytest.mark.parametrize("answer", [None, b""], ids=["silent", "closed"])
async def test_what_was_sent_and_is_not_answered_may_have_been_done(server, caller, answer):
    """DESIGN 3: a stopped Redis runs it when it wakes, even if the connection is closed by then."""
    server.answer_to(b"EVALSHA", answer)
    with pytest.raises(Unreachable) as lost:
        await caller.call([SYNC_CALL])
    assert not isinstance(lost.value, NotSent)


@pytest.mark.parametrize("code", ["LOADING", "BUSY", "NOAUTH", "OOM", "NOPERM", "ERR"])
async def test_an_error_is_an_answer_and_the_others_are_heard(server, caller, code):
    """calls: the errors Redis answered; such a call was not run."""
    answers = {b"1": error(f"{code} not now"), b"2": b":7\r\n"}
    server.answer = lambda words: answers.get(words[-1], OK)
    refused, done = await caller.call([SYNC_CALL, BEAT_CALL])
    assert isinstance(refused, RedisError)
    assert done == 7


@pytest.mark.parametrize("code", ["NOAUTH", "READONLY", "MASTERDOWN", "ERR Error: -READONLY"])
async def test_after_some_errors_another_connection_is_tried(server, caller, code):
    """calls: this one will not fare better."""
    server.answer_to(b"EVALSHA", error(f"{code} not here"))
    await caller.call([SYNC_CALL])
    server.answer_to(b"EVALSHA", b":7\r\n")
    assert await caller.call([SYNC_CALL]) == [7]
    assert server.connections == 2


async def test_a_connection_is_kept_for_the_next_call(server, caller):
    """calls: as many as there are calls under way; to make one costs more than a call."""
    server.answer_to(b"EVALSHA", b":7\r\n")
    for _ in range(3):
        both = await asyncio.gather(caller.call([SYNC_CALL]), caller.call([BEAT_CALL]))
        assert both == [[7], [7]]
    assert server.connections == 2


async def test_a_connection_that_redis_closed_meanwhile_is_not_used(server, caller):
    """Promise 4: what is sent over it could not be told "not delivered"."""
    server.answer_to(b"EVALSHA", b":7\r\n")
    await caller.call([SYNC_CALL])
    await server.hang_up()
    (kept,) = caller._idle
    await eventually(kept._reader.at_eof, 5, "the end has come to us")
    assert await caller.call([SYNC_CALL]) == [7]
    assert server.connections == 2


async def test_what_another_call_still_uses_is_not_used_again_after_a_failover(server, caller):
    """calls: a replica still answers those who only read."""
    server.answer_to(b"EVALSHA", None)
    reading = asyncio.create_task(caller.call([SYNC_CALL]))
    await server.asked(b"EVALSHA")
    waiting = server.writers[0]
    server.answer_to(b"EVALSHA", error("READONLY no"))
    await caller.call([BEAT_CALL])
    waiting.write(b":7\r\n")
    assert await reading == [7]
    server.answer_to(b"EVALSHA", b":7\r\n")
    await caller.call([SYNC_CALL])
    assert server.connections == 3


async def test_what_was_done_is_known_if_scripts_can_t_be_loaded_for_the_rest(
    server, caller, monkeypatch
):
    """calls: the others have run."""
    answers = {b"1": error("NOSCRIPT no"), b"2": b":7\r\n"}
    server.answer = lambda words: answers.get(words[-1], OK)
    connection = caller._connection

    async def once():
        monkeypatch.setattr(caller, "_connection", refused)
        return await connection()

    async def refused():
        raise NotSent

    monkeypatch.setattr(caller, "_connection", once)
    not_run, done = await caller.call([SYNC_CALL, BEAT_CALL])
    assert isinstance(not_run, NoScriptError)
    assert done == 7


@pytest.mark.parametrize("redis_url", ["real"], indirect=True)  # the fake one lets nobody else run
async def test_a_cancellation_is_not_swallowed(redis):
    """python/cpython#86296: the way of redis-py's own writing; a gateway would never end.

    Timers fall into line with the calls, so that it happened at almost each attempt.
    """

    read = Call(SYNC, redis.keys.room("@"), ("", 0, 0, 0, 60, "", "0"))

    async def call_often():
        for _ in range(2000):
            await redis.caller.call([read])

    for attempt in range(20):
        calling = asyncio.create_task(call_often())
        await asyncio.sleep(0.001 * attempt)
        calling.cancel()
        await asyncio.wait((calling,))
        assert calling.cancelled()


async def test_a_script_is_loaded_on_the_way_if_it_is_not_known(server, caller):
    """Promise 3: a Redis restart; it knows no scripts then."""
    loaded: list[bytes] = []

    def answer(words: list[bytes]) -> bytes:
        if words[:2] == [b"SCRIPT", b"LOAD"]:
            loaded.append(words[2])
            return b"$40\r\n" + b"0" * 40 + b"\r\n"
        if words[0] == b"EVALSHA":
            return b":7\r\n" if words[-1] == b"2" or loaded else error("NOSCRIPT no")
        return OK

    server.answer = answer
    assert await caller.call([SYNC_CALL, BEAT_CALL]) == [7, 7]
    assert loaded == [SYNC.text.encode()]
