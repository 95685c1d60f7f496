"""The rooms that this gateway serves: subscribed, and read where they are behind.

The glue between broker and rooms.  Knows no sockets, and not what happens in a room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from redis.exceptions import RedisError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import Unreachable
from gateway.broker.keys import Keys, inbox
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Reader, decode_envelopes
from gateway.broker.registry import Registry
from gateway.broker.subscriber import Subscriber
from gateway.chat.events import Envelope, GatewayId, SessionId, Told
from gateway.config import Config
from gateway.ops.logs import get_logger
from gateway.rooms.hub import Hub
from gateway.rooms.inquiries import Inquiries
from gateway.rooms.relay import Counts
from gateway.rooms.resident import Resident
from gateway.rooms.room import Room, Surroundings

log = get_logger(__name__)

_READ_ROOMS = 64
"""Rooms whose logs are read in one pipeline."""
_REPORT_S = 0.5
_REPORT_ANEW_S = 30.0
"""After which the registry is told of all rooms, whatever somebody else told it."""
_FILLED_S = 2.0
"""By then all gateways, who notice it at a beat, have filled a Redis that came back empty."""
_AGAIN_S = 0.1
"""Until a room's log is read again that had nothing new."""
_UNREADABLE_S = 1.0
"""Until a room's log is tried again that Redis would not read; others need not wait for it."""


class Rooms:
    """All rooms of this gateway.  A room is served while somebody here is in it."""

    def __init__(
        self,
        config: Config,
        gateway: GatewayId,
        keys: Keys,
        hub: Hub,
        reader: Reader,
        registry: Registry,
        inquiries: Inquiries,
        on_post: Callable[[Envelope], None],
    ) -> None:
        self.counts = Counts()
        self.publisher: Publisher
        self.subscriber: Subscriber
        self._config = config
        self._gateway = gateway
        self._inbox = inbox(gateway)
        self._keys = keys
        self._hub = hub
        self._reader = reader
        self._registry = registry
        self._inquiries = inquiries
        self._on_post = on_post
        self._rooms: dict[str, Room] = {}
        self._by_channel: dict[str, Room] = {}
        self._reported: dict[str, int] = {}  # how many people the registry was last told of
        self._arrived: dict[Room, list[Envelope]] = {}
        self._behind: dict[Room, None] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many rooms have somebody here."""
        return sum(not room.empty for room in self._rooms.values())

    @property
    def behind(self) -> int:
        """How many rooms' logs are to be read before delivery goes on."""
        return sum(room.relay.behind for room in self._rooms.values())

    def open_inbox(self) -> None:
        """Serve the log in which this gateway finds what is for single sessions."""
        self._open(self._inbox)

    # What sessions ask.

    def enter(self, name: str, resident: Resident) -> None:
        """Make ``resident`` a member.  It hears ``joined`` when the relay reaches it."""
        (self._rooms.get(name) or self._open(name)).enter(resident)

    def leave(
        self,
        name: str,
        resident: Resident,
        over: Callable[[], None],
        confirmed: Callable[[], None] = lambda: None,
    ) -> None:
        """Say ``left`` for a resident; see ``Room.leave``."""
        (self._rooms.get(name) or self._open(name)).leave(resident, over, confirmed)

    def let_go(self, name: str, session: SessionId, resident: Resident) -> None:
        """Nothing more is for this resident; another one has its session now."""
        if room := self._rooms.get(name):
            room.let_go(session, resident)

    def when_at(self, name: str, offset: int, then: Callable[[], None]) -> None:
        """Call ``then`` when a room was delivered up to ``offset`` here; see ``Room.when_at``."""
        if room := self._rooms.get(name):
            room.when_at(offset, then)
        else:
            then()

    def people(self, name: str) -> list[str] | None:
        """Everybody's name in a room that is served here, in alphabetical order, or None."""
        room = self._rooms.get(name)
        return room.roster.names() if room and room.open else None

    def how_many(self, name: str) -> int | None:
        """The number of people in a room that is served here, or None."""
        room = self._rooms.get(name)
        return len(room.roster) if room and room.open else None

    def tell(self, name: str, resident: Resident, item: Envelope | Told) -> None:
        """Send something to one resident, behind what it has still to get of the room."""
        if not self._hub.tell(name, resident, item):
            resident.send(resident.encoding.encode(item, name))

    def owed(self, name: str, resident: Resident) -> bytes:
        """What a resident has still to get; it gets nothing more of the room after that."""
        return self._hub.remove(name, resident)

    def offset(self, name: str) -> int:
        """The last offset that was delivered here of a room."""
        room = self._rooms.get(name)
        return room.relay.offset if room else 0

    # What Redis says.

    def message(self, channel: str, payload: bytes) -> None:
        """Take one published message of a room's channel."""
        room = self._by_channel.get(channel)
        if room is None:
            return
        envelopes = decode_envelopes(payload.split(b"\n"), room.name)
        self._arrived.setdefault(room, []).extend(envelopes)

    def caught_up(self) -> int:
        """All that had arrived has been handed over: deliver it.

        Returns how many events others published, with what comes next of theirs these
        could have waited for; those of this gateway have waited for each other already.
        """
        arrived, self._arrived = self._arrived, {}
        for room, envelopes in arrived.items():
            if self._serves(room):
                room.arrived(envelopes)
        return sum(e.gateway != self._gateway for some in arrived.values() for e in some)

    def subscribed(self, channel: str) -> None:
        """A room's channel is (again) confirmed."""
        if room := self._by_channel.get(channel):
            room.subscribed()

    def other_log(self, name: str) -> None:
        """A publish found another log than the one that is known."""
        if room := self._rooms.get(name):
            room.doubted()
        else:
            self.publisher.forget(name)

    # What goes on all the time.

    async def run_forever(self) -> None:
        """Read the logs of rooms that are behind, as long as the task lives."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._behind:
                if await self._read_some():
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next_s())

    async def compare_forever(self) -> None:
        """Compare quiet rooms with their logs now and then."""
        while True:
            await asyncio.sleep(self._config.compare_s)
            for room in self._rooms.values():
                room.compare_if_quiet()

    def compare_all(self) -> None:
        """Redis may have come back empty: fill it, and see then what others have filled."""
        self._compare()
        asyncio.get_running_loop().call_later(_FILLED_S, self._compare)

    def _compare(self) -> None:
        for room in self._rooms.values():
            room.compare()

    async def report_forever(self) -> None:
        """Keep the registry's list of rooms."""
        while True:
            for _ in range(round(_REPORT_ANEW_S / _REPORT_S)):
                await asyncio.sleep(_REPORT_S)
                self.report()
            self._reported.clear()

    def report(self) -> None:
        """Let the registry know of the rooms whose number of people changed."""
        for room in self._rooms.values():
            self._report(room)

    async def _read_some(self) -> bool:
        """One pipeline.  False if it is to be tried again after a pause."""
        chosen = list(islice(self._behind, _READ_ROOMS))
        for room in chosen:
            del self._behind[room]
        rooms = [room for room in chosen if self._serves(room)]
        try:
            answers = await self._reader.read([room.question() for room in rooms])
        except Unreachable:
            self._behind.update(dict.fromkeys(rooms))
            return False
        for room, answer in zip(rooms, answers, strict=True):
            if not self._serves(room):
                continue
            if isinstance(answer, RedisError):
                log.warning("log unreadable", room=room.name, error=str(answer))
                asyncio.get_running_loop().call_later(_UNREADABLE_S, self._look_at, room)
            else:
                if answer.epoch != room.relay.epoch:
                    # Redis forgot the room, and so the registry may have.
                    self._reported.pop(room.name, None)
                room.read(answer)
        return True

    def _serves(self, room: Room) -> bool:
        """Whether it is still the one of its name: it may have been closed, and opened anew."""
        return self._rooms.get(room.name) is room

    def _look_at(self, room: Room) -> None:
        """Have the room's log read soon."""
        self._behind[room] = None
        self._wake.set()

    def _look_later(self, room: Room) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, self._look_at, room)

    def _open(self, name: str) -> Room:
        around = Surroundings(
            self._config,
            self._gateway,
            self._hub,
            self.publisher,
            self._inquiries,
            self.counts,
            look_at=self._look_at,
            look_later=self._look_later,
            emptied=self._close,
            on_post=self._on_post,
        )
        room = self._rooms[name] = Room(name, around)
        channel = self._keys.channel(name)
        self._by_channel[channel] = room
        self.subscriber.subscribe([channel])
        return room

    def _close(self, room: Room) -> None:
        """Nobody here is in the room: what happens there is not for this gateway."""
        if room.name == self._inbox or not self._serves(room):
            return
        self._report(room)
        self._reported.pop(room.name, None)
        del self._rooms[room.name]
        channel = self._keys.channel(room.name)
        del self._by_channel[channel]
        self.subscriber.unsubscribe(channel)
        self.publisher.forget(room.name)

    def _report(self, room: Room) -> None:
        people = len(room.roster)
        if people != self._reported.get(room.name, 0) and room.name != self._inbox:
            self._reported[room.name] = people
            self._registry.set_people(room.name, people)
