"""What is asked: once, in order, again after a lost connection, and how it is answered."""

from __future__ import annotations

import pytest

from gateway.client import (
    Ack,
    ChatError,
    Error,
    People,
    Refused,
    Renamed,
    Welcome,
)
from gateway.client.conversation import REMEMBERED_S
from tests.unit.client.peer import Server, texts

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


@pytest.mark.parametrize("code", ["draining", "replaced"])
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


def test_what_the_gateways_may_have_forgotten_is_not_said_again(server):
    """The JSON front: a ref is remembered for 10 minutes; a lid may be closed for longer."""
    server.ask("say", text="a")
    server.now += 1
    server.ask("msg", to="bob", text="b")
    server.talk.end()
    server.ask("say", text="never sent")
    server.now += REMEMBERED_S
    server.ask("who")
    server.accept()
    server.welcome(10)
    assert [line.get("ref") for line in server.read()] == ["2", "3", None]
    assert [(answer.code, answer.text) for answer in server.answers] == [
        ("not_confirmed", "not confirmed: a")
    ]
    assert [request.ref for request in server.talk.unanswered] == ["2", "3", ""]


def test_what_waits_long_for_its_first_connection_is_said(server):
    server.talk.end()
    server.ask("say", text="a")
    server.now += 10 * REMEMBERED_S
    server.accept()
    server.welcome(10)
    assert server.refs() == ["1"]


# Old lines


def test_history_is_answered_when_its_lines_are_there(server):
    server.ask("history")
    for offset in (8, 9):
        assert server.event(offset, history=True) == []
    assert server.answers == []
    assert server.say(type="history", count=2) == []
    ((answer),) = server.answers
    assert (answer.count, texts(answer.lines)) == (2, ["8", "9"])


def test_a_room_where_nothing_was_said_has_a_history_too(server):
    server.ask("history")
    server.say(type="history", count=0)
    assert [answer.lines for answer in server.answers] == [()]


def test_a_history_that_is_not_to_be_had_is_an_error_and_no_other_answer_is(server):
    server.ask("history")
    server.ask("who")
    server.say(type="error", code="unavailable", text="not now")
    server.say(type="people", room="lobby", people=["alice"])
    assert [getattr(answer, "code", "") for answer in server.answers] == ["unavailable", ""]


def test_the_lines_of_a_welcome_are_not_those_that_were_asked_for(server):
    server.ask("join", room="kitchen")
    server.ask("history")
    server.welcome(5, room="kitchen")
    assert server.event(1, history=True) == []
    assert server.event(2, history=True) == []
    assert texts(server.say(type="history", count=1)) == ["1"]
    assert texts(server.answers[1].lines) == ["2"]
    assert texts(server.event(3, history=True)) == ["3"]


def test_old_lines_that_a_lost_connection_left_over_are_given(server):
    server.ask("history")
    server.event(9, history=True)
    server.talk.end()
    server.accept()
    assert texts(server.welcome(10)) == ["9"]
    assert server.read() == [{"type": "history"}]


def test_answers_to_what_nobody_asks_are_passed_over(server):
    assert server.say(type="ack", ref="7", offset=11) == []
    assert server.say(type="pong") == []
    assert server.say(type="error", code="x", text="y", ref="7") == [Error("x", "y", "7")]
    assert server.talk.position == 10


@pytest.mark.parametrize("text", ["", " \t ", "\x07", "\u202e"])
def test_a_line_in_which_there_is_nothing_to_see_is_not_sent(server, text):
    with pytest.raises(ChatError, match="empty") as refused:
        server.ask("say", text=text)
    assert refused.value.code == "bad_request"
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
