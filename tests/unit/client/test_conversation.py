"""One stay over many connections, as bytes: where it goes on, and what is passed over."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import (
    Ack,
    Conversation,
    Joined,
    Message,
    Missed,
    Notice,
    Welcome,
)
from gateway.client.incoming import MAX_LINE_BYTES
from tests.unit.client.fake import AT, PROMPT
from tests.unit.client.peer import Server, texts

# Coming and coming back


def test_the_first_line_says_who_comes_and_holds_a_secret():
    """The JSON front: a secret of 128 bits or more."""
    first, second = Server(room="kitchen").accept(), Server().accept()
    assert {**first, "session": ""} == {"name": "alice", "room": "kitchen", "session": ""}
    assert set(second) == {"name", "session"}
    assert len({first["session"], second["session"]}) == 2
    assert all(len(bytes.fromhex(hello["session"])) >= 16 for hello in (first, second))


def test_who_comes_back_says_where_it_was(server):
    server.event(11)
    server.event(12)
    server.talk.end()
    hello = server.accept()
    assert (hello["room"], hello["epoch"], hello["after"]) == ("lobby", "e1", 12)


def test_the_prompt_may_come_in_pieces_and_the_rest_with_it():
    server = Server()
    server.talk.begin()
    for byte in PROMPT:
        assert server.talk.receive(bytes([byte])) == []
    line = b'\n{"type":"notice","text":"hi"}\n{"type":"not'
    assert server.talk.receive(line) == [Notice("hi")]
    assert server.talk.receive(b'ice","text":"ho"}\n') == [Notice("ho")]


def test_a_line_for_people_in_the_place_of_the_prompt_says_why_it_ends():
    talk = Conversation("alice")
    talk.begin()
    talk.receive(b"* this gateway is full\n")
    talk.end()
    assert talk.farewell == "this gateway is full"


def test_nothing_is_asked_before_the_welcome():
    server = Server()
    server.ask("say", text="hi")
    server.accept()
    assert server.read() == []
    server.welcome()
    assert server.read() == [{"type": "say", "text": "hi", "ref": "1"}]


# Order, and none twice


def test_what_is_at_or_before_the_position_is_passed_over(server):
    assert texts([*server.event(11), *server.event(11), *server.event(10)]) == ["11"]
    server.talk.end()
    server.accept()
    server.welcome(11)
    assert texts([*server.event(11), *server.event(12), *server.event(12)]) == ["12"]


def test_an_acknowledgement_moves_the_position(server):
    """The JSON front: it comes in the place of its event."""
    server.ask("say", text="hi")
    assert server.say(type="ack", ref="1", offset=11) == [Ack("1", 11, "say", "hi")]
    assert server.answers == [Ack("1", 11, "say", "hi")]
    assert server.talk.position == 11


def test_the_acknowledgement_of_a_repeat_does_not_hide_what_was_said_before(server):
    """It may come from memory, ahead of the replay."""
    server.ask("say", text="hi")
    server.talk.end()
    server.accept()
    server.welcome(10)
    server.say(type="ack", ref="1", offset=13)
    events = [server.event(offset) for offset in (11, 12, 13, 14)]
    assert [texts(each) for each in events] == [["11"], ["12"], [], ["14"]]


def test_history_is_given_and_moves_nothing(server):
    assert texts(server.event(3, history=True)) == ["3"]
    assert server.talk.position == 10


def test_the_offsets_of_another_log_count_anew(server):
    server.event(11)
    server.epoch = "e2"
    assert texts(server.event(1)) == ["1"]
    assert (server.talk.epoch, server.talk.position) == ("e2", 1)


def test_after_missed_the_next_offset_may_be_any(server):
    """A failover lost the log's end: what is new has offsets that were seen."""
    assert server.say(type="missed", room="lobby") == [Missed("lobby")]
    assert texts([*server.event(7), *server.event(8), *server.event(8)]) == ["7", "8"]
    server.talk.end()
    assert server.accept()["after"] == 8


def test_coming_back_to_another_log_goes_on_from_its_end(server):
    server.talk.end()
    server.accept()
    server.epoch = "e2"
    server.welcome(4)
    server.say(type="missed")
    assert texts(server.event(5)) == ["5"]


def test_events_of_another_room_are_passed_over(server):
    server.talk.room = "kitchen"
    late = {"room": "lobby", "offset": 99, "epoch": "e1", "at": AT, "from": "bob"}
    assert server.say(type="joined", **late) == []


# Lines of any kind


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"{}",
        b"[]",
        b'"message"',
        b"{",
        b"\xff\xfe",
        b'{"type":"sunrise","offset":11}',
        b'{"type":"message"}',
        b'{"type":7}',
        b'{"type":"message","offset":"eleven"}',
    ],
)
def test_what_is_not_understood_is_passed_over(server, line):
    """So that a newer gateway can say more."""
    assert server.talk.receive(line + b"\n") == []
    assert texts(server.event(11)) == ["11"]


def test_members_that_are_not_known_are_passed_over(server):
    assert texts(server.event(11, mood="sunny")) == ["11"]


def test_a_line_over_the_bound_is_skipped_and_told(server):
    for _ in range(MAX_LINE_BYTES // 65536 + 2):
        assert server.talk.receive(b"x" * 65536) == []
        assert len(server.talk._incoming._buffer) <= MAX_LINE_BYTES
    assert server.talk.receive(b"x\n") == [Missed()]
    assert texts(server.event(11)) == ["11"]


@given(st.data())
def test_any_split_of_what_comes_gives_the_same_events(data):
    lines = [
        {"type": "welcome", "name": "a", "room": "r", "offset": 1, "epoch": "e", "people": 2},
        {"type": "message", "from": "б", "text": "привет 🙂", "history": True},
        {"type": "joined", "from": "李"},
        {"type": "notice", "text": "x"},
    ]
    place = {"room": "r", "offset": 2, "epoch": "e", "at": AT}
    stream = PROMPT + b"\n"
    for line in lines:
        more = {} if line["type"] in ("welcome", "notice") else place
        stream += json.dumps({**line, **more}, ensure_ascii=False).encode() + b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    talk = Conversation("a")
    talk.begin()
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += talk.receive(stream[start:end])
    assert [type(event) for event in events] == [Welcome, Message, Joined, Notice]
