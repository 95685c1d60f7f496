"""The rooms that this gateway serves: subscribed, in order, with their people.

The glue between broker and hub.  What Redis publishes goes through each room's
relay; what the relay gives out changes who is here and is handed to the hub.
Knows no sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from redis.exceptions import RedisError

from gateway.broker.backoff import Backoff
from gateway.broker.calls import Unreachable
from gateway.broker.keys import Keys, inbox
from gateway.broker.outbox import Holder, Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Question, Reader, Snapshot
from gateway.broker.registry import Registry
from gateway.broker.subscriber import Subscriber
from gateway.chat.events import (
    Action,
    Envelope,
    GatewayId,
    Joined,
    Left,
    Message,
    Missed,
    Private,
    Renamed,
    Replaced,
    Said,
    SessionId,
    Summary,
    Told,
    Welcome,
    decode_envelope,
)
from gateway.config import Config
from gateway.hub import Hub, Member
from gateway.inquiries import Inquiries
from gateway.ops.logs import get_logger
from gateway.relay import Counts, Reading, Relay
from gateway.replay import Replay

log = get_logger(__name__)

_READ_ROOMS = 64
"""Rooms whose logs are read in one pipeline."""
_NAMES_LISTED = 50
_SUMMARY_S = 2.0
_REPORT_S = 0.5


class Resident(Member, Protocol):
    """A session's place in a room: can be sent to, and is told what became of it."""

    @property
    def holder(self) -> Holder: ...

    @property
    def name(self) -> str: ...

    @property
    def last_name(self) -> str: ...

    def joined(self, people: int) -> None:
        """The relay reached its ``joined``: it is a member now."""

    def left(self, by: GatewayId) -> None:
        """The relay reached its ``left``, said by that gateway."""

    def renamed(self, name: str) -> None:
        """The relay reached its ``renamed``."""

    def refused(self) -> None:
        """It can't be a member: a newer holder of the same session is."""

    @property
    def stalled(self) -> bool: ...

    @property
    def resume(self) -> tuple[str, int] | None:
        """The epoch and the last offset that it has; None for a newcomer."""


class Room:
    """One room, as this gateway knows it."""

    __slots__ = (
        "counts",
        "fresh",
        "joining",
        "kept",
        "name",
        "people",
        "recent",
        "relay",
        "reported",
        "residents",
        "subscribed",
        "summary",
        "touched",
    )

    def __init__(self, name: str, relay: Relay, history: int) -> None:
        self.name = name
        self.relay = relay
        self.people: dict[SessionId, str] = {}
        """Everybody in the room, on all gateways: session to name."""
        self.recent: deque[Envelope] = deque(maxlen=history)
        self.residents: dict[SessionId, Resident] = {}
        self.joining: dict[SessionId, Resident] = {}
        self.subscribed = False
        self.fresh = True  # its people are to be read, too
        self.touched = False  # something came since the last comparison
        self.summary: list[int] | None = None  # joined, left
        self.reported = 0  # how many people the registry was last told of
        self.kept = False  # served without residents, too

    @property
    def open(self) -> bool:
        return self.subscribed and bool(self.relay.epoch)


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
        self._keys = keys
        self._hub = hub
        self._reader = reader
        self._registry = registry
        self._inquiries = inquiries
        self._on_post = on_post
        self._rooms: dict[str, Room] = {}
        self._by_channel: dict[str, Room] = {}
        self._arrived: dict[str, list[Envelope]] = {}
        self._behind: dict[str, None] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many rooms have somebody here."""
        return sum(not room.kept for room in self._rooms.values())

    @property
    def behind(self) -> int:
        """How many rooms' logs are to be read before delivery goes on."""
        return sum(room.relay.behind for room in self._rooms.values())

    def open_inbox(self) -> None:
        """Serve the log in which this gateway finds what is for single sessions."""
        self._open(inbox(self._gateway)).kept = True

    # What sessions ask.

    def enter(self, name: str, resident: Resident) -> None:
        """Make ``resident`` a member.  It hears ``joined`` when the relay reaches it."""
        room = self._rooms.get(name) or self._open(name)
        room.joining[resident.session_id] = resident
        if room.open:
            self._submit_join(room, resident)

    def people(self, name: str) -> list[str] | None:
        """Everybody's name in a room that is served here, in alphabetical order, or None."""
        room = self._rooms.get(name)
        return sorted(room.people.values(), key=str.casefold) if room and room.open else None

    def tell(self, name: str, resident: Resident, item: Told) -> None:
        """Send something to one resident, behind what it has still to get of the room."""
        if not self._hub.tell(name, resident.session_id, item):
            resident.send(resident.encoding.encode(item, name))

    def owed(self, name: str, session: SessionId) -> bytes:
        """What a resident has still to get; it gets nothing more of the room after that."""
        return self._hub.remove(name, session)

    def offset(self, name: str) -> int:
        """The last offset that was delivered here of a room."""
        room = self._rooms.get(name)
        return room.relay.offset if room else 0

    def leave(self, name: str, resident: Resident, told: Callable[[Outcome, int], None]) -> None:
        """Say ``left`` for a resident that entered; ``told`` when Redis has it."""
        event = Left(resident.session_id, resident.last_name)
        self.publisher.submit(Operation(name, resident.holder, event, told))

    def gone(self, name: str, session: SessionId) -> None:
        """The membership is over, or its connection is: what comes next is not for it.

        The room itself is told by ``left``, whose place in the log is not waited for.
        """
        room = self._rooms.get(name)
        if room:
            room.joining.pop(session, None)
            if room.residents.pop(session, None):
                self._hub.leave(name, session)
            self._close_if_empty(room)

    # What Redis says.

    def message(self, channel: str, payload: bytes) -> None:
        """Take one published message of a room's channel."""
        room = self._by_channel.get(channel)
        if room is None:
            return
        try:
            envelopes = list(map(decode_envelope, payload.split(b"\n")))
        except ValueError:
            log.warning("not an envelope", channel=channel)
            return
        self._arrived.setdefault(room.name, []).extend(envelopes)

    def caught_up(self) -> None:
        """All that had arrived has been handed over: deliver it."""
        arrived, self._arrived = self._arrived, {}
        for name, envelopes in arrived.items():
            room = self._rooms.get(name)
            if room:
                room.touched = True
                self._deliver(room, room.relay.take(envelopes))
                if room.relay.behind:
                    self.look_at(room)

    def subscribed(self, channel: str) -> None:
        """A room's channel is (again) confirmed: compare with its log."""
        room = self._by_channel.get(channel)
        if room:
            room.subscribed = True
            self.look_at(room)

    def other_log(self, name: str) -> None:
        """A publish found another log than the one that is known."""
        room = self._rooms.get(name)
        if room:
            self.look_at(room)
        else:
            self.publisher.forget(name)

    def look_at(self, room: Room) -> None:
        """Have the room's log read soon."""
        self._behind[room.name] = None
        self._wake.set()

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
        """Compare quiet rooms with their logs now and then: the tail of a room can be lost."""
        while True:
            await asyncio.sleep(self._config.compare_s)
            for room in list(self._rooms.values()):
                if room.touched:
                    room.touched = False  # a hole would have shown
                elif room.subscribed:
                    self.look_at(room)

    async def report_forever(self) -> None:
        """Keep the registry's list of rooms."""
        while True:
            await asyncio.sleep(_REPORT_S)
            self.report()

    def report(self) -> None:
        """Let the registry know of the rooms whose number of people changed."""
        for room in self._rooms.values():
            self._report(room)

    async def _read_some(self) -> bool:
        """One pipeline.  False if it is to be tried again after a pause."""
        rooms = [self._rooms[n] for n in list(self._behind)[:_READ_ROOMS] if n in self._rooms]
        for name in list(self._behind)[:_READ_ROOMS]:
            del self._behind[name]
        questions = [
            Question(
                room.name,
                room.relay.epoch,
                room.relay.offset,
                members=room.fresh,
                history=self._config.history,
                create=True,
            )
            for room in rooms
        ]
        for room in rooms:
            room.relay.behind = True  # what arrives meanwhile is held
        try:
            answers = await self._reader.read(questions)
        except Unreachable:
            self._behind.update(dict.fromkeys(room.name for room in rooms))
            return False
        good = True
        for room, answer in zip(rooms, answers, strict=True):
            if self._rooms.get(room.name) is not room:
                continue
            if isinstance(answer, RedisError):
                log.warning("log unreadable", room=room.name, error=str(answer))
                good = False
                self._behind[room.name] = None
            else:
                self._read(room, answer)
        return good

    def _read(self, room: Room, answer: Snapshot) -> None:
        known = room.relay.epoch
        reading = Reading(
            answer.epoch, answer.offset, answer.at_known, list(map(decode_envelope, answer.lines))
        )
        if answer.members is not None:
            room.fresh = False
            room.people = {s: member.name for s, member in answer.members.items()}
            room.recent.clear()
            room.recent.extend(map(decode_envelope, answer.history))
        if known != answer.epoch:
            restore = [self._keep(resident, room) for resident in room.residents.values()]
            if known:
                log.warning("another log", room=room.name, epoch=answer.epoch)
                for resident in room.residents.values():
                    room.people[resident.session_id] = resident.name
            self.publisher.serve(room.name, answer.epoch, restore)
        self._deliver(room, room.relay.read(reading))
        if room.relay.behind:
            self.look_at(room)
        elif (
            len(room.people) != answer.people
            and room.relay.offset == answer.offset
            and (known == answer.epoch)
        ):
            room.fresh = True  # what is known of the people is wrong: read them again
            self.look_at(room)
        if known != answer.epoch:
            self._join_again(room)

    # What follows from it.

    def _open(self, name: str) -> Room:
        relay = Relay(hold_bytes=self._config.hold_bytes, counts=self.counts)
        room = self._rooms[name] = Room(name, relay, self._config.history)
        channel = self._keys.channel(name)
        self._by_channel[channel] = room
        self.subscriber.subscribe([channel])
        return room

    def _report(self, room: Room) -> None:
        people = len(room.people)
        if people != room.reported and not room.kept:
            room.reported = people
            self._registry.set_people(room.name, people)

    def _close_if_empty(self, room: Room) -> None:
        if room.residents or room.joining or room.kept:
            return
        self._report(room)
        del self._rooms[room.name]
        channel = self._keys.channel(room.name)
        del self._by_channel[channel]
        self.subscriber.unsubscribe(channel)
        self.publisher.forget(room.name)

    def _join_again(self, room: Room) -> None:
        """Those who join may have been joined at a place that the relay will never reach.

        Joining twice says nothing twice: the second answer is that it is done.
        """
        for resident in room.joining.values():
            self._submit_join(room, resident)

    def _submit_join(self, room: Room, resident: Resident) -> None:
        def told(outcome: Outcome, offset: int) -> None:
            if outcome is Outcome.REFUSED:
                room.joining.pop(resident.session_id, None)
                self._close_if_empty(room)
                resident.refused()
            elif offset <= room.relay.offset:
                # Nobody was told, or it fell into a hole that can't be filled.
                self._settle(room, resident, room.relay.offset)

        event = Joined(resident.session_id, resident.name)
        self.publisher.submit(Operation(room.name, resident.holder, event, told))

    def _keep(self, resident: Resident, room: Room) -> Operation:
        def told(outcome: Outcome, _offset: int) -> None:
            if outcome is Outcome.REFUSED:
                resident.refused()

        event = Joined(resident.session_id, resident.name)
        return Operation(room.name, resident.holder, event, told, silent=True)

    def _settle(self, room: Room, resident: Resident, offset: int) -> None:
        """The resident becomes a member at this place of the log: it gets what comes after."""
        if room.joining.pop(resident.session_id, None) is None:
            return
        room.people[resident.session_id] = resident.name
        room.residents[resident.session_id] = resident
        if resident.resume is None:
            history = [Said(room.name, e) for e in room.recent if e.offset <= offset]
            welcome = self._welcome(room, resident, offset, history)
            self._hub.join(room.name, resident, welcome)
            resident.joined(len(room.people))
        else:
            self._replay(room, resident, *resident.resume)

    def _replay(self, room: Room, resident: Resident, epoch: str, after: int) -> None:
        """Bring one that was here before up to where the room is."""

        def wanted() -> bool:
            return room.residents.get(resident.session_id) is resident

        def done() -> None:
            self._hub.join(room.name, resident, None)
            resident.joined(len(room.people))

        if epoch != room.relay.epoch:
            after = room.relay.offset
        resident.send(resident.encoding.encode(self._welcome(room, resident, after, ())))
        Replay(
            self._inquiries,
            room.name,
            room.relay,
            resident,
            epoch=epoch,
            after=after,
            wanted=wanted,
            done=done,
        ).go_on()

    def _welcome(
        self, room: Room, resident: Resident, offset: int, history: Sequence[Said]
    ) -> Welcome:
        few = len(room.people) <= _NAMES_LISTED
        return Welcome(
            resident.name,
            room.name,
            room.relay.epoch,
            offset,
            len(room.people),
            (self.people(room.name) or ()) if few else (),
            history,
        )

    def _deliver(self, room: Room, items: Iterable[Envelope | Missed]) -> None:
        out: list[Envelope | Told] = []
        for item in items:
            if isinstance(item, Missed):
                room.fresh = True
                self.look_at(room)
                out.append(item)
                self._join_again(room)
                continue
            match item.event:
                case Message() | Action():
                    if not room.recent or item.offset > room.recent[-1].offset:
                        room.recent.append(item)
                    out.append(item)
                case Joined(session, name):
                    room.people[session] = name
                    self._presence(room, item, out)
                    joiner = room.joining.get(session)
                    if joiner:
                        self._hand_over(room, out)
                        self._settle(room, joiner, item.offset)
                case Left(session):
                    room.people.pop(session, None)
                    self._hand_over(room, out)
                    resident = room.residents.pop(session, None)
                    if resident:
                        self._hub.leave(room.name, session)
                    self._presence(room, item, out)
                    if resident:
                        resident.left(item.gateway)
                case Renamed(session, _, new_name):
                    room.people[session] = new_name
                    out.append(item)
                    resident = room.residents.get(session)
                    if resident:
                        self._hand_over(room, out)
                        resident.renamed(new_name)
                case Private() | Replaced():
                    self._on_post(item)
        self._hand_over(room, out)

    def _hand_over(self, room: Room, out: list[Envelope | Told]) -> None:
        if out:
            self._hub.deliver(room.name, out)
            out.clear()

    def _presence(self, room: Room, envelope: Envelope, out: list[Envelope | Told]) -> None:
        """Tell of a join or a leave; in a room of many, only sum it up."""
        if room.summary is None and len(room.people) <= self._config.quiet_above:
            out.append(envelope)
            return
        if room.summary is None:
            room.summary = [0, 0]
            asyncio.get_running_loop().call_later(_SUMMARY_S, self._sum_up, room)
        room.summary[isinstance(envelope.event, Left)] += 1

    def _sum_up(self, room: Room) -> None:
        if room.summary:
            joined, left = room.summary
            room.summary = None
            self._hub.deliver(room.name, [Summary(joined, left)])
