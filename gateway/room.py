"""One room that this gateway serves: its order, its people, and who of them is here.

What Redis publishes goes through the room's relay; what the relay gives out
changes who is here and is handed to the hub.  Knows no sockets, and never awaits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.broker.outbox import Operation, Outcome
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Question, Snapshot
from gateway.chat.events import (
    Action,
    Envelope,
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
from gateway.hub import Hub
from gateway.inquiries import Inquiries
from gateway.ops.logs import get_logger
from gateway.relay import Counts, Reading, Relay
from gateway.replay import Replay
from gateway.resident import Resident

log = get_logger(__name__)

_NAMES_LISTED = 50
_SUMMARY_S = 2.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a room needs of its gateway.

    ``look_at(room)`` has its log read soon; ``emptied(room)`` is called when
    nobody here is in it any more; ``on_post`` gets what is for one session only.
    """

    config: Config
    hub: Hub
    publisher: Publisher
    inquiries: Inquiries
    counts: Counts
    look_at: Callable[[Room], None]
    emptied: Callable[[Room], None]
    on_post: Callable[[Envelope], None]


class Room:
    """One room, as this gateway knows it.

    Open when it is subscribed and its log was read; who wants to join earlier waits.
    """

    __slots__ = (
        "_around",
        "_doubted",
        "_fresh",
        "_joining",
        "_recent",
        "_residents",
        "_subscribed",
        "_summary",
        "_touched",
        "name",
        "people",
        "relay",
    )

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self.relay = Relay(hold_bytes=around.config.hold_bytes, counts=around.counts)
        self.people: dict[SessionId, str] = {}
        """Everybody in the room, on all gateways: session to name."""
        self._around = around
        self._recent: deque[Envelope] = deque(maxlen=around.config.history)
        self._residents: dict[SessionId, Resident] = {}
        self._joining: dict[SessionId, Resident] = {}
        self._subscribed = False
        self._doubted = False
        self._fresh = True  # its people are to be read, too
        self._touched = False  # something came since the last comparison
        self._summary: list[int] | None = None  # joined, left

    @property
    def open(self) -> bool:
        return self._subscribed and bool(self.relay.epoch)

    @property
    def empty(self) -> bool:
        """Whether nobody here is in it."""
        return not self._residents and not self._joining

    def names(self) -> list[str]:
        """Everybody's name, in alphabetical order."""
        return sorted(self.people.values(), key=str.casefold)

    # Who is here.

    def enter(self, resident: Resident) -> None:
        """Make ``resident`` a member.  It hears ``joined`` when the relay reaches it."""
        self._joining[resident.session_id] = resident
        if self.open:
            self._submit_join(resident)

    def gone(self, session: SessionId, resident: Resident) -> None:
        """The membership is over, or its connection is: what comes next is not for it.

        The room itself is told by ``left``, whose place in the log is not waited
        for.  Another resident may have come back under the same session since.
        """
        if self._joining.get(session) is resident:
            del self._joining[session]
        if self._residents.get(session) is resident:
            del self._residents[session]
            self._around.hub.leave(self.name, session)
        if self.empty:
            self._around.emptied(self)

    # What Redis says.

    def subscribed(self) -> None:
        """The room's channel is (again) confirmed: compare with its log.

        Until then everything is held: what comes now may follow upon another log.
        """
        self._subscribed = True
        self.relay.behind = True
        self._around.look_at(self)

    def doubted(self) -> None:
        """A publish found another log than the one that is known, and waits for ``serve``."""
        self._doubted = True
        self._around.look_at(self)

    def arrived(self, envelopes: Iterable[Envelope]) -> None:
        """Pub/sub brought something."""
        self._touched = True
        self._deliver(self.relay.take(envelopes))
        if self.relay.behind:
            self._around.look_at(self)

    def compare_if_quiet(self) -> None:
        """Have a room in which nothing happens compared: the tail of it can be lost."""
        if self._touched:
            self._touched = False  # a hole would have shown
        elif self._subscribed:
            self._around.look_at(self)

    def question(self) -> Question:
        """What to ask of the log.  Until ``read``, what arrives is held."""
        self.relay.behind = True
        return Question(
            self.name,
            self.relay.epoch,
            self.relay.offset,
            members=self._fresh,
            history=self._around.config.history,
            create=True,
        )

    def read(self, snapshot: Snapshot) -> None:
        """The log's answer to ``question``."""
        known = self.relay.epoch
        if snapshot.members is not None:
            self._fresh = False
            self.people = {s: member.name for s, member in snapshot.members.items()}
            self._recent.clear()
            self._recent.extend(map(decode_envelope, snapshot.history))
        if known != snapshot.epoch or self._doubted:
            self._doubted = False
            self._serve(known, snapshot.epoch)
        reading = Reading(
            snapshot.epoch,
            snapshot.offset,
            snapshot.at_known,
            list(map(decode_envelope, snapshot.lines)),
            snapshot.at_last,
        )
        self._deliver(self.relay.read(reading))
        if known != snapshot.epoch:
            self._join_again()
        elif self.relay.offset == snapshot.offset and len(self.people) != snapshot.people:
            self._fresh = True  # what is known of the people is wrong: read them again
        if self.relay.behind or self._fresh:
            self._around.look_at(self)

    def _serve(self, known: str, epoch: str) -> None:
        """Have events published to this log; if it took another one's place, with who is here."""
        restore: list[Operation] = []
        if known != epoch:
            if known:
                log.warning("another log", room=self.name, epoch=epoch)
            for session, resident in self._residents.items():
                self.people[session] = resident.name
                restore.append(self._keep(resident))
        self._around.publisher.serve(self.name, epoch, restore)

    # What follows from it.

    def _deliver(self, items: Iterable[Envelope | Missed]) -> None:
        out: list[Envelope | Told] = []
        for item in items:
            if isinstance(item, Missed):
                self._fresh = True
                out.append(item)
                self._join_again()
                for each in list(self._residents.values()):
                    each.jumped()
                continue
            match item.event:
                case Message() | Action():
                    if not self._recent or item.offset > self._recent[-1].offset:
                        self._recent.append(item)
                    out.append(item)
                case Joined(session, name):
                    self.people[session] = name
                    self._tell_presence(item, out)
                    if joiner := self._joining.get(session):
                        self._hand_over(out)
                        self._settle(joiner, item.offset)
                case Left(session):
                    self.people.pop(session, None)
                    resident = self._residents.pop(session, None)
                    if resident:
                        self._hand_over(out)
                        self._around.hub.leave(self.name, session)
                    self._tell_presence(item, out)
                    if resident:
                        resident.left(item)
                case Renamed(session, _, new_name):
                    self.people[session] = new_name
                    out.append(item)
                    if resident := self._residents.get(session):
                        self._hand_over(out)
                        resident.renamed(new_name)
                case Private() | Replaced():
                    self._around.on_post(item)
        self._hand_over(out)

    def _hand_over(self, out: list[Envelope | Told]) -> None:
        if out:
            self._around.hub.deliver(self.name, out)
            out.clear()

    def _tell_presence(self, envelope: Envelope, out: list[Envelope | Told]) -> None:
        """Tell of a join or a leave; in a room of many, only sum it up."""
        if self._summary is None and len(self.people) <= self._around.config.quiet_above:
            out.append(envelope)
            return
        if self._summary is None:
            self._summary = [0, 0]
            asyncio.get_running_loop().call_later(_SUMMARY_S, self._sum_up)
        self._summary[isinstance(envelope.event, Left)] += 1

    def _sum_up(self) -> None:
        if self._summary:
            joined, left = self._summary
            self._summary = None
            self._around.hub.deliver(self.name, [Summary(joined, left)])

    # Becoming a member.

    def _submit_join(self, resident: Resident) -> None:
        def told(outcome: Outcome, offset: int) -> None:
            if operation.taken_from:
                resident.replaces = operation.taken_from
            if outcome is Outcome.REFUSED:
                self.gone(resident.session_id, resident)
                resident.refused()
            elif offset <= self.relay.offset:
                # Nobody was told, or it fell into a hole that can't be filled.
                self._settle(resident, self.relay.offset)

        event = Joined(resident.session_id, resident.name)
        operation = Operation(self.name, resident.holder, event, told)
        self._around.publisher.submit(operation)

    def _join_again(self) -> None:
        """Those who join may have been joined at a place that the relay will never reach.

        Joining twice says nothing twice: the second answer is that it is done.
        """
        for resident in self._joining.values():
            self._submit_join(resident)

    def _keep(self, resident: Resident) -> Operation:
        def told(outcome: Outcome, _offset: int) -> None:
            if outcome is Outcome.REFUSED:
                resident.refused()

        event = Joined(resident.session_id, resident.last_name)
        return Operation(self.name, resident.holder, event, told, silent=True)

    def _settle(self, resident: Resident, offset: int) -> None:
        """The resident becomes a member at this place of the log: it gets what comes after."""
        if self._joining.pop(resident.session_id, None) is None:
            return
        self.people[resident.session_id] = resident.name
        self._residents[resident.session_id] = resident
        if resident.resume is None:
            history = [Said(self.name, e) for e in self._recent if e.offset <= offset]
            welcome = self._welcome(resident, offset, history)
            self._around.hub.join(self.name, resident, welcome)
            resident.joined(len(self.people))
        else:
            self._replay(resident, *resident.resume)

    def _replay(self, resident: Resident, epoch: str, after: int) -> None:
        """Bring one that was here before up to where the room is."""

        def wanted() -> bool:
            return self._residents.get(resident.session_id) is resident

        def done() -> None:
            self._around.hub.join(self.name, resident, None)
            resident.joined(len(self.people))

        if epoch != self.relay.epoch:
            after = self.relay.offset
        resident.send(resident.encoding.encode(self._welcome(resident, after, ()), self.name))
        Replay(
            self._around.inquiries,
            self.name,
            self.relay,
            resident,
            epoch=epoch,
            after=after,
            wanted=wanted,
            done=done,
        ).go_on()

    def _welcome(self, resident: Resident, offset: int, history: Sequence[Said]) -> Welcome:
        people = len(self.people)
        names = self.names() if people <= _NAMES_LISTED else ()
        return Welcome(resident.name, self.name, self.relay.epoch, offset, people, names, history)
