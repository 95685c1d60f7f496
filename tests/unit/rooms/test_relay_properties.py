"""A relay against a log whose messages are dropped, repeated and reordered, and whose
readings fail, are cut short, or find the log trimmed or gone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.chat.events import Envelope, Message, Missed, decode_envelope, encode_event
from gateway.rooms.relay import Counts, Reading, Relay

BODY = encode_event(Message("s1", "alice", "hi"))
HOLD_BYTES = 500  # about six events


class Log:
    """What Redis has of the room: one epoch's events, the oldest of them trimmed."""

    def __init__(self, number: int) -> None:
        self.epoch = f"e{number:03}"  # a later one is greater
        self.branch = self.offset = 0
        self.kept: dict[int, Envelope] = {}

    def append(self) -> Envelope:
        self.offset += 1
        line = b"%d %s 0 G1 %d 0 %s" % (self.offset, self.epoch.encode(), self.branch, BODY)
        self.kept[self.offset] = decode_envelope(line)
        return self.kept[self.offset]

    def trim(self, length: int) -> None:
        for offset in range(1, self.offset - length + 1):
            self.kept.pop(offset, None)

    def read(self, epoch: str, offset: int, page: int) -> Reading:
        """What ``sync.lua`` answers to a gateway that knows that much."""
        known = offset if epoch == self.epoch else 0
        follows = [event for at, event in sorted(self.kept.items()) if at > known]
        at_known = self.kept[known].raw if known in self.kept and epoch else b""
        at_last = self.kept[self.offset].raw if self.offset in self.kept else b""
        return Reading(self.epoch, self.offset, at_known, follows[:page] if epoch else [], at_last)


class RelayMachine(RuleBasedStateMachine):
    """The rules are what can befall; the invariants are the promises 1, 2 and 4."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(0)
        self.logs = [self.log.epoch]
        self.counts = Counts()
        self.relay = Relay(hold_bytes=HOLD_BYTES, counts=self.counts)
        self.wire: list[Envelope] = []
        self.arrived: list[Envelope] = []
        self.reading: Reading | None = None
        self.at: tuple[str, int] | None = None  # where the readers are
        self.gap = False  # they were told that they missed something just there
        self.seen: set[bytes] = set()

    # What happens in the room and on the way.

    @initialize(before=st.integers(0, 3), known=st.booleans())
    def somebody_was_here(self, before: int, known: bool) -> None:
        for _ in range(before):
            self.log.append()
        if known:
            self.the_log_is_read_while_people_speak(1, [])

    @rule(arriving=st.lists(st.booleans(), min_size=1, max_size=5))
    def people_speak(self, arriving: list[bool]) -> None:
        events = [self.log.append() for _ in arriving]
        self.wire += [event for event, arrives in zip(events, arriving, strict=True) if arrives]

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 8))
    def messages_arrive(self, count: int) -> None:
        self.arrived += self.wire[:count]
        self.deliver(self.relay.take(self.wire[:count]))
        del self.wire[:count]

    @precondition(lambda self: self.wire)
    @rule(random=st.randoms(use_true_random=False))
    def messages_are_reordered(self, random) -> None:
        random.shuffle(self.wire)

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 4))
    def messages_are_repeated(self, count: int) -> None:
        self.wire += self.wire[:count]

    @rule(length=st.integers(0, 4))
    def the_log_is_trimmed(self, length: int) -> None:
        self.log.trim(length)

    @rule(kept=st.integers(0, 3))
    def redis_comes_back(self, kept: int) -> None:
        """Mostly with what it had."""
        if not kept:
            self.log = Log(len(self.logs))
            self.logs.append(self.log.epoch)

    # What the gateway does about it.

    @precondition(lambda self: not self.reading)
    @rule(page=st.integers(1, 4))
    def a_reading_is_asked_for(self, page: int) -> None:
        self.relay.asked()
        self.reading = self.log.read(self.relay.epoch, self.relay.offset, page)

    @precondition(lambda self: self.reading)
    @rule()
    def the_reading_comes(self) -> None:
        reading, self.reading = self.reading, None
        assert reading is not None
        new = not self.relay.epoch
        out = self.relay.read(reading)
        if new:
            self.at = reading.epoch, reading.offset
        self.deliver(out)

    @precondition(lambda self: not self.reading)
    @rule(page=st.integers(1, 4), arriving=st.lists(st.booleans(), max_size=5))
    def the_log_is_read_while_people_speak(self, page: int, arriving: list[bool]) -> None:
        self.a_reading_is_asked_for(page)
        self.people_speak(arriving)
        self.messages_arrive(len(self.wire))
        self.the_reading_comes()

    @precondition(lambda self: self.reading)
    @rule()
    def the_reading_is_lost(self) -> None:
        self.reading = None

    # What readers see.

    def deliver(self, items: list[Envelope | Missed]) -> None:
        for item in items:
            if isinstance(item, Missed):
                self.gap = True
                continue
            assert item.raw not in self.seen, "delivered twice"
            self.seen.add(item.raw)
            self.go_on_to(item.epoch, item.offset - 1)
            self.at = item.epoch, item.offset
        if self.gap:
            self.go_on_to(self.relay.epoch, self.relay.offset)

    def go_on_to(self, epoch: str, offset: int) -> None:
        """The readers are led to this place; what is left out must be gone, and they told so."""
        assert self.at is not None, "delivered before the log was known"
        before, self.at = self.at, (epoch, offset)
        if not self.gap:
            assert self.at == before, "left out in silence"
            return
        self.gap = False
        assert self.at > before, "told of a gap that is none"
        if before[0] == self.log.epoch:
            left_out = range(before[1] + 1, offset + 1)
            assert not self.log.kept.keys() & set(left_out), "did not read what the log has"

    @invariant()
    def nothing_is_delivered_ahead_of_the_relay(self) -> None:
        if self.at:
            assert self.at == (self.relay.epoch, self.relay.offset)

    @invariant()
    def a_known_hole_is_read(self) -> None:
        if not self.relay.behind and not self.counts.hold_overflows:
            came = [event for event in self.arrived if event.epoch == self.relay.epoch]
            assert all(event.offset <= self.relay.offset for event in came)

    def teardown(self) -> None:
        """After quiet and complete readings the relay is at the log's end."""
        if self.reading:
            self.the_reading_comes()
        self.messages_arrive(len(self.wire))
        for _ in range(2 * self.log.offset + 2):
            self.the_log_is_read_while_people_speak(3, [])
            self.a_known_hole_is_read()
            if not self.relay.behind:
                break
        assert not self.relay.behind
        assert (self.relay.epoch, self.relay.offset) == (self.log.epoch, self.log.offset)
        assert self.at == (self.log.epoch, self.log.offset)


RelayMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)


class TestRelayKeepsItsPromisesWhateverBefalls(RelayMachine.TestCase):
    """Promises 1, 2 and 4: in log order, once, and what is left out is reported at its place."""


@given(
    before=st.integers(0, 3),
    delivered=st.integers(0, 6),
    kept=st.integers(0, 9),
    grown=st.integers(0, 8),
    page=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_failover_that_lost_writes_is_noticed_when_the_log_is_compared(
    before, delivered, kept, grown, page
):
    """DESIGN 3: same epoch, but the entry at one's own last offset differs, or is not there."""
    log, relay = Log(0), Relay(hold_bytes=HOLD_BYTES, counts=Counts())
    for _ in range(before):
        log.append()
    relay.read(log.read("", 0, page))
    events = [log.append() for _ in range(delivered)]
    assert relay.take(events) == events
    lost = [log.kept.pop(offset) for offset in range(kept + 1, log.offset + 1)]
    log.offset -= len(lost)
    log.branch += 1
    added = [log.append() for _ in range(grown)]
    relay.behind = True
    out = []
    while relay.behind:
        out += relay.read(log.read(relay.epoch, relay.offset, page))
    assert out == ([Missed()] if lost else added)
    assert (relay.epoch, relay.offset) == (log.epoch, log.offset)
    following = log.append()
    assert relay.take([following]) == [following]
