"""Lines out of bytes: where they end, how long they may be, and what is held of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fronts.framing import LineBuffer, LineTooLong

MAX = 8
TOO_LONG = "too long"


def lines(buffer: LineBuffer) -> list[bytes | str]:
    """All that are there, with a mark in the place of one that is too long."""
    found: list[bytes | str] = []
    while True:
        try:
            line = buffer.next()
        except LineTooLong:
            found.append(TOO_LONG)
            continue
        if line is None:
            return found
        found.append(bytes(line))


def read(*reads: bytes) -> list[bytes | str]:
    buffer = LineBuffer(MAX)
    found = []
    for data in reads:
        buffer.feed(data)
        found += lines(buffer)
    return found


def test_a_line_comes_without_its_end_and_alone():
    assert read(b"one\ntwo\r\n\nth", b"ree\r", b"\n", b"four") == [b"one", b"two", b"", b"three"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_end_does_not_count_for_the_longest_line(end):
    assert read(b"x" * MAX + end, b"x" * (MAX + 1) + end, b"y" + end) == [
        b"x" * MAX,
        TOO_LONG,
        b"y",
    ]


def test_a_line_that_is_too_long_is_told_before_its_end_and_held_nowhere():
    """Promise 7, bounded."""
    buffer = LineBuffer(MAX)
    buffer.feed(b"x" * 100)
    assert lines(buffer) == [TOO_LONG]
    for _ in range(10):
        buffer.feed(b"x" * 100)
        assert lines(buffer) == []
        assert len(buffer) <= 1
    buffer.feed(b"\nhi\n")
    assert lines(buffer) == [b"hi"]


def test_the_last_bytes_are_a_line_when_nothing_will_come():
    buffer = LineBuffer(MAX)
    assert not buffer.pending
    buffer.end_line()
    assert lines(buffer) == []
    buffer.feed(b"one\ntwo")
    assert buffer.pending
    buffer.end_line()
    assert lines(buffer) == [b"one", b"two"]
    assert not buffer.pending


def test_a_crlf_is_noticed_also_when_split_and_stays_noticed():
    buffer = LineBuffer(MAX)
    for data, seen in [(b"a\n\r", False), (b"x\r", False), (b"\n", True), (b"b\n", True)]:
        buffer.feed(data)
        assert buffer.crlf is seen
        lines(buffer)


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"x" * MAX, b"x" * 20])), st.data())
def test_any_split_gives_the_same_lines(parts, data):
    """The line front: lines end in LF or CRLF, also split over reads."""
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*reads) == read(stream)
