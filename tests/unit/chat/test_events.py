"""Events and envelopes: what travels between gateways, of this version and of others."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat.events import (
    Action,
    Joined,
    Left,
    Message,
    Private,
    Renamed,
    Replaced,
    Returned,
    decode_envelope,
    decode_event,
    encode_event,
)

words = st.text(st.characters(codec="utf-8"))
refs = st.integers(0, 2**63 - 1)
events = st.one_of(
    st.builds(Message, words, words, words, refs),
    st.builds(Action, words, words, words, refs),
    st.builds(Joined, words, words),
    st.builds(Left, words, words),
    st.builds(Renamed, words, words, words),
    st.builds(Private, words, words, words, words, words, refs),
    st.builds(Returned, words, words, words),
    st.builds(Replaced, words, words, st.integers(0, 2**31)),
)


quickly = settings(deadline=None, derandomize=True, max_examples=100)


@quickly
@given(events)
def test_an_event_is_read_as_it_was_written(event):
    """DESIGN 2: an event, as it travels between gateways."""
    body = encode_event(event)
    assert decode_event(body) == event
    assert b"\n" not in body


@quickly
@given(
    event=events,
    numbers=st.tuples(*[st.integers(0, 2**53)] * 4),
    epoch=st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
)
def test_an_envelope_says_where_when_and_whose_its_event_is(event, numbers, epoch):
    """DESIGN 3: a line of the log: OFFSET EPOCH AT_MS GATEWAY BATCH INDEX BODY."""
    offset, at_ms, batch, index = numbers
    raw = f"{offset} {epoch} {at_ms} G1 {batch} {index} ".encode() + encode_event(event)
    envelope = decode_envelope(raw)
    assert (envelope.offset, envelope.at_ms) == (offset, at_ms)
    assert (envelope.epoch, envelope.gateway) == (epoch, "G1")
    assert (envelope.event, envelope.raw) == (event, raw)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"dance","session":"s1","name":"alice"}',
        b'{"type":"message","session":"s1"}',
        b'{"type":"message","session":1,"name":"alice","text":"hi"}',
        b"[]",
        b"{",
        b"",
    ],
)
def test_an_event_of_an_unknown_kind_has_a_place_and_no_more(body):
    """chat.events: event is None for a kind of event that only a newer version knows."""
    envelope = decode_envelope(b"7 e 1 G1 2 3 " + body)
    assert (envelope.offset, envelope.event) == (7, None)
    with pytest.raises(msgspec.DecodeError):
        decode_event(body)


def test_what_a_newer_version_adds_to_an_event_is_passed_over():
    """Issue 3: a rolling restart: two versions share a room."""
    body = b'{"type":"message","session":"s1","name":"alice","text":"hi","colour":"red"}'
    assert decode_event(body) == Message("s1", "alice", "hi")


def test_an_event_without_a_ref_is_written_as_before_there_were_any():
    """Issue 3: a rolling restart: two versions share a room."""
    assert b"ref" not in encode_event(Message("s1", "alice", "hi"))
    assert b"ref" in encode_event(Message("s1", "alice", "hi", 7))


@pytest.mark.parametrize("line", [b"", b"hello", b"x e 1 G1 2 3 {}", b"1 e 1 G1 2 {}", b"1 e"])
def test_what_is_no_line_of_a_log_is_refused(line):
    """decode_envelope: raises ``ValueError`` if it is no such line."""
    with pytest.raises(ValueError):  # noqa: PT011
        decode_envelope(line)
