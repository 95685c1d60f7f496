"""The checker of the fault tests finds what is planted, and nothing where nothing is wrong."""

import pytest
from checker import Record, check, report


def room(*names: str) -> dict[str, Record]:
    """They come one after the other, and stay."""
    records: dict[str, Record] = {}
    for place, name in enumerate(names, 1):
        newcomer(records, name, at=place / 10)
    return records


def newcomer(records: dict[str, Record], name: str, at: float) -> None:
    for record in records.values():
        record.received.append(f"{name} joined the chat")
    records[name] = Record(name, asked_at=at - 0.1, joined_at=at)


def say(records: dict[str, Record], *lines: str) -> None:
    """Each of ``NAME: TEXT`` is sent by NAME and heard by all others, in this order."""
    for line in lines:
        sender, _, text = line.partition(": ")
        records[sender].sent.append((2.0 + len(records[sender].sent), text))
        for record in records.values():
            if record.name != sender:
                record.received.append(line)


def kinds(records: dict[str, Record]) -> set[str]:
    return {finding.kind for finding in check(list(records.values()))}


@pytest.fixture
def three() -> dict[str, Record]:
    """A flawless conversation to spoil."""
    records = room("alice", "bob", "carol")
    say(records, "alice: a1", "bob: b1", "alice: a2", "carol: c1", "bob: b2", "alice: a3")
    return records


def test_a_flawless_conversation_has_no_findings(three):
    assert check(list(three.values())) == []
    assert report([]).startswith("nothing lost")


@pytest.mark.parametrize("line", ["alice: a1", "alice: a2", "alice: a3"])
def test_a_line_that_one_reader_never_got_is_a_loss(three, line):
    three["carol"].received.remove(line)
    (finding,) = check(list(three.values()))
    assert (finding.kind, finding.reader) == ("loss", "carol")
    assert line.removeprefix("alice: ") in finding.detail


def test_a_line_that_nobody_got_is_a_loss_for_everybody(three):
    three["bob"].sent.append((9.0, "b3"))
    assert [f.kind for f in check(list(three.values()))] == ["loss", "loss"]


def test_a_reader_that_heard_nothing_lost_everything(three):
    three["carol"].received.clear()
    assert len([f for f in check(list(three.values())) if f.kind == "loss"]) == 5


def test_a_line_heard_again_is_a_double(three):
    three["carol"].received.append("alice: a1")
    assert "double" in kinds(three)


def test_a_line_heard_again_is_nothing_but_a_double(three):
    three["carol"].received.insert(-1, "alice: a1")
    assert kinds(three) == {"double"}


def test_a_sender_heard_out_of_order_by_all_is_disorder_without_disagreement():
    records = room("alice", "bob", "carol")
    say(records, "alice: a1", "alice: a2")
    for reader in ("bob", "carol"):
        records[reader].received.append("alice: a1")
        records[reader].received.remove("alice: a1")
    assert kinds(records) == {"disorder"}


def test_two_readers_that_heard_two_senders_differently_disagree():
    records = room("alice", "bob", "carol", "dave")
    say(records, "alice: a1", "bob: b1")
    records["dave"].received[-2:] = ["bob: b1", "alice: a1"]
    (finding,) = check(list(records.values()))
    assert (finding.kind, finding.reader) == ("disagreement", "carol and dave")


def test_three_readers_that_contradict_each_other_only_together_disagree():
    """Each hears two of three messages, its own excepted: no two of them have a pair in common."""
    records = room("alice", "bob", "carol")
    say(records, "alice: a1", "bob: b1", "carol: c1")
    records["alice"].received[-2:] = ["bob: b1", "carol: c1"]
    records["bob"].received[-2:] = ["carol: c1", "alice: a1"]
    records["carol"].received[-2:] = ["alice: a1", "bob: b1"]
    assert kinds(records) == {"disagreement"}


@pytest.mark.parametrize(
    "line",
    [
        "alice: never said",
        "mallory: hello",
        "carol: c1",
        "alice has left the chat",
        "mallory joined the chat",
        "alice joined the chat",
        "what is this",
        "* not delivered: never said",
        "* not confirmed: never said",
    ],
)
def test_what_never_happened_is_a_ghost(three, line):
    three["carol"].received.append(line)
    assert "ghost" in kinds(three)


def test_a_line_from_the_server_to_one_person_is_nothing_to_check(three):
    three["carol"].received.append("* 12:00 alice: a1")
    assert check(list(three.values())) == []


def test_a_gap_that_was_told_is_still_counted(three):
    three["carol"].received.append("* some messages were missed")
    assert kinds(three) == {"missed"}


def test_a_client_that_was_hung_up_on_is_found(three):
    three["carol"].hung_up = True
    assert kinds(three) == {"hung up on"}


def test_a_line_told_as_not_delivered_and_heard_by_nobody_is_accounted_for(three):
    three["bob"].sent.append((9.0, "b3"))
    three["bob"].received.append("* not delivered: b3")
    assert check(list(three.values())) == []


def test_a_line_told_as_not_delivered_but_heard_is_a_ghost(three):
    say(three, "bob: b3")
    three["bob"].received.append("* not delivered: b3")
    assert kinds(three) == {"ghost"}


@pytest.mark.parametrize("heard", [True, False])
def test_a_line_told_as_not_confirmed_may_be_heard_by_all_or_by_nobody(three, heard):
    if heard:
        say(three, "bob: b3")
    else:
        three["bob"].sent.append((9.0, "b3"))
    three["bob"].received.append("* not confirmed: b3")
    assert check(list(three.values())) == []


def test_a_line_told_as_not_confirmed_and_heard_by_one_only_is_a_loss(three):
    say(three, "bob: b3")
    three["bob"].received.append("* not confirmed: b3")
    three["carol"].received.remove("bob: b3")
    assert kinds(three) == {"loss"}


def end(records: dict[str, Record], name: str, at: float, how: str = "left") -> Record:
    gone = records.pop(name)
    gone.ended_at, gone.ending = at, how
    for record in records.values():
        record.received.append(f"{name} has left the chat")
    records[f"{name} at {at}"] = gone
    return gone


def test_who_came_late_owes_nothing_of_what_was_before(three):
    newcomer(three, "dave", at=20.0)
    assert check(list(three.values())) == []


def test_who_came_late_must_hear_all_after_the_first_line_heard(three):
    """A line sent before the join may stand after it in the log; from there on all is owed."""
    newcomer(three, "dave", at=20.0)
    for record in three.values():
        record.received.append("alice: a4")
        record.received.append("alice: a5")
    three["alice"].received[-2:] = []
    three["alice"].sent += [(19.0, "a4"), (19.5, "a5")]
    assert check(list(three.values())) == []
    three["dave"].received.remove("alice: a5")
    assert kinds(three) == {"loss"}


def test_a_join_or_a_leave_that_one_reader_did_not_hear_is_a_loss(three):
    newcomer(three, "dave", at=20.0)
    end(three, "dave", at=30.0)
    assert check(list(three.values())) == []
    three["bob"].received.remove("dave has left the chat")
    assert kinds(three) == {"loss"}
    three["bob"].received.append("dave has left the chat")
    three["bob"].received.remove("dave joined the chat")
    assert kinds(three) == {"loss"}


def test_a_leave_said_twice_is_a_ghost(three):
    end(three, "carol", at=20.0, how="died")
    three["bob"].received.append("carol has left the chat")
    assert kinds(three) == {"ghost"}


def test_somebody_who_comes_back_is_heard_to_leave_and_to_join(three):
    end(three, "carol", at=20.0)
    newcomer(three, "carol", at=21.0)
    assert check(list(three.values())) == []


def test_of_who_died_only_the_end_may_be_lost(three):
    three["carol"].sent.append((9.0, "c2"))
    carol = end(three, "carol", at=20.0, how="died")
    assert check(list(three.values())) == []
    carol.sent.insert(0, (1.5, "c0"))
    assert kinds(three) == {"loss"}


def test_who_died_may_have_missed_the_end_but_not_the_middle():
    records = room("alice", "bob", "carol")
    say(records, "alice: a1", "alice: a2", "alice: a3", "alice: a4")
    carol = end(records, "carol", at=20.0, how="died")
    carol.received.remove("alice: a4")
    assert check(list(records.values())) == []
    carol.received.remove("alice: a2")
    assert kinds(records) == {"loss"}


def test_who_was_taken_for_dead_and_came_back_may_be_said_to_have_left_and_joined(three):
    three["carol"].reaped = True
    for reader in ("alice", "bob"):
        three[reader].received += ["carol has left the chat", "carol joined the chat"]
    assert check(list(three.values())) == []
    three["bob"].received.pop()
    assert kinds(three) == {"ghost"}


def test_who_died_meanwhile_need_not_hear_that_somebody_came_back(three):
    three["carol"].reaped = True
    for reader in ("alice", "bob"):
        three[reader].received.append("carol has left the chat")
    end(three, "bob", at=20.0, how="died")
    three["alice"].received.append("carol joined the chat")
    assert check(list(three.values())) == []


def test_who_came_back_and_died_after_all_is_said_to_have_left_at_last(three):
    three["carol"].reaped = True
    for reader in ("alice", "bob"):
        three[reader].received += ["carol has left the chat", "carol joined the chat"]
    end(three, "carol", at=20.0, how="died")
    assert check(list(three.values())) == []
    three["bob"].received.pop()
    assert kinds(three) == {"loss"}


def test_what_the_dead_were_told_of_was_not_lost(three):
    carol = three["carol"]
    carol.sent.append((8.0, "c2"))
    carol.received.append("* not delivered: c2")
    say(three, "carol: c3")
    end(three, "carol", at=20.0, how="died")
    assert check(list(three.values())) == []
    carol.received.pop()
    assert kinds(three) == {"loss"}


def test_a_text_said_twice_by_one_sender_cannot_be_checked(three):
    three["alice"].sent.append((9.0, "a1"))
    with pytest.raises(ValueError, match="twice"):
        check(list(three.values()))
