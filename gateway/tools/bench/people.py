"""Those who talk and listen: one socket each, on a gateway or straight on a Redis.

What they hear is summed up without reading it (``checks`` says why that is enough).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple, cast

from xxhash import xxh3_64

from gateway.client import Lost, Message, connect
from gateway.tools.bench.checks import Watch
from gateway.tools.bench.wire import Enter, Shape

LOBBY = "lobby"
_STALLED_BUFFER_BYTES = 4096

Step = tuple[bytes, bytes]
"""What has to be heard, and what is said then."""


class Place(NamedTuple):
    """Who somebody is, and where.  The first ``shape.senders`` numbers are the senders'."""

    number: int
    room: int
    target: int
    sender: bool
    stalled: bool
    program: bool


def places(shape: Shape, targets: int) -> list[Place]:
    """Everybody's: rooms and their people are spread evenly over the targets."""
    everybody = shape.senders + shape.clients
    reading = everybody - shape.stalled
    return [
        Place(
            number,
            room := number % shape.rooms,
            (number // shape.rooms + room) % targets,
            number < shape.senders,
            number >= reading,
            reading - shape.programs <= number < reading,
        )
        for number in range(everybody)
    ]


class Tally:
    """How much a worker's people heard, in bytes; ``on_enough`` runs at ``enough`` of them."""

    __slots__ = ("cut", "enough", "heard_bytes", "on_enough")

    def __init__(self) -> None:
        self.heard_bytes = 0
        self.cut = 0
        self.enough = inf
        self.on_enough: Callable[[], None] = lambda: None


class Person(asyncio.Protocol):
    """Somebody who is in its room; ``heard_bytes`` and ``checksum`` are of what it heard."""

    __slots__ = ("_hash", "_tally", "heard_bytes", "name", "place", "transport", "watch")

    def __init__(self, place: Place, tally: Tally, name: bytes) -> None:
        self.place = place
        self.name = name
        self.heard_bytes = 0
        self.watch: Watch | None = None
        self.transport: asyncio.Transport
        self._hash = xxh3_64()
        self._tally = tally

    @property
    def checksum(self) -> int:
        return self._hash.intdigest()

    def data_received(self, data: bytes) -> None:
        # What is done for each read decides how many of them a worker can take.
        self.heard_bytes += len(data)
        self._hash.update(data)
        if self.watch:
            self.watch.hear(data)
        tally = self._tally
        tally.heard_bytes += len(data)
        if tally.heard_bytes >= tally.enough:
            tally.on_enough()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.place.stalled:
            self._tally.cut += 1

    def listen_anew(self, watch: Watch | None) -> None:
        self.heard_bytes = 0
        self._hash.reset()
        self.watch = watch

    def say(self, text: bytes) -> int:
        """Returns how many bytes each of the others is to hear."""
        self.transport.write(text + b"\n")
        return len(self.name) + len(text) + 3


class PubSubPerson(Person):
    """Listens to a channel of Redis, or publishes to it: Redis allows no connection both."""

    __slots__ = ("_publish",)

    def __init__(self, place: Place, tally: Tally, channel: bytes) -> None:
        super().__init__(place, tally, channel)
        self._publish = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(channel), channel)

    def say(self, text: bytes) -> int:
        self.transport.write(said := b"%b%d\r\n%b\r\n" % (self._publish, len(text), text))
        return len(said)  # a published message has the form of its command


class Program(Person):
    """Listens by ``gateway.client``, as bots and the terminal client do."""

    __slots__ = ("_chat", "_hearing")

    async def come_in(self, host: str, port: int, name: str, room: str) -> None:
        """Raises ``OSError``, ``gateway.client.Refused``."""
        self._chat = await connect(host, port, name=name, room=room).__aenter__()
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        async for event in self._chat:
            if isinstance(event, Message) and not event.history:
                self.data_received(f"{event.sender}: {event.text}\n".encode())
            elif isinstance(event, Lost):
                self.connection_lost(None)


class _Newcomer(asyncio.Protocol):
    """Goes through the steps of an entrance, then makes room for the person itself."""

    def __init__(self, steps: Sequence[Step], person: Person) -> None:
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._steps = list(steps)
        self._person = person
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._person.transport = cast(asyncio.Transport, transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        self._go_on()

    def _go_on(self) -> None:
        transport = self._person.transport
        while self._steps and (place := self._heard.find(self._steps[0][0])) >= 0:
            awaited, answer = self._steps.pop(0)
            self._heard = self._heard[place + len(awaited) :]
            if answer:
                transport.write(answer)
        if self._steps or self.entered.done():
            return
        transport.set_protocol(self._person)
        if self._person.place.stalled:
            transport.pause_reading()
        self.entered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.entered.done():
            said = self._heard[-80:].decode(errors="replace").strip()
            self.entered.set_exception(ConnectionError(f"turned away: {said or error}"))


def entrance(enter: Enter, place: Place) -> list[Step]:
    """What somebody says on the way into its room."""
    room = room_name(enter, place)
    if enter.kind == "redis":
        return [] if place.sender else [(b"", b"SUBSCRIBE %b\r\n" % room), (b"subscribe", b"")]
    name = person_name(enter, place)
    steps = [(b"Enter your name: ", name + b"\n"), (b"* welcome to lobby", b"")]
    if enter.shape.rooms > 1:
        steps += [(b"\n", b"/join %b\n" % room), (b"* welcome to %b" % room, b"")]
    return steps


def person_name(enter: Enter, place: Place) -> bytes:
    return f"{enter.tag}{place.number}".encode()


def room_name(enter: Enter, place: Place) -> bytes:
    """Everybody is in the lobby unless there are several rooms."""
    several = enter.shape.rooms > 1
    return (f"{enter.tag}-{place.room}" if several else LOBBY).encode()


async def come_in(enter: Enter, place: Place, tally: Tally) -> Person:
    """Connect one person.  Raises ``OSError``."""
    loop, name = asyncio.get_running_loop(), person_name(enter, place)
    if enter.kind == "redis":
        person: Person = PubSubPerson(place, tally, room_name(enter, place))
    else:
        person = Program(place, tally, name) if place.program else Person(place, tally, name)
    host, port = enter.targets[place.target]
    if isinstance(person, Program):
        room = room_name(enter, place).decode()
        await person.come_in(host, port, name.decode(), room)
        return person
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.stalled:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STALLED_BUFFER_BYTES)
        await loop.sock_connect(sock, (host, port))
    except OSError:
        sock.close()
        raise
    steps = entrance(enter, place)
    _, newcomer = await loop.create_connection(lambda: _Newcomer(steps, person), sock=sock)
    await newcomer.entered
    return person
