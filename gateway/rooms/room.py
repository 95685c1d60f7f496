"""One room that this gateway serves: its order, its people, and who of them is here.

What Redis publishes goes through the room's relay; what the relay gives out
changes who is here and is handed to the hub.  Knows no sockets, and never awaits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.broker.outbox import Operation, Outcome, whatever
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Membership, Question, Snapshot
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
    Returned,
    Said,
    SessionId,
    Summary,
    Told,
    Welcome,
)
from gateway.config import Config
from gateway.ops.logs import get_logger
from gateway.rooms.arrivals import Arrivals
from gateway.rooms.comings import Comings
from gateway.rooms.fan_out import Varied
from gateway.rooms.hub import Hub
from gateway.rooms.inquiries import Inquiries
from gateway.rooms.relay import Counts, Reading, Relay
from gateway.rooms.replay import Replay
from gateway.rooms.resident import Resident
from gateway.rooms.roster import Roster

log = get_logger(__name__)

_NAMES_LISTED = 50
_PAGES_OF_SENDQ = 16
"""A page of a replay is this part of a SendQ: who reads is not cut off by it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a room needs of its gateway.

    ``look_at(room)`` has its log read soon, ``look_later(room)`` after a moment;
    ``emptied(room)`` is called when
    nobody here is in it any more; ``on_post`` gets what is for one session only.
    """

    config: Config
    gateway: GatewayId
    hub: Hub
    publisher: Publisher
    inquiries: Inquiries
    counts: Counts
    look_at: Callable[[Room], None]
    look_later: Callable[[Room], None]
    emptied: Callable[[Room], None]
    on_post: Callable[[Envelope], None]


class Room:
    """One room, as this gateway knows it.

    Open when it is subscribed and its log was read; who wants to join earlier waits.
    """

    __slots__ = (
        "_around",
        "_awaited",
        "_comings",
        "_doubted",
        "_joining",
        "_leaving",
        "_recent",
        "_residents",
        "_subscribed",
        "_touched",
        "name",
        "relay",
        "roster",
    )

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self.relay = Relay(hold_bytes=around.config.hold_bytes, counts=around.counts)
        self.roster = Roster()
        self._around = around
        self._recent: deque[Envelope] = deque(maxlen=around.config.history)
        self._residents: dict[SessionId, Resident] = {}
        self._joining = Arrivals()
        self._leaving: dict[Resident, bool] = {}  # and whether Redis has its `left`
        self._awaited: list[tuple[int, Callable[[], None]]] = []
        self._subscribed = False
        self._doubted = False
        self._touched = False  # something came since the last comparison
        self._comings = Comings(around.config.quiet_above, self._tell_sum)

    @property
    def open(self) -> bool:
        return self._subscribed and bool(self.relay.epoch)

    @property
    def empty(self) -> bool:
        """Whether nobody here is in it, or about to be, or still on the way out."""
        return not (self._residents or self._joining or self._leaving)

    # Who is here.

    def enter(self, resident: Resident) -> None:
        """Make ``resident`` a member.  It hears ``joined`` when the relay reaches it."""
        self._joining.add(resident)
        if self.open:
            self._submit_join(resident)

    def leave(
        self,
        resident: Resident,
        over: Callable[[], None],
        confirmed: Callable[[], None] = lambda: None,
    ) -> None:
        """Say ``left`` for a resident; until then it hears what comes before.

        Each is called once: ``confirmed`` when Redis has it, or knew no such membership;
        ``over`` when the relay has come to it, too.
        """
        session = resident.session_id
        self._joining.remove(session, resident)  # not asked yet, it must not be behind this
        self._leaving[resident] = False

        def told(outcome: Outcome, offset: int) -> None:
            self._leaving[resident] = True
            confirmed()
            self.when_at(offset if outcome is Outcome.CONFIRMED else 0, done)

        def done() -> None:
            self._leaving.pop(resident, None)
            self.let_go(session, resident)
            over()
            self._close_if_empty()

        event = Left(session, resident.last_name)
        self._around.publisher.submit(Operation(self.name, resident.holder, event, told))

    def let_go(self, session: SessionId, resident: Resident) -> None:
        """What comes next is not for it.  Nothing is said: another may have its session now."""
        self._joining.remove(session, resident)
        if self._residents.get(session) is resident:
            del self._residents[session]
            resident.send(self._around.hub.remove(self.name, resident))

    def when_at(self, offset: int, then: Callable[[], None]) -> None:
        """Call ``then`` when all up to ``offset`` was delivered here, or never can be."""
        if offset <= self.relay.offset:
            then()
        else:
            self._awaited.append((offset, then))

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
        if self._subscribed:
            self._around.look_at(self)

    def arrived(self, envelopes: Iterable[Envelope]) -> None:
        """Pub/sub brought something."""
        if not self._subscribed:
            return  # of an earlier subscription: the log, read after this one, has it
        self._touched = True
        self._deliver(self.relay.take(envelopes))
        if self.relay.behind:
            self._around.look_at(self)
        self._close_if_empty()

    def compare_if_quiet(self) -> None:
        """Have a room in which nothing happens compared: the tail of it can be lost."""
        if self._touched:
            self._touched = False  # a hole would have shown
        else:
            self.compare()

    def compare(self) -> None:
        """Have the room compared with its log."""
        if self._subscribed:
            self._around.look_at(self)

    def question(self) -> Question:
        """What to ask of the log.  Until ``read``, what arrives is held."""
        self.relay.asked()
        self.roster.asked()
        return Question(
            self.name,
            self.relay.epoch,
            self.relay.offset,
            members=self.roster.doubted,
            history=self._around.config.history,
            create=True,
        )

    def read(self, snapshot: Snapshot) -> None:
        """The log's answer to ``question``.

        The people first, since what is delivered then is told by how many they are; and
        the log is served before its events can have anybody join or leave.
        """
        known, was_at, logs = self.relay.epoch, self.relay.offset, self.relay.logs
        same = known == snapshot.epoch
        if snapshot.members is not None:
            self.roster.read({s: member.name for s, member in snapshot.members.items()})
            self._recent.clear()
            self._recent.extend(snapshot.said)
        if not same or self._doubted:
            self._doubted = False
            self._serve(known, snapshot.epoch)
        if self.roster.ahead:
            for session, resident in self._residents.items():
                self.roster.add(session, resident.name)
        reading = Reading(
            snapshot.epoch,
            snapshot.offset,
            snapshot.at_known,
            snapshot.events,
            snapshot.at_last,
        )
        items = self.relay.read(reading)
        another = self.relay.logs != logs
        self._deliver(items)
        if not known:
            self._join_again()
        elif any(isinstance(item, Missed) for item in items):
            self._tell_what_is_lost(was_at, items, another=another)
        if another:
            self._reached(all_of_it=True)
        elif self.relay.offset == snapshot.offset:
            if snapshot.members is not None:
                self._check_members(snapshot.members)
            self.roster.counted(snapshot.people)
        if self.relay.behind or self.roster.doubted:
            asks_more = self.roster.doubted and snapshot.members is None
            brought = asks_more or (known, was_at) != (self.relay.epoch, self.relay.offset)
            # What brought nothing new is not to be asked again and again without a pause.
            (self._around.look_at if brought else self._around.look_later)(self)
        self._close_if_empty()

    def _tell_what_is_lost(
        self, was_at: int, items: Iterable[Envelope | Missed], *, another: bool
    ) -> None:
        """What people here said is in the log, but for what fell into a hole, or was in another."""
        heard = {item.offset for item in items if isinstance(item, Envelope)}
        here = self.relay.offset

        def lost(offset: int) -> bool:
            return offset > was_at and (another or (offset <= here and offset not in heard))

        for resident in list(self._residents.values()):
            resident.missed(lost)

    def _check_members(self, members: Mapping[SessionId, Membership]) -> None:
        """Mend what fell into a hole for ever, or came back with an older log."""
        if self.roster.ahead:
            return  # the snapshot may be older than somebody's membership
        for session, resident in list(self._residents.items()):
            member = members.get(session)
            if member is None:
                self.let_go(session, resident)
                resident.left(self.relay.epoch, self.relay.offset)
            elif member.holder != resident.holder:
                resident.refused()
        here = {resident.session_id for resident in (*self._joining, *self._leaving)}
        for session, member in members.items():
            ours = member.holder.gateway == self._around.gateway
            if ours and session not in here and session not in self._residents:
                event = Left(session, member.name)
                operation = Operation(self.name, member.holder, event, whatever)
                self._around.publisher.submit(operation)

    def _serve(self, known: str, epoch: str) -> None:
        """Have events published to this log; if it took another one's place, with who is here."""
        restore: list[Operation] = []
        if known != epoch:
            if known:
                log.warning("another log", room=self.name, epoch=epoch)
            # Not those whose `left` is done: it was in the log that is gone.
            staying = [r for r in self._residents.values() if not self._leaving.get(r)]
            restore = [self._keep(resident) for resident in staying]
        self._around.publisher.serve(self.name, epoch, restore)

    # What follows from it.

    def _deliver(self, items: Iterable[Envelope | Missed]) -> None:
        out: list[Envelope | Told] = []
        for item in items:
            if isinstance(item, Missed):
                self.roster.doubted = True
                out.append(item)
                self._join_again()
                continue
            match item.event:
                case Message() | Action():
                    if not self._recent or item.offset > self._recent[-1].offset:
                        self._recent.append(item)
                    out.append(item)
                case Joined(session, name):
                    ours = item.gateway == self._around.gateway
                    joiner = self._joining.by(item, session) if ours else None
                    if joiner:  # the strings that are here already
                        session = joiner.session_id
                        name = joiner.name if joiner.name == name else name
                    self.roster.add(session, name)
                    if not self._comings.sums_up(item.event, len(self.roster)):
                        out.append(item)
                    if joiner:
                        self._pass_on(out)
                        self._settle(joiner, item.offset)
                case Left(session):
                    self.roster.remove(session)
                    resident = self._residents.get(session)
                    if resident:
                        self._pass_on(out)
                        self.let_go(session, resident)
                    if not self._comings.sums_up(item.event, len(self.roster)):
                        out.append(item)
                    if resident:
                        resident.left(item.epoch, item.offset)
                case Renamed(session, _, new_name):
                    self.roster.add(session, new_name)
                    out.append(item)
                    if resident := self._residents.get(session):
                        self._pass_on(out)
                        resident.renamed(new_name)
                case Private() | Returned() | Replaced():
                    self._around.on_post(item)
        self._pass_on(out)
        self._reached()

    def _reached(self, *, all_of_it: bool = False) -> None:
        """Tell those who wait for a place of the log; for all places if the log is gone."""
        here = self.relay.offset
        due = [then for offset, then in self._awaited if all_of_it or offset <= here]
        if due:
            self._awaited = [] if all_of_it else [each for each in self._awaited if each[0] > here]
            for then in due:
                then()

    def _pass_on(self, out: list[Envelope | Told]) -> None:
        if out:
            self._around.hub.deliver(self.name, out)
            out.clear()

    def _tell_sum(self, sum: Summary, newcomers: Mapping[SessionId, Summary | None]) -> None:
        self._around.hub.deliver(self.name, [Varied(sum, newcomers)])

    # Becoming a member.

    def _submit_join(self, resident: Resident) -> None:
        def there(epoch: str, offset: int) -> None:
            # By its ``joined``; but nobody is told of who was one already, or came from
            # another gateway, and it can fall into a hole that can't be filled.
            if self.relay.epoch == epoch and self.relay.offset >= offset:
                self._settle(resident, self.relay.offset)

        def told(outcome: Outcome, offset: int) -> None:
            if operation.taken_from:
                resident.took_over(operation.taken_from)
            if outcome is Outcome.REFUSED:
                self.let_go(resident.session_id, resident)
                resident.refused()
                self._close_if_empty()
            else:
                self.when_at(offset, partial(there, self.relay.epoch, offset))

        event = Joined(resident.session_id, resident.name)
        operation = Operation(self.name, resident.holder, event, told)
        self._joining.asked(resident, operation)
        self._around.publisher.submit(operation)

    def _join_again(self) -> None:
        """Those who join may have been joined at a place that the relay will never reach.

        Joining twice says nothing twice: the second answer is that it is done.
        """
        for resident in self._joining:
            self._submit_join(resident)

    def _keep(self, resident: Resident) -> Operation:
        self.roster.keeping()

        def told(outcome: Outcome, _offset: int) -> None:
            all_kept = self.roster.kept()
            if outcome is Outcome.REFUSED:
                resident.refused()
            if all_kept:
                self._around.look_at(self)

        event = Joined(resident.session_id, resident.last_name)
        return Operation(self.name, resident.holder, event, told, silent=True)

    def _settle(self, resident: Resident, offset: int) -> None:
        """The resident becomes a member at this place of the log: it gets what comes after."""
        session = resident.session_id
        if not self._joining.remove(session, resident):
            return
        known = self.roster.name_of(session) or resident.name
        if known != resident.name:
            # A new name that its former gateway did not come to tell.
            event = Renamed(session, known, resident.name)
            self._around.publisher.submit(Operation(self.name, resident.holder, event, whatever))
        self.roster.settled(session, resident.name)
        self._residents[session] = resident
        if resident.resume_at is None:
            history = [Said(self.name, e) for e in self._recent if e.offset <= offset]
            welcome = self._welcome(resident, offset, history)
            self._begin_to_hear(resident, welcome)
        else:
            self._replay(resident, *resident.resume_at)

    def _begin_to_hear(self, resident: Resident, greeting: Welcome | None) -> None:
        self._around.hub.join(self.name, resident, greeting)
        self._comings.came(resident.session_id)
        resident.joined(len(self.roster))

    def _replay(self, resident: Resident, epoch: str, after: int) -> None:
        """Bring one that was here before up to where the room is."""

        def wanted() -> bool:
            return self._residents.get(resident.session_id) is resident

        def welcome(offset: int) -> None:
            item = self._welcome(resident, offset, ())
            resident.send(resident.encoding.encode(item, self.name))

        def done() -> None:
            self._begin_to_hear(resident, None)

        Replay(
            self._around.inquiries,
            self.name,
            self.relay,
            resident,
            epoch=epoch,
            after=after,
            page_bytes=self._around.config.sendq // _PAGES_OF_SENDQ,
            wanted=wanted,
            look=lambda: self._around.look_at(self),
            welcome=welcome,
            done=done,
        ).begin()

    def _close_if_empty(self) -> None:
        if self.empty:
            self._comings.stop()
            self._around.emptied(self)

    def _welcome(self, resident: Resident, offset: int, history: Sequence[Said]) -> Welcome:
        people = len(self.roster)
        names = self.roster.names() if people <= _NAMES_LISTED else ()
        return Welcome(resident.name, self.name, self.relay.epoch, offset, people, names, history)
