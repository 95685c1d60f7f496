"""What a line client reads: exact texts, as the contract has them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.chat import events as ev
from gateway.fronts.line import CRLF, LF

ALICE = ev.SessionId("s1")
AT_MS = int(datetime(2024, 5, 6, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
PSST = ev.Private(ALICE, "alice", ev.SessionId("s2"), "bob", "psst")
HI, WAVES = ev.Message(ALICE, "alice", "hi"), ev.Action(ALICE, "alice", "waves")


@pytest.mark.parametrize(
    ("event", "others", "own"),
    [
        (HI, "alice: hi\n", ""),
        (ev.Message(ALICE, "José", "* 🙂"), "José: * 🙂\n", ""),
        (WAVES, "** alice waves\n", ""),
        (ev.Joined(ALICE, "alice"), "alice joined the chat\n", ""),
        (ev.Left(ALICE, "alice"), "alice has left the chat\n", ""),
        (
            ev.Renamed(ALICE, "alice", "bob"),
            "alice is now known as bob\n",
            "* you are now known as bob\n",
        ),
        (
            ev.Private(ALICE, "alice", ev.SessionId("s2"), "bob", "psst"),
            "alice (private): psst\n",
            "",
        ),
        (None, "", ""),
    ],
)
def test_a_room_reads_what_the_contract_says(event, others, own):
    """The line front's table: what others in the room see, and what oneself."""
    envelope = ev.Envelope(1, "e", AT_MS, ev.GatewayId("g"), event, b"")
    for encoding, end in [(LF, "\n"), (CRLF, "\r\n")]:
        assert encoding.encode(envelope).decode() == others.replace("\n", end)
        assert encoding.encode_own(envelope).decode() == own.replace("\n", end)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (ev.Notice("no"), "* no\n"),
        (ev.Notice("one\n  two"), "* one\n*   two\n"),
        (ev.Summary(joined=31, left=12), "* 31 joined, 12 left\n"),
        (ev.Summary(joined=31, left=0), "* 31 joined, 0 left\n"),
        (ev.Summary(joined=0, left=12), "* 0 joined, 12 left\n"),
        (ev.People("lobby", ["alice", "bob"]), "* 2 in lobby: alice, bob\n"),
        (ev.People("den", []), "* nobody is in den\n"),
        (
            ev.RoomList([("lobby", 12), ("den", 1)]),
            "* rooms, biggest first:\n*    12 in lobby\n*     1 in den\n",
        ),
        (ev.History([]), "* nothing was said here\n"),
        (ev.Delivered("bob", "psst", 0, 3), "* to bob: psst\n"),
        (ev.Delivered("", "hi", 7, 3), ""),
        (ev.Missed(), "* some messages were missed\n"),
        (ev.NamePrompt(), "Enter your name: "),
    ],
)
def test_one_person_reads_what_the_contract_says(told, text):
    """The line front: lines to one person from the server start with ``* ``."""
    assert LF.encode(told) == text.encode()
    assert CRLF.encode(told) == text.replace("\n", "\r\n").encode()


def said_at(at_ms, event):
    return ev.Said("lobby", ev.Envelope(1, "e", at_ms, ev.GatewayId("g"), event, b""))


HISTORY = ["* last 2 lines:", "* 23:59 alice: hi", "* 00:00 ** alice waves"]


@pytest.mark.parametrize("history", [[], HISTORY])
@pytest.mark.parametrize(
    ("people", "names", "who"),
    [
        (1, ["bob"], "* you are alone here"),
        (3, ["alice", "bob", "carol"], "* 3 people are here: alice, bob, carol"),
        (900, [], "* 900 people are here"),
    ],
)
def test_a_newcomer_reads_welcome_then_who_is_here_then_history(people, names, who, history):
    """The line front's table: welcome, who is here, history as ``* HH:MM NAME: TEXT`` (UTC)."""
    said = [said_at(AT_MS, HI), said_at(AT_MS + 1000, WAVES)] if history else []
    welcome = CRLF.encode(ev.Welcome("bob", "lobby", "e", 7, people, names, said)).decode()
    first = "* welcome to lobby, bob; /help lists the commands"
    assert welcome.split("\r\n") == [first, who, *history, ""]
