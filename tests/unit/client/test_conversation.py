"""One stay over many connections, as bytes: what is asked again, what is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import (
    Ack,
    ChatError,
    Conversation,
    Error,
    Event,
    Joined,
    Message,
    Missed,
    Notice,
    People,
    Refused,
    Renamed,
    Welcome,
)
from gateway.client.conversation import MAX_LINE_BYTES
from tests.unit.client.fake import AT, FROM_CLIENT, FROM_SERVER, PROMPT


class Server:
    """The other end of a conversation: says lines, and reads what was said."""

    def __init__(self, name: str = "alice", room: str = "") -> None:
        self.talk = Conversation(name, room)
        self.answers: list[Event | ChatError] = []
        self.epoch = "e1"

    def accept(self) -> dict[str, Any]:
        """A new connection; its first line."""
        self.talk.begin()
        (hello,) = self.read()
        assert self.talk.receive(PROMPT + b"\n") == []
        return hello

    def read(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.talk.output().splitlines()]
        for line in lines:
            FROM_CLIENT.validate(line)
        return lines

    def say(self, **line: Any) -> list[Event]:
        FROM_SERVER.validate(line)
        return self.talk.receive(json.dumps(line).encode() + b"\n")

    def welcome(self, offset: int = 0, room: str = "lobby", name: str = "alice") -> list[Event]:
        place = {"room": room, "offset": offset, "epoch": self.epoch}
        return self.say(type="welcome", name=name, people=1, **place)

    def event(
        self, offset: int, type: str = "message", sender: str = "bob", **more: Any
    ) -> list[Event]:
        if type == "message":
            more.setdefault("text", str(offset))
        place = {"room": self.talk.room, "offset": offset, "epoch": self.epoch, "at": AT}
        return self.say(**{"type": type, "from": sender, **place, **more})

    def ask(self, kind: str, **fields: str) -> None:
        self.talk.request(kind, self.answers.append, **fields)

    def refs(self) -> list[str]:
        return [line["ref"] for line in self.read()]


@pytest.fixture
def server() -> Server:
    """Alice is in the lobby, at offset 10."""
    server = Server()
    server.accept()
    server.welcome(10)
    return server


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]


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


# Saying


def test_what_is_unanswered_is_said_again_in_its_order_with_its_refs(server):
    """The JSON front: a ``say`` that is repeated with its ``ref`` is not said twice."""
    for text in "abc":
        server.ask("say", text=text)
    assert server.refs() == ["1", "2", "3"]
    server.say(type="ack", ref="2", offset=11)
    server.talk.end()
    server.ask("me", text="d")
    server.accept()
    server.welcome(11)
    assert server.refs() == ["1", "3", "4"]
    for ref in "134":
        server.say(type="ack", ref=ref, offset=12)
    server.talk.end()
    server.accept()
    server.welcome(12)
    assert server.read() == []
    assert [answer.ref for answer in server.answers] == ["2", "1", "3", "4"]


def test_an_error_with_a_ref_is_the_answer_to_that_line(server):
    server.ask("say", text="a")
    server.ask("say", text="b")
    error = {"code": "not_delivered", "text": "not delivered: b"}
    assert server.say(type="error", **error, ref="2") == []
    ((answer),) = server.answers
    assert (answer.code, answer.text) == ("not_delivered", "not delivered: b")
    assert [request.ref for request in server.talk.unanswered] == ["1"]


@pytest.mark.parametrize("code", ["draining", "restarting", "evicted", "replaced"])
def test_what_is_refused_because_the_gateway_goes_is_said_to_the_next_one(server, code):
    server.ask("say", text="a")
    server.say(type="error", code=code, text="going")
    server.say(type="error", code="not_delivered", text="not delivered: a", ref="1")
    server.talk.end()
    assert server.talk.farewell == "going"
    server.accept()
    server.welcome(10)
    assert "1" in server.refs()
    assert server.answers == []


def test_a_line_too_long_to_be_read_is_the_longest(server):
    for text in ("a", "b" * 9000, "c"):
        server.ask("say", text=text)
    server.say(type="error", code="too_long", text="the line is too long")
    assert [answer.code for answer in server.answers] == ["too_long"]
    assert [request.ref for request in server.talk.unanswered] == ["1", "3"]


def test_answers_to_what_nobody_asks_are_passed_over(server):
    assert server.say(type="ack", ref="7", offset=11) == []
    assert server.say(type="pong") == []
    assert server.say(type="error", code="x", text="y", ref="7") == [Error("x", "y", "7")]
    assert server.talk.position == 10


@pytest.mark.parametrize("text", ["", " \t ", "\x07", "\u202e"])
def test_a_line_in_which_there_is_nothing_to_see_is_not_sent(server, text):
    with pytest.raises(ValueError, match="empty"):
        server.ask("say", text=text)
    server.ask("say", text="two\nlines \x1b[31mred")
    assert [line["text"] for line in server.read()] == ["two lines red"]


# Going elsewhere, and another name


def test_what_changes_the_room_or_the_name_travels_alone(server):
    """Or a line could be said again in another room than the first time."""
    for kind, fields in [
        ("say", {"text": "a"}),
        ("join", {"room": "kitchen"}),
        ("say", {"text": "b"}),
        ("nick", {"name": "ann"}),
        ("who", {}),
    ]:
        server.ask(kind, **fields)
    assert server.refs() == ["1"]
    server.say(type="ack", ref="1", offset=11)
    assert server.read() == [{"type": "join", "room": "kitchen"}]
    server.welcome(5, room="kitchen")
    assert server.refs() == ["2"]
    assert server.talk.position == 5
    server.say(type="ack", ref="2", offset=6)
    assert server.read() == [{"type": "nick", "name": "ann"}]
    assert server.event(7, "renamed", "alice", to="ann")[0].to == "ann"
    assert server.read() == [{"type": "who"}]
    assert server.say(type="people", room="kitchen", people=["ann"]) == []
    assert server.talk.name == "ann"
    answers = [type(answer) for answer in server.answers]
    assert answers == [Ack, Welcome, Ack, Renamed, People]


def test_the_name_and_the_room_of_the_next_connection_are_the_newest(server):
    server.ask("join", room="kitchen")
    server.welcome(5, room="kitchen")
    server.event(6, "renamed", "alice", to="ann")
    server.talk.end()
    hello = server.accept()
    assert (hello["name"], hello["room"], hello["after"]) == ("ann", "kitchen", 6)


def test_a_move_that_was_done_unseen_is_not_done_again(server):
    server.ask("join", room="Kitchen")
    server.ask("nick", name="ann")
    server.talk.end()
    server.accept()
    server.welcome(5, room="kitchen")
    assert server.read() == [{"type": "nick", "name": "ann"}]
    server.talk.end()
    server.accept()
    server.welcome(5, room="kitchen", name="ann")
    assert server.read() == []
    assert [type(answer) for answer in server.answers] == [Welcome, Welcome]


def test_a_move_that_was_not_done_is_asked_again(server):
    server.ask("join", room="kitchen")
    server.talk.end()
    server.accept()
    server.welcome(10)
    assert server.read() == [{"type": "join", "room": "kitchen"}]


def test_an_error_without_a_ref_is_the_answer_to_what_has_none(server):
    server.ask("nick", name="bob")
    server.say(type="error", code="name_taken", text="bob is taken")
    assert [answer.code for answer in server.answers] == ["name_taken"]
    assert server.say(type="error", code="bad_json", text="?") == [Error("bad_json", "?")]


# The end


@pytest.mark.parametrize("code", ["name_taken", "name_refused", "room_refused"])
def test_a_name_or_a_room_that_is_refused_is_the_end(code):
    server = Server()
    server.accept()
    server.say(type="error", code=code, text="why")
    assert isinstance(server.talk.refused, Refused)
    assert (server.talk.refused.code, server.talk.refused.text) == (code, "why")


def test_an_error_of_the_gateway_before_the_welcome_is_not():
    server = Server()
    server.accept()
    server.say(type="error", code="draining", text="restarting")
    assert server.talk.refused is None


def test_once_replaced_comes_back_and_twice_in_a_row_is_the_end(server):
    for _ in range(2):
        assert server.talk.refused is None
        server.say(type="error", code="replaced", text="gone on elsewhere")
        server.talk.end()
        server.accept()
        server.welcome(10)
    assert server.talk.refused.code == "replaced"


def test_who_gives_up_answers_everything(server):
    server.ask("say", text="a")
    server.ask("join", room="kitchen")
    server.talk.give_up(ChatError("closed", "closed"))
    assert [answer.code for answer in server.answers] == ["closed", "closed"]
    assert server.talk.unanswered == []


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
        assert len(server.talk._buffer) <= MAX_LINE_BYTES
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
