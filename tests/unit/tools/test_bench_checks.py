"""What the bench says of each fault that is planted in what people hear."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from gateway.tools.bench.checks import Faults, Watch, judge, message, now_us
from gateway.tools.bench.histogram import Histogram

SENT = {0: 4, 1: 3}
ORDER = ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3))


def line(sender: int, number: int) -> bytes:
    return b"name: " + message(sender, number, now_us(), 60) + b"\n"


def watched(heard: Iterable[tuple[int, int]], sent=SENT) -> Faults:
    watch = Watch(Histogram())
    for each in heard:
        watch.hear(line(*each))
    return watch.faults(sent)


@dataclass
class Person:
    """What a run knows of one person in the end."""

    heard_bytes: int
    checksum: int
    watch: Watch | None = None

    @classmethod
    def who_heard(cls, heard: bytes, *, watched: bool = False) -> Person:
        watch = Watch(Histogram()) if watched else None
        if watch:
            watch.hear(heard)
        return cls(len(heard), xxh3_64_intdigest(heard), watch)


def test_a_message_has_the_size_asked_for_and_no_blank_at_its_end():
    assert len(message(3, 7, 123456, 100)) == 100
    assert message(3, 7, 123456, 1) == b"#3 7 123456 x"


def test_nothing_is_said_of_those_who_heard_everything():
    assert not watched(ORDER)


@pytest.mark.parametrize(
    ("heard", "faults"),
    [
        (ORDER[:3] + ORDER[4:], Faults(lost=1)),
        (ORDER[1:], Faults(lost=1)),
        (ORDER[:-1], Faults(lost=1)),
        ((), Faults(lost=7)),
        (ORDER[:2] + ORDER[1:], Faults(doubled=1)),
        (ORDER + ORDER[:1], Faults(doubled=1)),
        (((0, 1), (0, 0), *ORDER[1:2], *ORDER[3:]), Faults(disordered=1)),
        (((0, 1), (0, 0), (0, 0), *ORDER[1:2], *ORDER[3:]), Faults(doubled=1, disordered=1)),
        ((*ORDER, (5, 0), (5, 1)), Faults(strayed=2)),
    ],
)
def test_what_is_planted_is_found(heard, faults):
    assert watched(heard) == faults


def test_an_echo_of_what_one_said_is_found():
    """DESIGN 1: each line goes to everybody but its sender."""
    assert watched(ORDER, {1: 3}) == Faults(strayed=4)


@given(st.lists(st.integers(1, 400)))
def test_reads_may_end_anywhere(cuts):
    stream = b"".join(line(*each) for each in ORDER)
    latency = Histogram()
    watch, place = Watch(latency), 0
    for cut in (*cuts, len(stream)):
        watch.hear(stream[place : place + cut])
        place += cut
    assert not watch.faults(SENT)
    assert latency.count == len(ORDER)


def test_lines_without_a_message_are_no_messages():
    watch = Watch(Histogram())
    watch.hear(b"* 31 joined, 12 left\n" + line(0, 0) + b"bob has left the chat\n")
    assert not watch.faults({0: 1})


def test_latency_counts_from_the_stamp():
    latency = Histogram()
    Watch(latency).hear(b"n: %b\n" % message(0, 0, now_us() - 5_000_000, 50))
    assert 5_000_000 <= latency.largest < 10_000_000


STREAM = b"".join(line(*each) for each in ORDER)
LINES = STREAM.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("heard", "faults"),
    [
        (LINES, Faults()),
        (LINES[:3] + LINES[4:], Faults(lost=1)),
        (LINES[:-2], Faults(lost=2)),
        (LINES[:1] + LINES, Faults(doubled=1)),
        ([LINES[1], LINES[0], *LINES[2:]], Faults(disordered=1)),
        ([LINES[0], LINES[0], *LINES[2:]], Faults(disordered=1)),  # one lost, one doubled
        ([], Faults(lost=7)),
    ],
)
def test_who_is_not_watched_is_held_against_a_watched_neighbour(heard, faults):
    voucher = Person.who_heard(STREAM, watched=True)
    assert judge([(voucher, SENT), (Person.who_heard(b"".join(heard)), SENT)]) == faults


def test_a_neighbour_with_faults_vouches_for_nobody():
    wrong = [LINES[1], LINES[0], *LINES[2:]]
    swapped = b"".join([wrong[0], wrong[2], wrong[1], *wrong[3:]])
    liar = Person.who_heard(swapped, watched=True)
    faults = judge([(liar, SENT), (Person.who_heard(swapped), SENT)])
    assert faults.disordered == 2


def test_faults_add_up_and_read_as_a_sentence():
    faults = Faults(lost=1)
    faults.add(Faults(lost=2, cut=1))
    assert (str(faults), faults.total, str(Faults())) == ("3 lost, 1 cut", 4, "none")
