"""Rooms on a stage: a log that the test writes, and notes of what is asked of Redis."""

import asyncio
import contextlib
from functools import partial
from types import SimpleNamespace

import pytest

from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder, Outcome
from gateway.broker.reader import Membership, Snapshot
from gateway.chat.events import (
    Joined,
    Left,
    Message,
    Missed,
    Renamed,
    Welcome,
    decode_envelope,
    encode_event,
)
from gateway.config import Config
from gateway.rooms import served
from gateway.rooms.hub import Hub
from gateway.rooms.served import Rooms

KEYS = Keys("test")
LOBBY = KEYS.channel("lobby")


class Log:
    """The lobby as Redis has it, and the reader that asks for it.  A line b'' is gone.

    A reading that was asked for comes when the test awaits ``read``.
    """

    def __init__(self):
        self.epoch, self.lines, self.members = "a", [], {}
        self.places = {}  # of what this gateway submitted, in batches
        self.people_more = 0
        self._asked = asyncio.Semaphore(0)
        self._may_read = asyncio.Semaphore(0)
        self._came = asyncio.Semaphore(0)

    def append(self, *events, gateway="G2"):
        """Returns what Redis publishes of it."""
        added = []
        for event in events:
            batch, index = self.places.get(event, (id(event), 0))
            head = f"{len(self.lines) + 1} {self.epoch} 0 {gateway} {batch} {index} "
            self.lines.append(head.encode() + encode_event(event))
            added.append(self.lines[-1])
            if isinstance(event, Joined):
                holder = Holder(gateway, event.session, 1)
                self.members[event.session] = Membership(holder, event.name)
            elif isinstance(event, Left):
                self.members.pop(event.session, None)
        return b"\n".join(added)

    async def asked(self):
        await self._asked.acquire()

    async def come(self):
        """Answer the oldest reading, and wait until it has been dealt with."""
        self._may_read.release()
        await self._came.acquire()
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn

    @property
    def is_asked(self):
        """Whether something was read, or is to be."""
        return not self._asked.locked()

    async def read(self, questions):
        self._asked.release()
        await self._may_read.acquire()
        self._came.release()
        return [self._snapshot(question) for question in questions]

    def _snapshot(self, question):
        known = question.epoch == self.epoch
        after = question.offset if known else 0
        at_known = self.lines[after - 1] if known and 0 < after <= len(self.lines) else b""
        members = None
        if question.members or not known:
            members = dict(self.members)
        events = [decode_envelope(line) for line in self.lines if line]
        said = [event for event in events if isinstance(event.event, Message)]
        return Snapshot(
            self.epoch,
            len(self.lines),
            len(self.members) + self.people_more,
            at_known,
            [event for event in events if event.offset > after and question.epoch],
            members,
            said if members is not None else [],
        )


class Encoding:
    """What was sent, as it is: nothing is turned into bytes."""

    def __init__(self):
        self.items = {}

    def encode(self, item, room=""):
        self.items[id(item)] = item
        return b"%d " % id(item)

    encode_own = encode


class Resident:
    """Somebody on this gateway.  ``heard`` is what was sent; ``notes`` what became of it."""

    stalled, resume_at = False, None

    def __init__(self, session, name, encoding):
        self.session_id, self.name, self.encoding = session, name, encoding
        self.holder = Holder("G1", session, 1)
        self.notes, self._sent = [], b""

    @property
    def last_name(self):
        return self.name

    def send(self, data):
        self._sent += data

    @property
    def heard(self):
        items = [self.encoding.items[int(one)] for one in self._sent.split()]
        return [getattr(item, "event", item) for item in items]

    def missed(self, lost):
        self.notes.append(("missed", [offset for offset in range(20) if lost(offset)]))

    def __getattr__(self, what):
        return lambda *values: self.notes.append((what, *values))


class Stage:
    def __init__(self):
        self.log, self.encoding = Log(), Encoding()
        self.submitted, self.served, self.subscriptions = [], [], []
        self.hub = Hub()
        self.hub.flush()
        self.told_people = []
        registry = SimpleNamespace(set_people=lambda *told: self.told_people.append(told))
        self.rooms = Rooms(
            Config(), "G1", KEYS, self.hub, self.log, registry, None, lambda _post: None
        )
        self.rooms.publisher = SimpleNamespace(
            submit=self._submit,
            serve=lambda room, epoch, restore: self.served.append((room, epoch, list(restore))),
            forget=lambda room: self.served.append((room, "", [])),
        )
        self.rooms.subscriber = SimpleNamespace(
            subscribe=self.subscriptions.extend, unsubscribe=self.subscriptions.remove
        )

    def _submit(self, operation):
        self.submitted.append(operation)
        operation.place = (len(self.log.places) + 1, 7)
        self.log.places[operation.event] = operation.place

    def arrive(self, payload):
        """Redis published this, and nothing more is at hand."""
        self.rooms.message(LOBBY, payload)
        self.rooms.caught_up()

    async def enter(self, session="s1", name="alice"):
        """Somebody becomes a member; what was heard by then is passed over."""
        resident = Resident(session, name, self.encoding)
        self.rooms.enter("lobby", resident)
        self.rooms.subscribed(LOBBY)
        await self.look()
        self.arrive(self.log.append(Joined(session, name), gateway="G1"))
        self.hub.flush()
        assert isinstance(resident.heard[0], Welcome)
        resident._sent = b""
        self.submitted.clear()
        self.served.clear()
        return resident

    async def look(self):
        """The log is read, since something asked for it."""
        await self.log.asked()
        await self.log.come()
        self.hub.flush()


@pytest.fixture
async def stage():
    stage = Stage()
    reading = asyncio.create_task(stage.rooms.run_forever())
    yield stage
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


def says(*texts):
    return [Message("s9", "zoe", text) for text in texts]


async def test_who_enters_joins_when_the_room_is_subscribed_and_its_log_known(stage):
    """DESIGN 3: subscribe and wait for the confirmation, then one script appends joined."""
    alice = Resident("s1", "alice", stage.encoding)
    stage.rooms.enter("lobby", alice)
    assert stage.subscriptions == [LOBBY]
    assert stage.submitted == []
    stage.rooms.subscribed(LOBBY)
    assert stage.submitted == []
    await stage.look()
    (join,) = stage.submitted
    assert (join.event, join.holder) == (Joined("s1", "alice"), alice.holder)
    assert [(room, epoch) for room, epoch, _ in stage.served] == [("lobby", "a")]


async def test_nobody_is_forgotten_when_something_comes_before_the_confirmation(stage):
    """DESIGN 3: joining has no race; a channel may still carry what was wanted before."""
    alice, bob = (Resident(s, name, stage.encoding) for s, name in (("s1", "alice"), ("s2", "bob")))
    stage.rooms.enter("lobby", alice)
    stage.arrive(stage.log.append(*says("to who was here before")))
    for _ in range(5):  # a reading now would come too early
        await asyncio.sleep(0)
    assert not stage.log.is_asked
    stage.rooms.enter("lobby", bob)
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert [join.event for join in stage.submitted] == [Joined("s1", "alice"), Joined("s2", "bob")]


async def test_a_log_that_is_doubted_before_the_confirmation_is_read_after_it(stage):
    """DESIGN 3: subscribe and wait for the confirmation; then the log."""
    stage.rooms.enter("lobby", Resident("s1", "alice", stage.encoding))
    stage.rooms.other_log("lobby")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not stage.log.is_asked
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert [(room, epoch) for room, epoch, _ in stage.served] == [("lobby", "a")]


async def test_who_joins_gets_the_history_before_and_the_events_after(stage):
    """DESIGN 3: when the relay reaches J, the session gets the history before J."""
    stage.log.append(*says("one", "two"))
    alice = Resident("s1", "alice", stage.encoding)
    stage.rooms.enter("lobby", alice)
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    three, four = says("three", "four")
    stage.arrive(stage.log.append(three, Joined("s1", "alice"), four, gateway="G1"))
    stage.hub.flush()
    welcome, after = alice.heard
    assert [said.envelope.event.text for said in welcome.history] == ["one", "two", "three"]
    assert (welcome.people, list(welcome.names), after) == (1, ["alice"], four)
    assert alice.notes == [("joined", 1)]


async def test_events_that_are_lost_on_the_way_are_delivered_from_the_log(stage):
    """Promise 3: killed or dropped pub/sub connections."""
    alice = await stage.enter()
    one, two, three = says("one", "two", "three")
    stage.log.append(one, two)
    stage.arrive(stage.log.append(three))
    assert alice.heard == []
    await stage.look()
    assert alice.heard == [one, two, three]


async def test_a_subscription_that_is_confirmed_again_is_compared_with_the_log(stage):
    """DESIGN 3: after every (re)subscribe: pub/sub can lose the tail."""
    alice = await stage.enter()
    (one,) = says("one")
    stage.log.append(one)
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert alice.heard == [one]


async def test_when_redis_came_back_empty_rooms_are_compared_at_once_and_once_more(
    stage, monkeypatch
):
    """Issue 3: who is there is known again soon, also whom other gateways write anew."""
    monkeypatch.setattr(served, "_FILLED_S", 0.2)
    alice = await stage.enter()
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.compare_all()
    await stage.look()
    assert alice.heard == [Missed()]
    ((_, _, (keep,)),) = stage.served
    stage.log.members = {"s1": Membership(keep.holder, "alice")}
    keep.told(Outcome.CONFIRMED, 0)
    await stage.look()
    stage.log.members["s2"] = Membership(Holder("G2", "s2", 1), "bob")
    await stage.look()
    await stage.look()
    assert stage.rooms.people("lobby") == ["alice", "bob"]


async def test_what_comes_between_a_resubscription_and_its_reading_hides_no_other_log(stage):
    """DESIGN 3: a failover that lost writes: members are told, never silence.

    The log lost its end and grew again; its next event seems to follow.
    """
    alice = await stage.enter()
    stage.arrive(stage.log.append(*says("old 1", "old 2")))
    stage.hub.flush()
    del stage.log.lines[-2:]
    stage.log.append(*says("new 1", "new 2"))
    stage.rooms.subscribed(LOBBY)
    stage.arrive(stage.log.append(*says("new 3")))
    await stage.look()
    assert Missed() in alice.heard


async def test_of_another_log_members_are_told_and_kept_in_it(stage):
    """DESIGN 3: a Redis that came back empty is filled again with what the sessions hold."""
    alice = await stage.enter()
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    assert alice.heard == [Missed()]
    ((room, epoch, (keep,)),) = stage.served
    assert (room, epoch, keep.silent, keep.event) == ("lobby", "b", True, Joined("s1", "alice"))
    assert stage.rooms.people("lobby") == ["alice"]


async def nothing_is_asked(stage):
    """At once, that is."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stage.log.is_asked


async def test_a_line_that_no_log_has_is_neither_delivered_nor_asked_for_again_and_again(stage):
    """Promise 2: it was published of a log that lost its end."""
    alice = await stage.enter()
    lost = says("one", "two", "lost")
    payload = stage.log.append(*lost).split(b"\n")[-1]
    del stage.log.lines[-3:]
    stage.arrive(payload)
    await stage.look()
    await nothing_is_asked(stage)
    one, two, three, four = says("1", "2", "3", "4")
    stage.arrive(stage.log.append(one, two, three, four))
    stage.hub.flush()
    assert alice.heard == [one, two, three, four]


async def test_a_log_that_is_not_filled_again_yet_is_not_asked_again_and_again(stage, monkeypatch):
    """Memory is full, and what is kept is refused for a while: not even after a moment."""
    monkeypatch.setattr(served, "_AGAIN_S", 0.0)
    await stage.enter()
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    await stage.look()
    await nothing_is_asked(stage)


async def test_a_number_of_people_that_is_never_right_is_not_asked_for_again_and_again(stage):
    await stage.enter()
    stage.log.people_more = 1
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    await stage.look()
    await nothing_is_asked(stage)


async def test_a_joined_of_the_same_session_elsewhere_is_not_ones_own(stage):
    """Promise 6: what ends that membership does not end this one."""
    await stage.enter("s0", "carol")
    sam = Resident("s1", "sam", stage.encoding)
    sam.holder = Holder("G1", "s1", 2)
    stage.rooms.enter("lobby", sam)
    (join,) = stage.submitted
    stage.arrive(stage.log.append(Joined("s1", "sam"), gateway="G2"))
    stage.arrive(stage.log.append(Left("s1", "sam"), gateway="G2"))
    assert sam.notes == []
    payload = stage.log.append(Joined("s1", "sam"), gateway="G1")
    join.told(Outcome.CONFIRMED, len(stage.log.lines))
    stage.arrive(payload)
    assert [note[0] for note in sam.notes] == ["joined"]
    assert stage.rooms.people("lobby") == ["carol", "sam"]


async def test_a_new_name_of_one_who_comes_from_elsewhere_is_known_at_once(stage):
    stage.log.append(Joined("s1", "old"))
    await stage.enter("s0", "carol")
    assert stage.rooms.people("lobby") == ["carol", "old"]
    stage.rooms.enter("lobby", Resident("s1", "new", stage.encoding))
    stage.submitted[0].told(Outcome.CONFIRMED, 0)
    assert stage.rooms.people("lobby") == ["carol", "new"]


async def test_a_reading_of_before_somebody_was_kept_ends_nobody(stage):
    """Promise 6: nobody living is ever said to have left.

    Two connections: Redis read the new log's members before it was told of them, and that
    answer comes behind the other one.
    """
    alice = await stage.enter()
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    ((_, _, (keep,)),) = stage.served
    await stage.log.asked()
    keep.told(Outcome.CONFIRMED, 0)
    await stage.log.come()
    assert stage.rooms.people("lobby") == ["alice"]
    stage.log.members = {
        s: Membership(alice.holder, name) for s, name in (("s1", "alice"), ("s2", "bob"))
    }
    await stage.look()
    assert stage.rooms.people("lobby") == ["alice", "bob"]
    assert not [note for note in alice.notes if note[0] in ("left", "refused")]


async def test_a_log_that_is_the_same_after_all_is_served_again(stage):
    """Outbox: what another log did not take waits for ``serve``; so it must come in any case.

    Redis was asked in between at an address that another server had.
    """
    await stage.enter()
    stage.rooms.other_log("lobby")
    await stage.look()
    assert [(room, epoch) for room, epoch, _ in stage.served] == [("lobby", "a")]


async def test_of_another_log_nobody_hears_what_the_old_one_still_held(stage):
    """Promise 4: who said it, and was told nothing yet, must be."""
    alice = await stage.enter()
    stage.log.epoch, stage.log.lines = "b", stage.log.lines[:1]
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert alice.notes[-1] == ("missed", list(range(2, 20)))


async def test_of_a_hole_that_can_t_be_filled_nobody_hears_what_was_in_it(stage):
    """Promise 4: what comes behind it is heard, and acknowledged there."""
    alice = await stage.enter()
    stage.log.append(*says("two", "three", "four"))
    stage.log.lines[1:3] = b"", b""
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert [type(item) for item in alice.heard] == [Missed, Message]
    assert alice.notes[-1] == ("missed", [2, 3])


async def test_who_missed_nothing_is_not_told_of_it(stage):
    """Promise 4: what is read late is not lost."""
    alice = await stage.enter()
    stage.log.append(*says("two", "three"))
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert len(alice.heard) == 2
    assert not [note for note in alice.notes if note[0] == "missed"]


async def test_who_is_ended_from_elsewhere_is_told_and_hears_no_more(stage):
    """Issue 3: a gateway that was only stopped for long finds itself reaped."""
    alice = await stage.enter()
    (one,) = says("one")
    stage.arrive(stage.log.append(one, Left("s1", "alice"), *says("two")))
    stage.hub.flush()
    assert alice.notes[-1] == ("left", "a", 3)
    assert alice.heard == [one]
    assert stage.subscriptions == []


class Leaving:
    """A leave under way; ``over`` when it is."""

    def __init__(self, stage, resident):
        self.over = False
        stage.rooms.leave("lobby", resident, self._done)
        self.operation = stage.submitted[-1]

    def _done(self):
        self.over = True


async def test_who_leaves_hears_all_that_was_said_before(stage):
    """Promise 2: Redis's answer may come before what it published."""
    alice = await stage.enter()
    (one,) = says("one")
    came = stage.log.append(one, Left("s1", "alice"), *says("two"))
    leave = Leaving(stage, alice)
    leave.operation.told(Outcome.CONFIRMED, 3)
    assert not leave.over
    stage.arrive(came)
    stage.hub.flush()
    assert leave.over
    assert alice.heard == [one]


async def test_a_room_that_nobody_here_is_in_is_served_no_more(stage):
    """DESIGN 2: gateways subscribe and unsubscribe; /rooms is told that nobody is there."""
    alice = await stage.enter()
    stage.rooms.report()
    leave = Leaving(stage, alice)
    assert leave.operation.event == Left("s1", "alice")
    leave.operation.told(Outcome.CONFIRMED, 2)
    assert stage.subscriptions == [LOBBY]
    stage.arrive(stage.log.append(Left("s1", "alice")))
    assert stage.subscriptions == []
    assert stage.told_people == [("lobby", 1), ("lobby", 0)]


async def test_leaving_is_over_though_its_event_fell_into_a_hole_for_ever(stage):
    """Promise 6: names end with the session."""
    alice = await stage.enter()
    leave = Leaving(stage, alice)
    leave.operation.told(Outcome.CONFIRMED, 2)
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    assert leave.over


async def test_who_leaves_before_the_room_is_known_does_not_join_it_then(stage):
    """Promise 6: a join behind the leave would be a member for ever."""
    alice = Resident("s1", "alice", stage.encoding)
    stage.rooms.enter("lobby", alice)
    leave = Leaving(stage, alice)
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    assert stage.submitted == [leave.operation]
    leave.operation.told(Outcome.REFUSED, 0)
    assert leave.over
    assert stage.subscriptions == []


async def test_a_member_whose_left_nobody_can_read_any_more_is_told(stage):
    """Promise 4: what is said by somebody who is no member goes nowhere."""
    alice = await stage.enter()
    stage.log.lines += [b"", b""]  # two events that the log does not hold any more
    del stage.log.members["s1"]
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    await stage.look()
    assert alice.heard == [Missed()]
    assert alice.notes[-1] == ("left", "a", 3)


async def test_a_member_whose_session_is_held_elsewhere_is_replaced(stage):
    """DESIGN 3: holders are fenced."""
    alice = await stage.enter()
    stage.log.members["s1"] = Membership(Holder("G2", "s1", 2), "alice")
    stage.log.lines += [b""]
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    await stage.look()
    assert alice.notes[-1] == ("refused",)


async def test_those_here_are_there_while_a_new_log_does_not_know_them_yet(stage):
    """Issue 3: a Redis that came back empty is filled again."""
    await stage.enter()
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    await stage.look()
    assert stage.rooms.people("lobby") == ["alice"]
    ((_, _, (keep,)),) = stage.served
    stage.log.members = {
        "s1": Membership(keep.holder, "alice"),
        "s2": Membership(keep.holder, "bob"),
    }
    keep.told(Outcome.CONFIRMED, 0)
    await stage.look()
    assert stage.rooms.people("lobby") == ["alice", "bob"]


async def test_who_has_left_is_not_kept_in_a_new_log(stage):
    """Promise 6: a membership ends with the session."""
    alice = await stage.enter()
    Leaving(stage, alice).operation.told(Outcome.CONFIRMED, 2)
    stage.log.epoch, stage.log.lines, stage.log.members = "b", [], {}
    stage.rooms.other_log("lobby")
    await stage.look()
    assert [restored for _, _, restored in stage.served] == [[], []]


async def test_a_member_of_this_gateway_that_is_not_here_is_ended(stage):
    """Promise 6; it came back with an older log, which had not heard of its end."""
    await stage.enter()
    holder = Holder("G1", "s7", 3)
    stage.log.members["s7"] = Membership(holder, "ghost")
    stage.rooms.subscribed(LOBBY)
    await stage.look()
    await stage.look()
    (left,) = stage.submitted
    assert (left.event, left.holder) == (Left("s7", "ghost"), holder)


async def test_a_session_that_was_a_member_elsewhere_says_its_new_name_and_where_it_went(stage):
    """DESIGN 4: the same session on another gateway takes the membership over."""
    await stage.enter()
    stage.arrive(stage.log.append(Joined("s2", "bob")))
    bob = Resident("s2", "bobby", stage.encoding)
    stage.rooms.enter("lobby", bob)
    join = stage.submitted[-1]
    join.taken_from = "G2"
    join.told(Outcome.CONFIRMED, 0)
    assert bob.notes == [("took_over", "G2"), ("joined", 2)]
    assert stage.submitted[-1].event == Renamed("s2", "bob", "bobby")


async def test_people_are_who_the_log_says(stage):
    """DESIGN 4: /who: everybody in the room, on all gateways."""
    await stage.enter()
    stage.arrive(stage.log.append(Joined("s2", "Bob"), Joined("s3", "carol")))
    stage.arrive(stage.log.append(Renamed("s3", "carol", "aaron"), Left("s2", "Bob")))
    assert stage.rooms.people("lobby") == ["aaron", "alice"]


async def test_garbage_on_a_channel_harms_nobody(stage):
    """Promise 5: hostile input costs the others nothing."""
    alice = await stage.enter()
    (one,) = says("one")
    stage.rooms.message("another channel", stage.log.lines[-1])
    stage.rooms.message(LOBBY, b"hello")
    stage.arrive(stage.log.append(one))
    stage.hub.flush()
    assert alice.heard == [one]
    assert decode_envelope(stage.log.lines[-1]).event == one


async def goes_on_here(stage, name="carol", generation=2):
    """s5, a member by G2, comes here; Redis says so, before the relay is where its log is."""
    resident = Resident("s5", name, stage.encoding)
    resident.holder = Holder("G1", "s5", generation)
    stage.rooms.enter("lobby", resident)
    (join,) = stage.submitted
    stage.submitted.clear()
    join.taken_from = "G2"
    join.told(Outcome.CONFIRMED, len(stage.log.lines))
    return resident


async def test_who_was_renamed_elsewhere_and_comes_here_is_renamed_once(stage):
    """Promise 2: the old gateway's ``renamed`` is in the log, and not here yet."""
    await stage.enter()
    stage.arrive(stage.log.append(Joined("s5", "old"), gateway="G2"))
    published = stage.log.append(Renamed("s5", "old", "new"), gateway="G2")
    await goes_on_here(stage, "new")
    stage.arrive(published)
    assert stage.submitted == []


async def test_an_old_left_is_not_of_who_took_the_membership_over_after_it(stage):
    """Promise 6: it left and came back elsewhere, and is here before the relay has read of it."""
    await stage.enter()
    stage.arrive(stage.log.append(Joined("s5", "carol"), gateway="G2"))
    published = stage.log.append(Left("s5", "carol"), Joined("s5", "carol"), gateway="G2")
    carol = await goes_on_here(stage)
    assert carol.notes == [("took_over", "G2")]
    stage.arrive(published)
    assert [what for what, *_ in carol.notes] == ["took_over", "joined"]


async def test_an_old_joined_is_not_of_who_came_after_it(stage):
    """DESIGN 3: a member gets what comes after its own ``joined``, and nothing from before it.

    The relay is behind: its session was here before, was renamed, and went.
    """
    await stage.enter()
    former = Resident("s5", "carol", stage.encoding)
    stage.rooms.enter("lobby", former)
    first = stage.submitted[-1]
    before = (Joined("s5", "carol"), Renamed("s5", "carol", "caro"), Left("s5", "caro"))
    published = stage.log.append(*before, *says("not yet"), gateway="G1")
    first.told(Outcome.CONFIRMED, len(stage.log.lines) - 3)
    stage.rooms.let_go("lobby", "s5", former)
    again = Resident("s5", "carol", stage.encoding)
    stage.rooms.enter("lobby", again)
    join = stage.submitted[-1]
    published += b"\n" + stage.log.append(Joined("s5", "carol"), *says("hi"), gateway="G1")
    stage.arrive(published)
    stage.hub.flush()
    assert [what for what, *_ in again.notes] == ["joined"]
    join.told(Outcome.CONFIRMED, len(stage.log.lines) - 1)
    welcome, *heard = again.heard
    assert (welcome.offset, [event.text for event in heard]) == (len(stage.log.lines) - 1, ["hi"])


async def test_who_comes_and_goes_and_comes_in_one_batch_is_there(stage):
    """Promise 6, on one gateway: three connections of a session."""
    first = await stage.enter("s5", "carol")
    stage.rooms.leave("lobby", first, lambda: None)
    second, third = (Resident("s5", "carol", stage.encoding) for _ in range(2))
    stage.rooms.enter("lobby", second)
    stage.rooms.let_go("lobby", "s5", second)
    stage.rooms.enter("lobby", third)
    left, join, again = stage.submitted
    published = stage.log.append(Left("s5", "carol"), Joined("s5", "carol"), gateway="G1")
    at = len(stage.log.lines)
    left.told(Outcome.CONFIRMED, at - 1)
    join.told(Outcome.CONFIRMED, at)
    again.told(Outcome.CONFIRMED, at)
    stage.arrive(published)
    assert [what for what, *_ in third.notes] == ["joined"]


async def test_who_leaves_twice_keeps_nobody_else_from_leaving(stage):
    """Promise 5."""
    alice, over = await stage.enter(), []
    bob = Resident("s2", "bob", stage.encoding)
    for who, name in ((alice, "alice"), (alice, "alice again"), (bob, "bob")):
        stage.rooms.leave("lobby", who, partial(over.append, name))
    first, again, third = stage.submitted
    published = stage.log.append(Left("s1", "alice"), Left("s2", "bob"), gateway="G1")
    at = len(stage.log.lines)
    first.told(Outcome.CONFIRMED, at - 1)
    again.told(Outcome.REFUSED, 0)
    third.told(Outcome.CONFIRMED, at)
    stage.arrive(published)
    assert over == ["alice again", "alice", "bob"]
