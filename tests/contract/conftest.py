"""The scripts on two servers: fakeredis, and a real one that lives for the whole run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import fakeredis
import pytest
import pytest_asyncio

from gateway.broker.calls import BEAT, BURY, PUBLISH, REGISTRY, Call, Caller, Script
from gateway.broker.dial import connect
from gateway.broker.embedded import EmbeddedServer
from gateway.broker.keys import Keys
from gateway.broker.reader import Question, Reader, Snapshot
from gateway.chat.events import Envelope, decode_envelope
from gateway.config import Config

SILENT_TICKS, DEAD_TICKS, BEAT_MS = Config().silent_ticks, Config().dead_ticks, 1000


class Alive(NamedTuple):
    """What ``beat.lua`` answers."""

    state: str
    tick: int
    redis_s: float
    to_reap: list[str]


class Member(NamedTuple):
    """One session, and the fields of ``publish.lua``'s operations that say who holds it."""

    session: str = "s1"
    gateway: str = "G1"
    generation: int = 1
    name: str = "alice"

    def says(self, text: str = "hi", ref: int = 0) -> tuple[Any, ...]:
        return self.does("say", text, ref)

    def joins(self) -> tuple[Any, ...]:
        return self.does("join", "joined")

    def keeps(self) -> tuple[Any, ...]:
        return self.does("keep", "")

    def leaves(self) -> tuple[Any, ...]:
        return self.does("leave", "left")

    def renames(self, name: str) -> tuple[Any, ...]:
        return self._replace(name=name).does("rename", "renamed")

    def does(self, verb: str, body: str, ref: int = 0, age_ms: int = 0) -> tuple[Any, ...]:
        membership = f"{self.gateway} {self.generation} {self.name}"
        return (verb, self.session, membership, ref, age_ms, body)


class Channel:
    """A subscription whose end is marked, so that silence can be seen."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name, self._pubsub = client, name, client.pubsub()

    async def open(self) -> None:
        await self._pubsub.subscribe(self._name)
        await anext(self._pubsub.listen())

    async def heard(self) -> list[bytes]:
        """Every payload that was published since the last time."""
        await self._client.publish(self._name, b"the end")
        found: list[bytes] = []
        async for message in self._pubsub.listen():
            if message["data"] == b"the end":
                return found
            found.append(message["data"])
        raise AssertionError("the subscription ended")

    async def close(self) -> None:
        await self._pubsub.aclose()


class Scripts:
    """Calls each script as a gateway does; batches are numbered unless a number is given."""

    def __init__(self, client: Any, *, real: bool) -> None:
        self.client, self.real = client, real
        self.caller = Caller(client)
        self.keys = Keys("test")
        self.number = 0

    async def publish(
        self,
        *operations: tuple[Any, ...],
        room: str = "lobby",
        gateway: str = "G1",
        number: int = 0,
        epoch: str = "",
        log_length: int = 1000,
        history_length: int = 1000,
        retention_s: int = 1000,
        memory_s: int = 100,
    ) -> str:
        if not number:
            self.number += 1
            number = self.number
        keys = self.keys.room(room)
        head = (number, epoch, self.keys.channel(room), gateway, log_length, history_length)
        refs = (self.keys.refs(room), 256, 600)
        fields = (field for operation in operations for field in operation)
        reply = await self._run(PUBLISH, keys, *head, retention_s, memory_s, *refs, *fields)
        return reply.decode()

    async def sync(
        self,
        room: str = "lobby",
        epoch: str = "",
        offset: int = 0,
        *,
        replay_events: int = 500,
        retention_s: int = 1000,
        **asked: Any,
    ) -> Snapshot:
        config = Config(replay_events=replay_events, retention_s=retention_s)
        asked = {"create": True, "history": 10} | asked
        question = Question(room, epoch, offset, **asked)
        (snapshot,) = await Reader(self.caller, self.keys, config).read([question])
        if not isinstance(snapshot, Snapshot):
            raise snapshot
        return snapshot

    def member(self, session: str = "s1", **more: Any) -> Member:
        return Member(session, **more)

    async def open(self, room: str = "lobby", *members: Member) -> str:
        """Make the room's log, with these members.  Returns its epoch."""
        epoch = (await self.sync(room)).epoch
        for member in members:
            await self.publish(member.keeps(), room=room, gateway=member.gateway)
        return epoch

    async def registry(
        self, *operations: tuple[Any, ...], gateway: str = "G1", number: int = 0
    ) -> list[str]:
        """``operations``: verb, folded name, session, generation, room, name."""
        keys, fields = self.keys, [field for operation in operations for field in operation]
        held = keys.holds(gateway)
        shared = (keys.rooms, keys.calls, keys.sessions)
        where = (keys.names, keys.clock, keys.beats, held, *shared)
        self.number += 1
        head = (gateway, SILENT_TICKS, 1000, gateway, number or self.number)
        reply = await self._run(REGISTRY, where, *head, *fields)
        return [one.decode().rstrip() for one in reply]

    async def claim(
        self, name: str, session: str, generation: int = 0, *, gateway: str = "G1"
    ) -> str:
        claim = ("claim", name.lower(), session, generation, "lobby", name)
        return (await self.registry(claim, gateway=gateway))[0]

    async def release(
        self, name: str, session: str, generation: int, *, gateway: str = "G1"
    ) -> None:
        release = ("release", name.lower(), session, generation, "", "")
        await self.registry(release, gateway=gateway)

    async def beat(self, gateway: str = "G1", retention_s: int = 1000) -> Alive:
        keys = self.keys
        registry = (keys.clock, keys.beats, keys.dying, keys.gateways, keys.names)
        where = (*registry, keys.holds(gateway), keys.rooms, keys.calls, keys.sessions)
        about = (f"about {gateway}", keys.probes(gateway), f"probe of {gateway}")
        state, tick, seconds, microseconds, *dead = await self._run(
            BEAT, where, gateway, BEAT_MS, DEAD_TICKS, retention_s, *about
        )
        to_reap = [gateway.decode() for gateway in dead]
        return Alive(state.decode(), tick, seconds + microseconds / 1e6, to_reap)

    async def pass_time(self, ms: int) -> None:
        """As if the clock's last tick were that much longer ago."""
        await self.client.hincrby(self.keys.clock, "at", -ms)

    async def beat_for(self, ticks: int, *gateways: str) -> list[str]:
        """These gateways beat as they should.  Returns all that they were told to reap."""
        to_reap: list[str] = []
        for _ in range(ticks):
            await self.pass_time(BEAT_MS)
            for gateway in gateways:
                to_reap += (await self.beat(gateway)).to_reap
        return to_reap

    async def bury(self, gateway: str) -> None:
        keys = self.keys
        where = (keys.beats, keys.dying, keys.gateways, keys.holds(gateway), keys.calls)
        await self._run(BURY, where, gateway)

    async def log(self, room: str = "lobby") -> list[Envelope]:
        return await self._lines(self.keys.room(room)[1])

    async def history(self, room: str = "lobby") -> list[Envelope]:
        lines = await self.client.lrange(self.keys.room(room)[2], 0, -1)
        return [decode_envelope(line) for line in lines]

    async def members(self, room: str = "lobby") -> dict[str, str]:
        found = await self.client.hgetall(self.keys.room(room)[3])
        return {session.decode(): record.decode() for session, record in found.items()}

    async def renew_at(self, room: str = "lobby") -> int:
        """In s of Redis's time."""
        return int(await self.client.hget(self.keys.room(room)[0], "renew_at"))

    async def everything(self) -> dict[str, Any]:
        """All that is stored, to see whether something changed."""
        read = {
            b"hash": self.client.hgetall,
            b"stream": self.client.xrange,
            b"set": self.client.smembers,
            b"zset": lambda key: self.client.zrange(key, 0, -1, withscores=True),
            b"string": self.client.get,
            b"list": lambda key: self.client.lrange(key, 0, -1),
        }
        keys = sorted(await self.client.keys())
        return {key.decode(): await read[await self.client.type(key)](key) for key in keys}

    async def ttls(self) -> dict[str, int]:
        """Seconds that each key has to live; -1: for ever."""
        return {key.decode(): await self.client.ttl(key) for key in await self.client.keys()}

    async def _lines(self, key: str) -> list[Envelope]:
        entries = await self.client.xrange(key)
        found = [decode_envelope(entry[b"e"]) for _, entry in entries]
        assert [id.decode() for id, _ in entries] == [f"{line.offset}-0" for line in found]
        return found

    async def _run(self, script: Script, keys: tuple[str, ...], *args: Any) -> Any:
        (reply,) = await self.caller.call([Call(script, keys, args)])
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.fixture(scope="session")
def real_server() -> Iterator[EmbeddedServer]:
    with asyncio.Runner() as runner:
        server = EmbeddedServer()
        runner.run(server.start())
        yield server
        runner.run(server.stop())


@pytest.fixture(params=["fakeredis", "real"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """'' for fakeredis."""
    return request.getfixturevalue("real_server").url if request.param == "real" else ""


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Scripts]:
    """An empty server."""
    if redis_url:
        client: Any = connect(Config(redis_url=redis_url))
        await client.flushall()
    else:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield Scripts(client, real=bool(redis_url))
    await client.aclose()


@pytest_asyncio.fixture
async def channel(redis: Scripts) -> AsyncIterator[Channel]:
    """What the lobby's subscribers hear."""
    listening = Channel(redis.client, redis.keys.channel("lobby"))
    await listening.open()
    yield listening
    await listening.close()


@pytest_asyncio.fixture
async def probes(redis: Scripts) -> AsyncIterator[Channel]:
    """What G1's own channel brings."""
    listening = Channel(redis.client, redis.keys.probes("G1"))
    await listening.open()
    yield listening
    await listening.close()


@pytest.fixture
def alice() -> Member:
    return Member()


@pytest.fixture
def bob() -> Member:
    """On another gateway than alice."""
    return Member("s2", "G2", 2, "bob")
