"""What programs read: exact lines, each of them held against ``schema.json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.chat import events as ev
from gateway.fronts.json_encoding import JSON
from tests.unit.fronts.schema import SCHEMA, in_schema

ALICE = ev.SessionId("s1")
AT_MS = int(datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC).timestamp() * 1000)
AT = "2026-01-02T03:04:05.678Z"


def told(item: ev.Envelope | Any, *, own: bool = False) -> list[dict[str, Any]]:
    """The lines for ``item``, each of them one of the server's in the schema."""
    raw = JSON.encode_own(item, "lobby") if own else JSON.encode(item, "lobby")
    assert raw == b"" or raw.endswith(b"\n")
    lines = [json.loads(line) for line in raw.splitlines()]
    for line in lines:
        assert in_schema(line["type"], line), line
        named = SCHEMA["$defs"][line["type"]]["properties"]
        assert set(line) <= set(named), line
    return lines


def envelope(event: ev.RoomEvent | None) -> ev.Envelope:
    return ev.Envelope(42, "e1", AT_MS, ev.GatewayId("g"), event, b"")


PLACE = {"room": "lobby", "offset": 42, "epoch": "e1", "at": AT}
HI = ev.Message(ALICE, "alice", "hi", 7)
PSST = ev.Private(ALICE, "alice", ev.SessionId("s2"), "bob", "psst", 7)
SAID = {"type": "message", "from": "alice", "text": "hi", **PLACE}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (HI, SAID),
        (ev.Action(ALICE, "alice", "waves"), {**SAID, "type": "action", "text": "waves"}),
        (ev.Joined(ALICE, "alice"), {"type": "joined", "from": "alice", **PLACE}),
        (ev.Left(ALICE, "alice"), {"type": "left", "from": "alice", **PLACE}),
        (
            ev.Renamed(ALICE, "alice", "ann"),
            {"type": "renamed", "from": "alice", "to": "ann", **PLACE},
        ),
        (PSST, {"type": "private", "from": "alice", "to": "bob", "text": "psst", "at": AT}),
        (ev.Replaced(ALICE, "alice", 2), None),
        (None, None),
    ],
)
def test_an_event_is_told_with_its_place(event, line):
    """DESIGN 4, the JSON front's events."""
    assert told(envelope(event)) == ([line] if line else [])


def test_ones_own_line_comes_back_as_its_ack_if_it_has_a_ref():
    """The JSON front: ``ack`` in the place of its event."""
    assert told(envelope(HI), own=True) == [{"type": "ack", "ref": "7", "offset": 42}]
    assert told(envelope(ev.Action(ALICE, "alice", "waves")), own=True) == []
    (renamed,) = told(envelope(ev.Renamed(ALICE, "alice", "ann")), own=True)
    assert renamed["type"] == "renamed"


WELCOME = {
    "type": "welcome",
    "name": "bot",
    "room": "lobby",
    "offset": 41,
    "epoch": "e1",
    "people": 3,
}


@pytest.mark.parametrize(
    ("item", "lines"),
    [
        (ev.Notice("hello"), [{"type": "notice", "text": "hello"}]),
        (
            ev.Notice("no", "absent", 7),
            [{"type": "error", "code": "absent", "text": "no", "ref": "7"}],
        ),
        (ev.Notice("no", "absent"), [{"type": "error", "code": "absent", "text": "no"}]),
        (
            ev.Welcome("bot", "lobby", "e1", 41, 3, (), [ev.Said("lobby", envelope(HI))]),
            [WELCOME, {**SAID, "history": True}],
        ),
        (
            ev.People("den", ["alice", "bob"]),
            [{"type": "people", "room": "den", "people": ["alice", "bob"]}],
        ),
        (
            ev.RoomList([("lobby", 2)]),
            [{"type": "rooms", "rooms": [{"room": "lobby", "people": 2}]}],
        ),
        (
            ev.History([ev.Said("lobby", envelope(HI))]),
            [{**SAID, "history": True}, {"type": "history", "count": 1}],
        ),
        (ev.History([]), [{"type": "history", "count": 0}]),
        (ev.Delivered("", "hi", 7, 42), [{"type": "ack", "ref": "7", "offset": 42}]),
        (ev.Delivered("", "hi", 0, 42), []),
        (ev.Delivered("bob", "psst", 7, 42), [{"type": "ack", "ref": "7"}]),
        (ev.Pong(), [{"type": "pong"}]),
        (
            ev.Summary(31, 0),
            [{"type": "notice", "text": "31 joined, 0 left", "joined": 31, "left": 0}],
        ),
        (ev.Missed(), [{"type": "missed", "room": "lobby"}]),
        (ev.NamePrompt(), []),
    ],
)
def test_a_program_is_told_what_the_contract_says(item, lines):
    """DESIGN 4, the JSON front's table: what the server says."""
    assert told(item) == lines
