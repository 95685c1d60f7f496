"""An outbox against a Redis that loses calls and answers, stalls, fails, and comes back empty."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.broker.outbox import Batch, Holder, Operation, Outbox, Outcome, Verb
from gateway.chat.events import Joined, Left, Message, Private, Renamed, Replaced

ROOMS = ("attic", "den")
INBOX = "@G2"  # of another gateway: never served here
DEADLINE_S = 10.0
EVENTS = {
    "say": lambda session, n: Message(session, "name", f"{n}"),
    "say again": lambda session, n: Message(session, "name", f"{n}", 1 + n * 7 % 5),
    "join": lambda session, _: Joined(session, "name"),
    "leave": lambda session, _: Left(session, "name"),
    "rename": lambda session, n: Renamed(session, "name", f"name{n}"),
}
sessions = st.sampled_from(["s1", "s2"])


class RoomInRedis:
    """What ``publish.lua`` does to one room, for G1; G2 only joins and leaves."""

    def __init__(self) -> None:
        self.epoch = ""
        self.epochs = 0
        self.taken: set[Operation] = set()  # joins that were answered so
        self.empty()

    def empty(self) -> None:
        """All is gone; the next who reads makes another log."""
        self.epoch, self.members, self.last = "", {}, (0, "")
        self.log: list[Operation] = []
        self.refs: dict[str, dict[int, int]] = {}  # a session's last two, and their offsets

    def read(self) -> str:
        if not self.epoch:
            self.epochs += 1
            self.epoch = f"e{self.epochs}"
        return self.epoch

    def publish(self, batch: Batch) -> str:
        number, reply = self.last
        if batch.number == number:
            return reply
        if batch.number < number:
            return "late"
        if not self.epoch or batch.epoch not in ("", self.epoch):
            return "epoch"
        reply = " ".join(str(self._apply(operation)) for operation in batch.operations)
        self.last = batch.number, reply
        return reply

    def _apply(self, operation: Operation) -> int | str:
        session, ref = operation.holder.session, operation.ref
        said = self.refs.setdefault(session, {})
        if ref in said:
            return f"={said[ref]}"
        if ref and said and ref < max(said):
            return "?"
        if operation.verb in (Verb.JOIN, Verb.KEEP):
            before = self.members.get(session)
            self.members[session] = "G1"
            self.taken.discard(operation)
            if before == "G2":
                self.taken.add(operation)
                return f"~{len(self.log)}:G2"
            if before or operation.verb is Verb.KEEP:
                return f"-{len(self.log)}"
        elif operation.verb is not Verb.POST:
            if self.members.get(session) != "G1":
                return 0
            if operation.verb is Verb.LEAVE:
                del self.members[session]
        self.log.append(operation)
        if ref:
            said[ref] = len(self.log)
            for forgotten in sorted(said)[:-2]:
                del said[forgotten]
        return len(self.log)


class OutboxMachine(RuleBasedStateMachine):
    """The rules are what can befall; what is asserted are promises 2 and 4, and the order."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(batch_bytes=600, deadline_s=DEADLINE_S)
        self.rooms = {room: RoomInRedis() for room in (*ROOMS, INBOX)}
        self.now = 0.0
        self.place: dict[Operation, int] = {}  # in the order of submission
        self.outcomes: dict[Operation, Outcome] = {}
        self.applied: Counter[Operation] = Counter()  # over all logs there ever were
        self.flying: list[tuple[Batch, str]] = []  # and what will come of it
        self.stuck: list[Batch] = []  # on connections that were given up
        self.unanswered: dict[str, Batch] = {}
        self.unsure: set[Batch] = set()  # they may have been applied
        self.batches: dict[tuple[str, int], Batch] = {}
        self.refused: set[str] = set()  # rooms of which nothing is to be sent

    # What people ask for.

    def operation(self, room: str, session: str, event, silent: bool = False) -> Operation:
        def told(outcome: Outcome, _offset: int) -> None:
            assert operation not in self.outcomes, "told twice"
            self.outcomes[operation] = outcome

        operation = Operation(room, Holder("G1", session, 1), event, told, self.now, silent)
        self.place[operation] = len(self.place)
        return operation

    @rule(room=st.sampled_from(ROOMS), session=sessions, kind=st.sampled_from(list(EVENTS)))
    def somebody_asks(self, room: str, session: str, kind: str) -> None:
        event = EVENTS[kind](session, len(self.place))
        self.outbox.submit(self.operation(room, session, event))

    @rule(session=sessions)
    def somebody_tells_one_person_only(self, session: str) -> None:
        event = Private(session, "name", "s9", "other", "psst")
        self.outbox.submit(self.operation(INBOX, session, event))

    @rule(session=sessions)
    def a_session_of_the_other_gateway_goes_on_here(self, session: str) -> None:
        self.outbox.submit(self.operation(INBOX, session, Replaced(session, "name", 1)))

    # What the gateway learns.

    @rule(room=st.sampled_from(ROOMS), restored=st.lists(sessions, unique=True))
    def the_log_is_read(self, room: str, restored: list[str]) -> None:
        kept = [
            self.operation(room, session, Joined(session, "name"), True) for session in restored
        ]
        self.outbox.serve(room, self.rooms[room].read(), kept)

    @precondition(lambda self: not self.flying)
    @rule(room=st.sampled_from(ROOMS))
    def a_room_is_served_no_more(self, room: str) -> None:
        waits = [o for o in self.place if o.room == room and o not in self.outcomes]
        if not any(operation.mortal for operation in waits):  # who speaks is a member
            self.outbox.forget(room)

    @rule(seconds=st.floats(0.0, 8.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.outbox.expire(self.now)

    # What becomes of calls.

    @precondition(lambda self: not self.flying)
    @rule(
        max_bytes=st.sampled_from([300, 5000]),
        fates=st.lists(
            st.sampled_from(["ok", "answer lost", "call lost", "stuck", "error", "refused"]),
            min_size=len(ROOMS) + 1,
            max_size=len(ROOMS) + 1,
        ),
    )
    def a_pipeline_is_sent(self, max_bytes: int, fates: list[str]) -> None:
        batches = self.outbox.next_batches(max_bytes)
        assert len({batch.room for batch in batches}) == len(batches), "two for one room"
        for batch, fate in zip(batches, fates, strict=False):
            before = self.unanswered.setdefault(batch.room, batch)
            assert before is batch, "not repeated as it was"
            assert batch.room not in self.refused, "tried again too soon"
            known = self.batches.setdefault((batch.room, batch.number), batch)
            assert known is batch, "a number used twice"
            assert batch.number >= max(n for room, n in self.batches if room == batch.room)
            reply = self.run(batch) if fate in ("ok", "answer lost") else ""
            self.flying.append((batch, reply if fate == "ok" else fate))
            if fate == "stuck" and batch.epoch:
                self.stuck.append(batch)

    @precondition(lambda self: self.flying)
    @rule()
    def the_pipeline_ends(self) -> None:
        flying, self.flying = self.flying, []
        for batch, reply in flying:
            if reply in ("answer lost", "call lost", "stuck"):
                self.unsure.add(batch)
                self.outbox.lost(batch)
                continue
            if reply not in ("error", "refused") or batch not in self.unsure:
                del self.unanswered[batch.room]
            if reply == "error":
                self.outbox.failed(batch)
            elif reply == "refused":
                self.refused.add(batch.room)
                self.outbox.refused(batch)
            elif reply == "epoch":
                self.outbox.other_log(batch)
            else:
                self.outbox.answered(batch, reply.encode().split())
        self.check()

    @precondition(lambda self: self.refused)
    @rule()
    def what_was_refused_is_tried_again(self) -> None:
        for room in self.refused:
            self.outbox.try_again(room)
        self.refused.clear()

    @precondition(lambda self: self.stuck)
    @rule()
    def a_call_arrives_that_was_given_up(self) -> None:
        self.run(self.stuck.pop(0))
        self.check()

    @rule(room=st.sampled_from([*ROOMS, INBOX]))
    def redis_comes_back_empty(self, room: str) -> None:
        self.rooms[room].empty()

    @rule(room=st.sampled_from(ROOMS), session=sessions)
    def a_session_goes_on_at_another_gateway(self, room: str, session: str) -> None:
        if session in self.rooms[room].members:
            self.rooms[room].members[session] = "G2"

    @rule()
    def the_other_gateway_reads_its_inbox(self) -> None:
        self.rooms[INBOX].read()

    def run(self, batch: Batch) -> str:
        room = self.rooms[batch.room]
        before = len(room.log)
        reply = room.publish(batch)
        self.applied.update(room.log[before:])
        assert len(set(room.log)) == len(room.log), "applied twice to one log"
        places = [self.place[operation] for operation in room.log]
        assert places == sorted(places), "out of order"
        return reply

    # What must be true of it.

    def check(self) -> None:
        for operation, outcome in self.outcomes.items():
            if operation.mortal:
                times = self.applied[operation]
                assert times <= 1 or operation.room == INBOX, "said in two logs"
                if outcome is Outcome.CONFIRMED:
                    assert times >= 1, "confirmed, but not applied"
                elif outcome is not Outcome.NOT_CONFIRMED:
                    assert not times, f"{outcome}, but applied"
            else:
                assert outcome in (Outcome.CONFIRMED, Outcome.REFUSED)
                if outcome is Outcome.CONFIRMED:
                    taken = operation in self.rooms[operation.room].taken
                    assert operation.taken_from == ("G2" if taken else "")

    def teardown(self) -> None:
        """When all is well again, everybody is told, and nothing is left."""
        while self.flying or len(self.outbox):
            if self.flying:
                self.the_pipeline_ends()
            self.what_was_refused_is_tried_again()
            for room in ROOMS:
                self.outbox.serve(room, self.rooms[room].read())
            self.a_pipeline_is_sent(5000, ["ok"] * 3)
        while self.stuck:
            self.a_call_arrives_that_was_given_up()
        self.check()
        assert self.outbox.size_bytes == 0
        assert self.outcomes.keys() == self.place.keys()


OutboxMachine.TestCase.settings = settings(
    max_examples=400, stateful_step_count=40, deadline=None, derandomize=True
)


class TestOutboxKeepsItsPromisesWhateverBefalls(OutboxMachine.TestCase):
    """Promises 2 and 4: applied once, in order, and each told the truth, once."""
