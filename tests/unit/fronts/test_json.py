"""What programs say: the front and ``schema.json`` must agree about every line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import commands as do
from gateway.chat import events as ev
from gateway.fronts.json import MAX_ECHO_CHARACTERS, JsonFront, line_limit
from gateway.fronts.json_encoding import JSON
from tests.unit.fronts.schema import SCHEMA, in_schema

MAX = 64
NEWEST_REF = 2**63 - 1
BAD_REF = f"ref is not a decimal number from 1 to {NEWEST_REF}"
SECRET = "0123456789abcdefghijkl"


def front(*, naming: bool = False) -> JsonFront:
    front = JsonFront(max_line_bytes=MAX)
    front.naming = naming
    return front


def asked(*lines: bytes, naming: bool = False) -> list[do.Command]:
    """What a program wants that sends these lines."""
    program, found = front(naming=naming), []
    for line in lines:
        program.feed(line + b"\n")
        while (command := program.next()) is not None:
            found.append(command)
    return found


def ask(naming: bool = False, **members: Any) -> do.Command:
    """The command of one line."""
    (command,) = asked(json.dumps(members).encode(), naming=naming)
    return command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ({"type": "say", "text": "hi"}, do.Say("hi")),
        ({"type": "say", "text": "hi", "ref": "7"}, do.Say("hi", 7)),
        ({"type": "say", "text": "hi", "ref": 7}, do.Say("hi", 7)),
        ({"type": "say", "text": "/quit", "mood": "sunny"}, do.Say("/quit")),
        ({"type": "say", "text": "two\nlines \x1b[31mred \u202e"}, do.Say("two lines red")),
        ({"type": "me", "text": "waves", "ref": "8"}, do.Me("waves", 8)),
        ({"type": "msg", "to": "bob", "text": "psst", "ref": "9"}, do.Msg("bob", "psst", 9)),
        ({"type": "join", "room": "den"}, do.Join("den")),
        ({"type": "leave"}, do.Leave()),
        ({"type": "nick", "name": "ann"}, do.Nick("ann")),
        ({"type": "who"}, do.Who()),
        ({"type": "who", "room": "den"}, do.Who("den")),
        ({"type": "rooms"}, do.Rooms()),
        ({"type": "history"}, do.History()),
        ({"type": "history", "count": 5}, do.History("5")),
        ({"type": "ping"}, do.Ping()),
        ({"type": "quit"}, do.Quit()),
    ],
)
def test_every_request_is_understood(line, command):
    """DESIGN 4, the JSON front's table."""
    assert in_schema("client", line)
    assert ask(**line) == command


@pytest.mark.parametrize("count", [0, -1, -(10**30)])
def test_a_history_of_no_lines_is_refused_by_the_schema_and_the_server_alike(count):
    line = {"type": "history", "count": count}
    assert not in_schema("client", line)
    problem = ask(**line)
    assert isinstance(problem, do.Problem)
    assert problem.code == "bad_request"
    assert "count" in problem.text


@pytest.mark.parametrize("count", [1, 200, 10**6, 10**19])
def test_a_history_of_more_lines_than_are_kept_can_be_asked_for(count):
    line = {"type": "history", "count": count}
    assert in_schema("client", line)
    assert ask(**line) == do.History(str(count))


def test_each_type_of_the_schema_is_understood():
    types = {
        each["properties"]["type"]["const"]
        for each in (
            SCHEMA["$defs"][ref["$ref"].rpartition("/")[2]]
            for ref in SCHEMA["$defs"]["client"]["anyOf"]
        )
        if "const" in each["properties"]["type"]
    }
    members = {"text": "hi", "to": "bob", "room": "den", "name": "ann"}
    assert len(types) == 11
    for type in types:
        assert not isinstance(ask(type=type, **members), do.Problem)


@pytest.mark.parametrize(
    ("line", "code", "ref"),
    [
        (b"{", "bad_json", ""),
        (b"hello", "bad_json", ""),
        (b'{"type":"say","text":"\xff","ref":"7"}', "bad_json", "7"),
        (b'{"type":"say","text":"\\ud800","ref":"7"}', "bad_json", "7"),
        (b'{"type":"say","text":"hi","ref":"7"', "bad_json", ""),
        (b'{"type":"say","text":"hi","deep":' + b"[" * 1100, "bad_json", ""),
        (b"7", "bad_request", ""),
        (b"[]", "bad_request", ""),
        (b"{}", "bad_request", ""),
        (b'{"ref":"7"}', "bad_request", "7"),
        (b'{"type":"say"}', "bad_request", ""),
        (b'{"type":"say","ref":"7"}', "bad_request", "7"),
        (b'{"type":"say","text":7,"ref":7}', "bad_request", "7"),
        (b'{"type":"say","text":" \\u0007 ","ref":"7"}', "bad_request", "7"),
        (b'{"type":"msg","text":"hi","ref":"7"}', "bad_request", "7"),
        (b'{"type":"history","count":"5"}', "bad_request", ""),
        (b'{"type":"dance"}', "unknown_type", ""),
        (b'{"type":"dance","ref":"7"}', "unknown_type", "7"),
        (b'{"type":"dance","ref":["7"]}', "unknown_type", ""),
        (b'{"type":"dance","ref":"a-7"}', "unknown_type", "a-7"),
        (b'{"type":"join","ref":"7"}', "bad_request", "7"),
        (b'{"type":"history","count":0,"ref":7}', "bad_request", "7"),
        (b'{"type":"say","text":"' + b"x" * (MAX + 1) + b'","ref":"7"}', "too_long", "7"),
        (b'{"type":"say","ref":"7","text":"' + b"x" * line_limit(MAX) + b'"}', "too_long", ""),
    ],
)
def test_what_can_not_be_done_is_told_with_its_code_and_its_ref(line, code, ref):
    """The JSON front: ``error`` with a stable code, and the ref of the line that it is about."""
    (problem, after) = asked(line, b'{"type":"ping"}')
    assert isinstance(problem, do.Problem)
    assert (problem.code, str(problem.ref or "")) == (code, ref)
    assert after == do.Ping()


REFS = [1, 7, 10, 2**53 + 1, 1_767_323_045_678_901_234, NEWEST_REF]
NO_REFS: list[object] = [
    *(0, -1, 7.0, 7.5, NEWEST_REF + 1, 10**19, 10**30, True, None, [], {}),
    *("", "0", "07", "+7", "-7", "7 ", "7.0", "1e3", "٧", "seven", "0x7"),
    *(str(NEWEST_REF + 1), str(10**19), "9" * 900),
]


@pytest.mark.parametrize("ref", REFS)
def test_a_ref_is_any_decimal_that_63_bits_hold_and_comes_back_as_it_was(ref):
    """The JSON front: ``ref`` is decimal and growing; a clock's nanoseconds do."""
    for written in (ref, str(ref)):
        line = {"type": "say", "text": "hi", "ref": written}
        assert in_schema("client", line)
        assert ask(**line) == do.Say("hi", ref)
    ack = json.loads(JSON.encode(ev.Delivered("", "hi", ref, 42)))
    assert in_schema("ack", ack)
    assert ack["ref"] == str(ref)


@pytest.mark.parametrize("ref", NO_REFS, ids=lambda ref: repr(ref)[:30])
def test_any_other_ref_is_refused_by_the_schema_and_the_server_alike(ref):
    line = {"type": "say", "text": "hi", "ref": ref}
    # To JSON Schema 7.0 is an integer.
    assert ref == 7.0 or not in_schema("client", line)
    problem = ask(**line)
    assert isinstance(problem, do.Problem)
    assert (problem.text, problem.code) == (BAD_REF, "bad_request")
    spelt = ref if isinstance(ref, str) else json.dumps(ref)
    told = type(ref) in (str, int, float)
    assert problem.ref == (spelt[:MAX_ECHO_CHARACTERS] if told else "")
    if problem.ref:
        error = json.loads(JSON.encode(ev.Notice(problem.text, problem.code, problem.ref)))
        assert in_schema("error", error)
        assert error["ref"] == problem.ref


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b'"' + b"1" * 1000 + b'"', "1" * 64),
        (b"1" * 1000, "1" * 64),
        (b"-0.50e1", "-0.50e1"),
        (b'"\\ud800\\n"', "?\n"),
        (b'"\xff"', "\ufffd"),
        (b'"\\ud83d\\ude42"', "🙂"),
    ],
)
def test_a_bad_ref_is_told_as_it_was_written_cut_short_and_fit_to_be_sent(written, told):
    """The JSON front: a client can tell which of its lines was not done."""
    (problem,) = asked(b'{"type":"say","text":"hi","ref":' + written + b"}")
    assert isinstance(problem, do.Problem)
    assert problem.ref == told
    assert json.loads(JSON.encode(ev.Notice("no", "bad_request", problem.ref)))["ref"] == told


@pytest.mark.parametrize(("ref", "told"), [(7, "7"), ("7", "7"), ("w-1", "w-1"), (0.5, "0.5")])
@pytest.mark.parametrize(
    ("line", "command"),
    [
        ({"type": "join", "room": "den"}, do.Join("den")),
        ({"type": "leave"}, do.Leave()),
        ({"type": "nick", "name": "ann"}, do.Nick("ann")),
        ({"type": "who"}, do.Who()),
        ({"type": "rooms"}, do.Rooms()),
        ({"type": "history"}, do.History()),
    ],
)
def test_every_request_may_have_a_ref_for_its_error(line, command, ref, told):
    """The JSON front: ``error`` has the ref; of what has no ``ack`` it need be no number."""
    assert in_schema("client", {**line, "ref": ref})
    assert ask(**line, ref=ref) == msgspec.structs.replace(command, ref=told)
    assert ask(**line) == command


@given(st.text("0123456789", max_size=21) | st.integers(0, 2**65).map(str))
def test_the_pattern_of_the_schema_is_the_rule_of_the_server(ref):
    line = {"type": "say", "text": "hi", "ref": ref}
    assert in_schema("client", line) is isinstance(ask(**line), do.Say)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(
    [
        *["say", "me", "msg", "join", "leave", "nick", "who", "rooms", "history", "ping", "quit"],
        "",
        7,
    ]
)
odd_requests = st.fixed_dictionaries(
    {"type": kinds},
    optional=dict.fromkeys(("text", "ref", "to", "room", "name", "count", "session"), anything),
)


@given(odd_requests.map(json.dumps).map(str.encode) | st.binary(), st.booleans())
def test_whatever_comes_is_a_command_or_is_told_as_the_schema_has_it(line, naming):
    """Promise 5: no bytes break the front, or the answer."""
    for command in asked(line, naming=naming):
        if isinstance(command, do.Problem):
            answer = JSON.encode(ev.Notice(command.text, command.code, command.ref))
            assert in_schema("error", json.loads(answer))


# How long a line may be


def test_a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not():
    """The JSON front: a line may be ``4 × --max-line + 1024`` bytes."""
    assert line_limit(4096) == 4 * 4096 + 1024
    line = b'{"type":"ping"}'
    fits = line + b" " * (line_limit(MAX) - len(line))
    too_long = do.Problem("the line is too long", "too_long")
    assert asked(fits) == [do.Ping()]
    assert asked(fits + b"\r") == [do.Ping()]
    assert asked(fits + b" ", line) == [too_long, do.Ping()]


@pytest.mark.parametrize("character", ["x", "é", "🙂"])
def test_a_text_may_be_as_long_as_a_line_of_people_however_it_is_written(character):
    text = character * (MAX // len(character.encode()))
    for ascii_only in (True, False):
        line = {"type": "say", "text": text, "ref": NEWEST_REF}
        (said,) = asked(json.dumps(line, ensure_ascii=ascii_only).encode())
        assert said == do.Say(text, NEWEST_REF)
    assert ask(type="say", text=text + "x", ref=7) == do.Problem(
        "text is over 64 bytes", "too_long", 7
    )


def test_blank_lines_are_passed_over_and_the_last_unended_one_counts():
    program = front()
    program.feed(b'\n  \r\n\t\n{"type":"ping"}\r\n{"type":"quit"}')
    assert (program.next(), program.next()) == (do.Ping(), None)
    program.eof()
    assert (program.next(), program.next()) == (do.Quit(), None)


# The first line


@pytest.mark.parametrize(
    ("line", "hello"),
    [
        ({"name": "bot"}, do.Hello("bot", "")),
        ({"type": "hello", "name": "bot", "room": "den"}, do.Hello("bot", "den")),
        ({"type": "say", "name": "bot"}, do.Hello("bot", "")),
        ({"name": "\x1b[31mbot"}, do.Hello("bot", "")),
        (
            {"name": "bot", "session": SECRET, "epoch": "e1", "after": 0},
            do.Hello("bot", "", SECRET, "e1", 0),
        ),
        ({"name": "bot", "session": "x" * 256}, do.Hello("bot", "", "x" * 256)),
    ],
)
def test_the_first_line_says_who_comes_and_since_when(line, hello):
    """The JSON front's first line; a ``type`` in it is not looked at."""
    assert in_schema("hello", line)
    assert ask(naming=True, **line) == hello


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"name"', "bad_json"),
        (b'{"room":"lobby"}', "bad_request"),
        (b'{"type":"say","text":"hi"}', "bad_request"),
        (b'{"name":7}', "bad_request"),
        (b'{"name":"bot","session":"' + b"x" * 21 + b'"}', "bad_request"),
        (b'{"name":"bot","session":"' + b"x" * 257 + b'"}', "bad_request"),
        (b'{"name":"bot","after":-1}', "bad_request"),
        (b'{"name":"bot","after":9223372036854775808}', "bad_request"),
        (b'{"name":"bot","after":"41"}', "bad_request"),
        (b'{"name":"' + b"x" * line_limit(MAX) + b'"}', "too_long"),
    ],
)
def test_a_first_line_that_is_none_is_told_and_not_asked_again(line, code):
    (problem,) = asked(line, naming=True)
    assert isinstance(problem, do.Problem)
    assert problem.code == code
    assert not JsonFront.asks_again
    if code == "bad_request":
        assert not in_schema("hello", json.loads(line))
