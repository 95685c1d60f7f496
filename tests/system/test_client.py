"""``gateway.client`` and the JSON front, between real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import trustme
from front_port import FrontPort
from jsonschema import Draft202012Validator
from processes import REPOSITORY, Process, eventually

import gateway.fronts
from gateway.client import (
    Ack,
    Chat,
    Event,
    Joined,
    Left,
    Message,
    Missed,
    NoChat,
    Refused,
    RoomEvent,
    connect,
)

SCHEMA = json.loads(Path(gateway.fronts.__file__).with_name("schema.json").read_text("utf-8"))
README = (REPOSITORY / "gateway" / "client" / "README.md").read_text("utf-8")


class Ear:
    """Keeps what a chat hears."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.chat:
            self.events.append(event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    def log(self) -> dict[int, str]:
        """Offset and text of everything that was said, by oneself and by others."""
        said = self.of(Message, Ack)
        log = {event.offset: event.text for event in said if not getattr(event, "history", False)}
        live = [event for event in said if not getattr(event, "history", False)]
        assert len(log) == len(live), "something came twice"
        return log


@pytest_asyncio.fixture
async def front(processes_end: None) -> AsyncIterator[FrontPort]:
    """Two gateways behind one port."""
    front = await FrontPort.start(2)
    yield front
    front.close()


async def talk(chat: Chat, count: int) -> list[int]:
    """Say ``count`` lines without ever waiting for an answer before the next."""
    answers = []
    for number in range(count):
        answers.append(await chat.post("say", text=f"{chat.name} {number}"))
        await asyncio.sleep(0.05)
    return [answer.offset for answer in await asyncio.gather(*answers)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
async def test_nothing_is_lost_or_doubled_when_a_gateway_goes(front: FrontPort, number):
    """DESIGN 4: so a client that reconnects after its gateway died neither loses nor doubles."""
    async with (
        connect("localhost", front.port, name="alice") as alice,
        connect("localhost", front.port, name="bob") as bob,
    ):
        ears = [Ear(alice), Ear(bob)]
        talking = [asyncio.create_task(talk(chat, 100)) for chat in (alice, bob)]
        for name in ("alice", "bob"):
            await eventually(lambda: all(len(ear.log()) > 20 for ear in ears), 20, "they talk")
            os.kill(front.gateway_of(name).pid, number)
            await eventually(lambda: len(front.gateways()) == 2, 20, "two gateways are there")
        offsets = [*await talking[0], *await talking[1]]
        assert len(set(offsets)) == 200
        await eventually(lambda: all(len(ear.log()) >= 200 for ear in ears), 20, "all is heard")
        assert ears[0].log() == ears[1].log()
        texts = [text for _, text in sorted(ears[0].log().items())]
        for name in ("alice", "bob"):
            said = [text for text in texts if text.startswith(name)]
            assert said == [f"{name} {count}" for count in range(100)]
        for ear in ears:
            places = [event.offset for event in ear.of(RoomEvent, Ack)]
            assert places == sorted(places)
            assert ear.of(Missed) == []
        if number is signal.SIGKILL:
            coming = [event for ear in ears for event in ear.of(Joined, Left)]
            assert {(type(event), event.sender) for event in coming} == {(Joined, "bob")}


async def test_a_stopped_gateway_is_left_for_another(front: FrontPort):
    async with (
        connect("localhost", front.port, name="alice", ping_s=0.2, silence_s=1) as alice,
        connect("localhost", front.port, name="bob") as bob,
    ):
        ear = Ear(bob)
        stopped = front.gateway_of("alice")
        stopped.suspend()
        try:
            offset = await asyncio.wait_for(alice.say("from elsewhere"), 30)
            await eventually(lambda: offset in ear.log(), 10, "bob hears it")
        finally:
            stopped.resume()
        assert await alice.say("still here") == offset + 1
        assert [event.sender for event in ear.of(Left)] == []


async def test_a_taken_name_is_refused(gateway):
    port = gateway.gateways[0].port
    async with connect("localhost", port, name="alice"):
        with pytest.raises(Refused, match="taken") as refused:
            async with connect("localhost", port, name="Alice"):
                pass
    assert refused.value.code == "name_taken"


async def test_it_comes_over_tls_and_trusts_who_it_is_told_to(start_cluster, tmp_path):
    """``connect(…, ssl=…)``: to a gateway with a certificate of an authority made here."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    port = (await start_cluster(1, "--tls-cert", str(tmp_path / "both.pem"))).gateways[0].port
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with connect("localhost", port, name="alice", ssl=trusting) as alice:
        assert await alice.say("hi") > 0
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connect("localhost", port, name="bob", ssl=True):
                pass
        with pytest.raises(NoChat, match="is it TLS"):
            async with connect("localhost", port, name="bob"):
                pass
        assert await alice.who() == ("alice",)


# Every line is one of the schema's


class Raw:
    """A program that speaks the JSON front by itself."""

    open: ClassVar[list[Raw]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, name: str, **more: Any) -> Raw:
        line = {"name": name, **more}
        check("client", line)
        return await cls.begin(port, json.dumps(line).encode())

    @classmethod
    async def begin(cls, port: int, first: bytes) -> Raw:
        """A connection with whatever first line."""
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        cls.open.append(raw)
        await raw.send(first)
        assert await raw._reader.readline() == b"Enter your name: \n"
        return raw

    async def say(self, **line: Any) -> None:
        check("client", line)
        self._writer.write(json.dumps(line).encode() + b"\n")

    async def send(self, line: bytes) -> None:
        """A line that is wrong on purpose."""
        self._writer.write(line + b"\n")

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            line = json.loads(await self._reader.readline())
        check("server", line)
        return dict(line)

    async def expect(self, type: str, **wanted: Any) -> dict[str, Any]:
        line = await self.next()
        assert line["type"] == type, line
        assert {key: line.get(key) for key in wanted} == wanted
        return line

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            assert await self._reader.readline() == b""

    @classmethod
    async def close_all(cls) -> None:
        while cls.open:
            raw = cls.open.pop()
            raw._writer.close()
            await raw._writer.wait_closed()


def check(side: str, line: dict[str, Any]) -> None:
    """The line is valid, and holds nothing that its schema does not name."""
    kinds = [each["$ref"].removeprefix("#/$defs/") for each in SCHEMA["$defs"][side]["anyOf"]]
    valid = [
        kind
        for kind in kinds
        if Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{kind}"}]}).is_valid(line)
    ]
    assert valid, f"no line of a {side}: {line}"
    assert any(set(line) <= set(SCHEMA["$defs"][kind]["properties"]) for kind in valid), line


@pytest_asyncio.fixture
async def programs() -> AsyncIterator[type[Raw]]:
    """Connect with ``programs.connect``; all are closed at the end."""
    yield Raw
    await Raw.close_all()


async def test_every_line_of_a_conversation_is_in_the_schema(gateway, programs):
    """DESIGN 4, the JSON front, from the first line to the last."""
    Draft202012Validator.check_schema(SCHEMA)
    port = gateway.gateways[0].port
    secret = "0123456789abcdef" * 2
    alice = await programs.connect(port, "alice", room="lobby", session=secret)
    here = await alice.expect("welcome", name="alice", room="lobby", people=1)
    bob = await programs.connect(port, "bob")
    await bob.expect("welcome", people=2)
    await alice.expect("joined", **{"from": "bob"})
    await alice.say(type="say", text="hi", ref="1")
    offset = (await alice.expect("ack", ref="1"))["offset"]
    await bob.expect("message", **{"from": "alice"}, text="hi", offset=offset)
    await bob.say(type="me", text="waves")
    await alice.expect("action", **{"from": "bob"}, text="waves", epoch=here["epoch"])
    await alice.say(type="msg", to="bob", text="psst", ref=2)
    assert "offset" not in await alice.expect("ack", ref="2")
    await bob.expect("private", **{"from": "alice"}, to="bob", text="psst")
    await alice.say(type="msg", to="carol", text="?", ref="3")
    await alice.expect("error", code="absent", ref="3")
    await alice.say(type="who")
    await alice.expect("people", room="lobby", people=["alice", "bob"])
    await alice.say(type="rooms")
    await alice.expect("rooms", rooms=[{"room": "lobby", "people": 2}])
    await alice.say(type="history", count=1)
    await alice.expect("action", history=True, text="waves")
    await alice.expect("history", count=1)
    await alice.say(type="ping")
    await alice.expect("pong")
    await bob.say(type="nick", name="Bob2")
    for each in (alice, bob):
        await each.expect("renamed", **{"from": "bob"}, to="Bob2")
    await bob.say(type="join", room="Kitchen")
    await bob.expect("welcome", room="kitchen", people=1)
    await alice.expect("left", **{"from": "Bob2"})
    await bob.say(type="leave")
    await bob.expect("welcome", room="lobby", people=2)
    for text in ("hi", "waves"):
        await bob.expect(*(("message",) if text == "hi" else ("action",)), history=True, text=text)
    await alice.expect("joined", **{"from": "Bob2"})
    for line, code in [
        (b"{", "bad_json"),
        (b'{"type":"dance"}', "unknown_type"),
        (b'{"type":"say"}', "bad_request"),
        (b'{"type":"say","text":"' + b"x" * 5000 + b'"}', "too_long"),
        (b'{"type":"nick","name":"a b"}', "name_refused"),
        (b'{"type":"nick","name":"Bob2"}', "name_taken"),
        (b'{"type":"join","room":"a b"}', "room_refused"),
    ]:
        await alice.send(line)
        await alice.expect("error", code=code)
    await bob.say(type="quit")
    await bob.expect("notice")
    await bob.ended()
    left = await alice.expect("left", **{"from": "Bob2"})
    again = await programs.connect(
        port, "alice", session=secret, epoch=here["epoch"], after=left["offset"] - 1
    )
    await again.expect("welcome", name="alice")
    await again.expect("left", offset=left["offset"])
    await again.say(type="say", text="hi", ref="1")
    await again.expect("ack", ref="1", offset=offset)
    await alice.expect("error", code="replaced")
    await alice.ended()
    stranger = await programs.connect(port, "ALICE")
    await stranger.expect("error", code="name_taken")
    await stranger.ended()
    await again.say(type="quit")
    await again.expect("notice")
    await again.ended()


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (b"{", "bad_json"),
        (b'{"room":"lobby"}', "bad_request"),
        (b'{"name":"bot","session":"short"}', "bad_request"),
        (b'{"name":"' + b"x" * 20_000 + b'"}', "too_long"),
        (b'{"name":"a b"}', "name_refused"),
        (b'{"name":"bot","room":"a b"}', "room_refused"),
    ],
)
async def test_a_first_line_that_is_refused_is_told_and_the_connection_closed(
    gateway, programs, first, code
):
    """README: the table of codes."""
    stranger = await programs.begin(gateway.gateways[0].port, first)
    await stranger.expect("error", code=code)
    await stranger.ended()


# The README's bots


def program(start: str) -> str:
    """The example of the README that starts with ``start``."""
    (found,) = [
        text
        for text in re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
        if text.startswith(start)
    ]
    return found


async def greeted_by(name: str, port: int) -> None:
    """A bot called ``name`` answers who greets it."""
    async with asyncio.timeout(20), connect("localhost", port, name="alice") as alice:
        while name not in await alice.who():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await alice.say("hello")
        async for event in alice:
            if isinstance(event, Message) and not event.history:
                assert (event.sender, event.text) == (name, "hello alice")
                return


async def test_the_bot_in_ten_lines_of_python_works(gateway):
    port = gateway.gateways[0].port
    text = program("import asyncio\n").replace("8080", str(port))
    assert len([line for line in text.splitlines() if line]) <= 10
    Process("bot").spawn(sys.executable, "-c", text)
    await greeted_by("bot", port)


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
async def test_the_bot_in_shell_works(gateway):
    port = gateway.gateways[0].port
    bot = Process("bot")
    text = program("mkfifo").replace("8080", str(port))
    bot.spawn("bash", "-c", f"cd {bot.directory}; {text}")
    try:
        await greeted_by("shellbot", port)
    finally:
        # Whatever it started has its process group.
        os.killpg(bot.pid, signal.SIGKILL)
