"""The outbox's promises one by one; ``test_outbox_properties`` has them all at once."""

import pytest

from gateway.broker.outbox import Holder, Operation, Outbox, Outcome
from gateway.chat.events import Joined, Left, Message, Private, Renamed, Replaced

ALICE = Holder("G1", "s1", 1)
DEADLINE_S = 30.0
PLENTY = 1_000_000


@pytest.fixture
def told():
    """Text or kind, outcome and offset, in the order of telling."""
    return []


@pytest.fixture
def outbox():
    """It serves the lobby's log "a"."""
    outbox = Outbox(batch_bytes=10_000, deadline_s=DEADLINE_S)
    outbox.serve("lobby", "a")
    return outbox


@pytest.fixture
def submit(outbox, told):
    def submit(*events, room="lobby", at=0.0, **more):
        for event in events:
            outbox.submit(operation(event, told, room=room, at=at, **more))

    return submit


def operation(event, told, room="lobby", at=0.0, **more):
    if isinstance(event, str):
        event = Message("s1", "alice", event)
    what = getattr(event, "text", type(event).__name__)
    submitted = Operation(room, ALICE, event, lambda *how: told.append((what, *how)), **more)
    submitted.submitted_at = at
    return submitted


def texts(batch):
    return [getattr(one.event, "text", type(one.event).__name__) for one in batch.operations]


def only(batches):
    (batch,) = batches
    return batch


def send(outbox):
    return only(outbox.next_batches(PLENTY))


# Batches


def test_all_that_waits_for_a_room_goes_in_one_batch(outbox, submit):
    """DESIGN 3: one call carries all events that wait for that room as one numbered batch."""
    submit(Joined("s1", "alice"), "one", "two", Renamed("s1", "alice", "al"))
    batch = send(outbox)
    assert [str(one.verb) for one in batch.operations] == ["join", "say", "say", "rename"]
    assert (batch.room, batch.epoch) == ("lobby", "a")
    assert batch.operations[3].membership.endswith(" al")


def test_a_batch_is_capped_in_bytes(outbox, submit):
    """DESIGN 3: capped in bytes.  The last operation of a batch may go over the cap."""
    submit(*("x" * 4000 for _ in range(7)))
    sizes = []
    while batches := outbox.next_batches(PLENTY):
        sizes.append(len(only(batches).operations))
        outbox.answered(batches[0], [b"1"] * sizes[-1])
    assert sizes == [3, 3, 1]


def test_rooms_have_their_batches_in_one_pipeline_and_take_turns(outbox, submit):
    """DESIGN 3: calls for different rooms are pipelined together."""
    submit("x" * 3000)
    submit("x" * 3000, room="den")
    submit("x" * 3000, room="attic")
    first = outbox.next_batches(5000)
    assert [batch.room for batch in first] == ["lobby", "den"]
    assert [batch.room for batch in outbox.next_batches(5000)] == ["attic"]


def test_numbers_grow(outbox, submit):
    """DESIGN 3: Redis keeps the last number only; none comes twice, or out of order."""
    numbers = []
    for text in "abc":
        submit(text)
        batch = send(outbox)
        numbers.append(batch.number)
        outbox.answered(batch, [b"1"])
    assert numbers == sorted(set(numbers))


def test_an_unanswered_batch_is_repeated_alone_and_as_it_was(outbox, submit, told):
    """DESIGN 3: at most one unanswered call per room, repeated under its number."""
    submit("one")
    batch = send(outbox)
    outbox.lost(batch)
    submit("two")
    again = send(outbox)
    assert (again.number, texts(again)) == (batch.number, ["one"])
    outbox.answered(again, [b"1"])
    assert texts(send(outbox)) == ["two"]
    assert told == [("one", Outcome.CONFIRMED, 1)]


def test_what_redis_never_got_is_sent_anew_in_its_order(outbox, submit, told):
    """publisher: no connection could be had: nothing was applied."""
    submit("one", "two")
    batch = send(outbox)
    submit("three")
    outbox.failed(batch)
    again = send(outbox)
    assert texts(again) == ["one", "two", "three"]
    assert again.number > batch.number
    assert told == []


def test_what_redis_refused_to_run_waits_until_it_is_tried_again(outbox, submit, told):
    """publisher: an error answer: nothing was applied; other rooms go on."""
    submit("one")
    batch = send(outbox)
    outbox.refused(batch)
    submit("two")
    assert (outbox.next_batches(10_000), list(outbox.ready)) == ([], [])
    outbox.try_again("lobby")
    assert texts(send(outbox)) == ["one", "two"]
    assert told == []


def test_what_redis_refused_to_run_has_its_deadline(outbox, submit, told):
    """Promise 4: a line that could not be delivered is reported to its sender."""
    submit("one")
    outbox.refused(send(outbox))
    outbox.expire(DEADLINE_S)
    assert told == [("one", Outcome.NOT_DELIVERED, 0)]
    outbox.try_again("lobby")
    assert outbox.next_batches(10_000) == []


def test_an_error_does_not_undo_what_an_earlier_attempt_may_have_done(outbox, submit):
    """DESIGN 3: repeated under its number until it is answered."""
    submit("one")
    batch = send(outbox)
    outbox.lost(batch)
    outbox.refused(send(outbox))
    outbox.try_again("lobby")
    assert send(outbox) is batch


# What is told


def test_each_is_told_its_own_outcome(outbox, submit, told):
    """publish.lua: the event's offset, 0 if refused, -OFFSET if done without one, =OFFSET."""
    submit("one", Joined("s1", "alice"), "three", "four", "five")
    outbox.answered(send(outbox), [b"7", b"-7", b"0", b"=3", b"10"])
    assert told == [
        ("one", Outcome.CONFIRMED, 7),
        ("Joined", Outcome.CONFIRMED, 7),
        ("three", Outcome.REFUSED, 0),
        ("four", Outcome.REPEATED, 3),
        ("five", Outcome.CONFIRMED, 10),
    ]
    assert outbox.size_bytes == len(outbox) == 0


def test_who_takes_a_membership_over_is_told_from_whom(outbox, submit):
    """publish.lua: ~OFFSET:GATEWAY, and the answer is that it is done, without an event."""
    taken_from = []

    def told(*how):
        taken_from.append((join.taken_from, *how))

    join = Operation("lobby", ALICE, Joined("s1", "alice"), told)
    assert join.taken_from == ""
    outbox.submit(join)
    outbox.answered(send(outbox), [b"~41:G2"])
    assert taken_from == [("G2", Outcome.CONFIRMED, 41)]


def test_a_ref_that_nobody_remembers_may_have_been_said(outbox, submit, told):
    """Promise 4, and publish.lua: "?"; "not delivered" would be a guess."""
    submit(Message("s1", "alice", "one", 7))
    outbox.answered(send(outbox), [b"?"])
    assert told == [("one", Outcome.NOT_CONFIRMED, 0)]


def test_what_was_never_sent_is_not_delivered_past_its_deadline(outbox, submit, told):
    """DESIGN 3: the sender is told the truth."""
    submit("sent")
    outbox.lost(send(outbox))
    submit("one", at=1.0)
    submit("two", at=2.0)
    outbox.expire(DEADLINE_S + 1.0)
    assert told == [("sent", Outcome.NOT_CONFIRMED, 0), ("one", Outcome.NOT_DELIVERED, 0)]
    outbox.answered(send(outbox), [b"1"])
    assert texts(send(outbox)) == ["two"]
    assert len(told) == 2, "told twice"


def test_a_batch_on_its_first_way_is_left_alone_past_its_deadline(outbox, submit, told):
    """Promise 4: how it ends is known soon; then the truth is told, be it late."""
    submit("one", "two")
    batch = send(outbox)
    outbox.expire(2 * DEADLINE_S)
    assert told == []
    outbox.answered(batch, [b"1", b"2"])
    assert [outcome for _, outcome, _ in told] == [Outcome.CONFIRMED] * 2
    submit("three")
    batch = send(outbox)
    outbox.expire(2 * DEADLINE_S)
    outbox.failed(batch)
    outbox.expire(2 * DEADLINE_S)
    assert told[2:] == [("three", Outcome.NOT_DELIVERED, 0)]


def test_a_queue_that_was_begun_while_its_room_was_told_is_kept(outbox, told):
    """seat: whoever is told goes on at once, perhaps by leaving the room and coming again."""

    def leaves_and_says(*_how):
        outbox.forget("lobby")
        outbox.submit(operation("two", told))

    outbox.submit(Operation("lobby", ALICE, Message("s1", "alice", "one"), leaves_and_says))
    outbox.expire(DEADLINE_S)
    assert texts(send(outbox)) == ["two"]


def test_joins_leaves_renames_and_what_gateways_say_have_no_deadline(outbox, submit, told):
    """DESIGN 3: joined, left and renamed are repeated for ever; nobody would be told."""
    submit(Joined("s1", "alice"), Renamed("s1", "alice", "al"), Left("s1", "al"))
    submit(Replaced("s1", "alice", 2))
    outbox.expire(1e9)
    batch = send(outbox)
    outbox.lost(batch)
    outbox.expire(2e9)
    assert told == []
    assert send(outbox) is batch


def test_asking_again_from_within_an_answer_is_fine(outbox, submit, told):
    """seat: whoever is told goes on at once."""
    again = Operation("lobby", ALICE, Message("s1", "alice", "1"), lambda *_: submit("2"))
    outbox.submit(again)
    outbox.answered(send(outbox), [b"1"])
    assert texts(send(outbox)) == ["2"]


# Other logs


def test_what_another_log_did_not_take_waits_for_the_log_to_be_known(outbox, submit, told):
    """publish.lua: 'epoch': nothing was applied."""
    submit("one")
    assert outbox.other_log(send(outbox))
    submit("two")
    assert outbox.next_batches(PLENTY) == []
    outbox.serve("lobby", "b")
    batch = send(outbox)
    assert (batch.epoch, texts(batch)) == ("b", ["one", "two"])


def test_a_log_that_became_known_meanwhile_is_used_at_once(outbox, submit):
    """rooms: a reading can be faster than an answer."""
    submit("one")
    batch = send(outbox)
    outbox.serve("lobby", "b")
    assert not outbox.other_log(batch)
    assert send(outbox).epoch == "b"


def test_what_the_old_log_may_have_is_not_said_again(outbox, submit, told):
    """DESIGN 3: never twice: its readers may have it.  Who joins or leaves must do so anyway."""
    submit(Joined("s1", "alice"), "one", Left("s1", "alice"))
    outbox.lost(send(outbox))
    submit("two")
    assert outbox.other_log(send(outbox))
    assert told == [("one", Outcome.NOT_CONFIRMED, 0)]
    outbox.serve("lobby", "b")
    assert texts(send(outbox)) == ["Joined", "Left", "two"]


def test_memberships_are_restored_before_anybody_speaks(outbox, submit, told):
    """DESIGN 3: a Redis that came back empty is filled again; to it nobody joined."""
    submit("one")
    outbox.other_log(send(outbox))
    outbox.serve("lobby", "b", [operation(Joined("s1", "alice"), told, silent=True)])
    batch = send(outbox)
    assert [str(one.verb) for one in batch.operations] == ["keep", "say"]


def test_who_leaves_a_room_that_is_gone_has_left(outbox, submit, told):
    """reaper: ends memberships of rooms that its gateway does not serve."""
    submit(Left("s1", "alice"), room="den")
    batch = send(outbox)
    assert batch.epoch == ""
    assert not outbox.other_log(batch)
    assert told == [("Left", Outcome.REFUSED, 0)]
    assert outbox.size_bytes == 0


def test_what_a_log_that_is_gone_may_have_is_not_told_as_refused(outbox, submit, told):
    """Promise 4: "not delivered" is said only when true.  Private lines go to others' inboxes."""
    submit(Private("s1", "alice", "s2", "bob", "psst"), room="@G2")
    outbox.lost(send(outbox))
    outbox.other_log(send(outbox))
    assert told == [("psst", Outcome.NOT_CONFIRMED, 0)]


def test_what_is_queued_for_a_room_that_is_left_still_goes_out(outbox, submit):
    """Outbox.forget."""
    submit(Left("s1", "alice"))
    outbox.forget("lobby")
    batch = send(outbox)
    assert (batch.epoch, texts(batch)) == ("", ["Left"])
