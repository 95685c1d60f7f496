"""The terminal client's words, colours and columns; and what a typed line asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from wcwidth import wcswidth

from gateway.chat.commands import TABLE
from gateway.client import (
    Ack,
    Action,
    ChatError,
    Event,
    History,
    Joined,
    Left,
    Message,
    Missed,
    Notice,
    People,
    Private,
    Renamed,
    RoomCount,
    Rooms,
    Welcome,
)
from gateway.tools.chat.asks import Ask, Leave, Refuse, Tell, said, understand
from gateway.tools.chat.look import Line, laid_out, lines_of, mentions, name_style
from gateway.tools.chat.past import MOST_BYTES, history_path, open_history
from gateway.tools.chat.people import Roster, Words
from gateway.tools.chat.talk import Talk
from gateway.tools.chat.words import plain, sentences

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "\x1b]0;owned\x07\x1b[2J\u202eevil\r\n"


def event(kind: type, sender: str = "bob", **more: object) -> Event:
    return kind("lobby", 1, "e", sender, AT, **more)  # type: ignore[no-any-return]


def text_of(line: Line) -> str:
    return "".join(text for _, text in (*line.before, ("", line.text)))


# What a line asks for


@pytest.mark.parametrize(
    ("line", "ask"),
    [
        ("hi there", Ask("say", {"text": "hi there"})),
        ("//etc", Ask("say", {"text": "/etc"})),
        ("/me waves", Ask("me", {"text": "waves"})),
        ("/msg bob psst", Ask("msg", {"to": "bob", "text": "psst"})),
        ("/nick ann", Ask("nick", {"name": "ann"})),
        ("/join kitchen", Ask("join", {"room": "kitchen"})),
        ("/leave", Ask("leave")),
        ("/rooms", Ask("rooms")),
        ("/who", Ask("who")),
        ("/who kitchen", Ask("who", {"room": "kitchen"})),
        ("/history", Ask("history")),
        ("/history 5", Ask("history", {"count": 5})),
        ("/quit", Leave()),
        ("/QUIT", Leave()),
        ("/me", Refuse("usage: /me TEXT")),
        ("/msg bob", Refuse("usage: /msg NAME TEXT")),
        ("/history x", Refuse("usage: /history [N]")),
        ("/history 0", Refuse("usage: /history [N]")),
        ("/history 0000000", Refuse("usage: /history [N]")),
        ("/wo", Refuse("unknown command: /wo, did you mean /who?")),
        ("/exit", Refuse("unknown command: /exit, did you mean /quit?")),
        ("", None),
        ("  \x07", None),
        ("red \x1b[31malert", Ask("say", {"text": "red alert"})),
    ],
)
def test_a_typed_line_is_understood(line, ask):
    assert understand(line) == ask


def test_every_command_of_the_table_is_understood():
    """Issue 5: the client's commands are those of the line front."""
    for row in TABLE:
        assert understand(f"/{row.word} a b") is not None
    told = understand("/help")
    assert isinstance(told, Tell)
    assert all(any(f"/{row.word}" in line for line in told.lines) for row in TABLE)


def test_a_pasted_line_is_no_command():
    assert said("/quit") == Ask("say", {"text": "/quit"})
    assert said(" \t") is None


# Words


def test_the_words_are_those_of_the_line_front():
    """DESIGN 4, the line front."""
    for what, line in [
        (event(Message, text="hi"), "bob: hi"),
        (event(Action, text="waves"), "** bob waves"),
        (event(Joined), "bob joined the chat"),
        (event(Left), "bob has left the chat"),
        (event(Renamed, to="Bob2"), "bob is now known as Bob2"),
        (Private("bob", "me", "psst", AT), "bob (private): psst"),
        (event(Message, text="hi", history=True), "* 03:04 bob: hi"),
        (Ack("1", 1, "msg", "psst", "bob"), "* to bob: psst"),
        (Missed("lobby"), "* some messages were missed"),
        (Notice("bye"), "* bye"),
    ]:
        assert plain(what) == [line]
    assert plain(Ack("1", 1, "say", "hi")) == []
    assert plain(event(Renamed, to="me"), "me") == ["* you are now known as me"]


def test_answers_are_sentences():
    assert sentences(People("lobby", ("a", "b"))) == ["2 in lobby: a, b"]
    assert sentences(People("den", ())) == ["nobody is in den"]
    counts = (RoomCount("lobby", 12), RoomCount("kitchen", 3))
    assert sentences(Rooms(counts)) == [
        "rooms, biggest first:",
        "   12 in lobby",
        "    3 in kitchen",
    ]
    old = (event(Message, text="hi", history=True), event(Action, text="waves", history=True))
    assert sentences(History(2, old)) == ["last 2 lines:", "03:04 bob: hi", "03:04 ** bob waves"]
    assert sentences(History(0)) == ["nothing was said here"]
    assert sentences(ChatError("absent", "bob is not here")) == ["bob is not here"]


@pytest.mark.parametrize(
    "what",
    [
        event(Message, f"b{EVIL}", text=EVIL),
        event(Message, f"b{EVIL}", text=EVIL, history=True),
        event(Action, f"b{EVIL}", text=EVIL),
        event(Joined, EVIL),
        event(Renamed, EVIL, to=EVIL),
        Private(EVIL, EVIL, EVIL, AT),
        Notice(EVIL),
        Welcome(EVIL, EVIL, 1, "e", 2),
        Ack("1", 1, "msg", EVIL, EVIL),
    ],
    ids=lambda what: type(what).__name__,
)
def test_nothing_that_others_send_acts_on_the_terminal(what):
    """DESIGN 4: escape sequences and bidirectional overrides never reach a terminal."""
    shown = [text_of(line) for line in lines_of(what, "me")] + plain(what)
    old = History(1, (event(Message, EVIL, text=EVIL, history=True),))
    answers = [old, People(EVIL, (EVIL,)), Rooms((RoomCount(EVIL, 1),)), ChatError("x", EVIL)]
    shown += [line for answer in answers for line in sentences(answer)]
    assert shown
    for line in shown:
        assert not {"\x1b", "\x07", "\u202e", "\r", "\n"} & set(line)


# Looks


def test_a_name_has_the_same_colour_whatever_its_case():
    """Issue 5: colour per name, stable; from one run to the next, too."""
    assert name_style("alice") == name_style("ALICE") == "class:name11"
    assert len({name_style(f"name{number}") for number in range(200)}) == 12


@pytest.mark.parametrize(
    ("text", "name", "meant"),
    [
        ("hi alice", "alice", True),
        ("ALICE: hi", "alice", True),
        ("hi alice!", "Alice", True),
        ("malice", "alice", False),
        ("alice2", "alice", False),
        ("alice-ann", "alice", False),
        ("привет, ИВАН", "Иван", True),
        ("你好小明", "小明", False),
        ("你好 小明", "小明", True),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_a_line_that_says_ones_name_calls(text, name, meant):
    assert mentions(text, name) is meant
    (line,) = lines_of(event(Message, text=text), name)
    assert line.calls is meant


def test_history_and_ones_own_lines_do_not_ring():
    assert not lines_of(event(Message, text="alice", history=True), "alice")[0].calls
    assert not lines_of(Ack("1", 1, "say", "alice"), "alice")[0].calls
    assert lines_of(Private("bob", "alice", "psst", AT), "alice")[0].calls


LONG = {
    "words": "word " * 40,
    "chinese": "你好" * 50,
    "russian": "привет мир " * 20,
    "emoji": "🙂" * 60,
    "families": "👨‍👩‍👧 " * 30,
    "one word": "é" * 99,
    "arabic": "مرحبا " * 20,
}


@pytest.mark.parametrize("columns", [28, 40, 80])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_row_is_wider_than_the_screen(text, columns):
    """Issue 5: correct column widths."""
    line = Line((("", "12:34 "), ("", "小明"), ("", ": ")), text.strip())
    rows = "".join(text for _, text in laid_out(line, columns)).split("\n")
    assert len(rows) > 1
    assert all(wcswidth(row) < columns for row in rows)
    assert all(row.startswith("      ") and row[6] != " " for row in rows[1:])
    assert "".join(rows)[10:].replace(" ", "") == text.replace(" ", "")


def test_the_address_of_a_page_stays_in_one_piece():
    line = Line((("", "12:34 "),), f"see https://example.org/{'x' * 60} please")
    assert f"https://example.org/{'x' * 60}" in laid_out(line, 40)[-1][1].split("\n")[1]


def test_on_a_very_narrow_screen_the_terminal_breaks_lines():
    line = Line((("", "12:34 "), ("", "a" * 32)), "hi there")
    assert laid_out(line, 30)[-1] == ("", "hi there")


@pytest.mark.parametrize(
    ("round_trip_s", "no_answer_s", "status"),
    [
        (None, 0.0, "connected"),
        (0.0042, 0.0, "connected, 4 ms"),
        (0.00001, 0.0, "connected, 1 ms"),
        (0.0042, 7.4, "no answer for 7 s"),
    ],
)
def test_the_status_tells_how_the_connection_is(round_trip_s, no_answer_s, status):
    """Issue 5: connection state and round trip."""
    here = {"room": "lobby", "name": "alice", "connected": True}
    chat = SimpleNamespace(**here, round_trip_s=round_trip_s, no_answer_s=no_answer_s)
    talk = Talk(lambda _: None, lambda _: None, lambda: None)
    talk.chat = chat
    talk.roster.hear(Welcome("alice", "lobby", 1, "e", 3))
    assert talk.status == f"lobby · 3 people · alice · {status}"


# Who is here, and completion


def completed(roster: Roster, text: str) -> list[str]:
    document = Document(text)
    return [
        text[: len(text) + each.start_position] + each.text
        for each in Words(roster).get_completions(document, CompleteEvent())
    ]


def test_the_roster_follows_what_happens():
    roster = Roster()
    roster.hear(Welcome("alice", "lobby", 1, "e", 3))
    assert (roster.count, roster.names) == (3, [])
    roster.told(People("lobby", ("alice", "bob", "carol")))
    roster.hear(event(Joined, "dave"))
    roster.hear(event(Left, "bob"))
    roster.hear(event(Renamed, "carol", to="Caroline"))
    roster.hear(event(Message, "alice", text="hi"))
    assert (roster.count, roster.names) == (3, ["alice", "Caroline", "dave"])


def test_names_commands_and_rooms_are_completed():
    roster = Roster()
    roster.told(People("lobby", ("alice", "Barbara", "bob")))
    roster.rooms = {"kitchen", "lobby"}
    assert completed(roster, "b") == ["bob: ", "Barbara: "]
    assert completed(roster, "hi BAR") == ["hi Barbara "]
    assert completed(roster, "/msg al") == ["/msg alice "]
    assert completed(roster, "/h") == ["/history ", "/help "]
    assert completed(roster, "/join k") == ["/join kitchen"]
    assert completed(roster, "/help n") == ["/help nick"]
    assert completed(roster, "zzz") == []


def test_nobody_is_offered_oneself_to_whisper_to_nor_a_name_that_is_taken():
    roster = Roster()
    roster.hear(Welcome("alice", "lobby", 1, "e", 2))
    roster.told(People("lobby", ("alice", "amy")))
    assert completed(roster, "/msg a") == ["/msg amy "]
    assert completed(roster, "/nick a") == []
    roster.hear(event(Renamed, "alice", to="ann"))
    assert completed(roster, "/msg a") == ["/msg amy "]
    assert completed(roster, "a") == ["ann: ", "amy: "]


# What was typed before


def test_the_history_is_where_xdg_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    assert str(history_path({"XDG_STATE_HOME": "/state"})) == "/state/chat-gateway/history"
    default = "/home/alice/.local/state/chat-gateway/history"
    assert str(history_path({})) == str(history_path({"XDG_STATE_HOME": "relative"})) == default


def test_the_history_is_ones_own_and_bounded(tmp_path):
    path = tmp_path / "deep" / "history"
    history = open_history(path)
    assert isinstance(history, FileHistory)
    for number in range(MOST_BYTES // 40):
        history.store_string(f"line number {number}")
    assert path.stat().st_mode & 0o077 == 0
    assert path.stat().st_size > MOST_BYTES
    kept = [*open_history(path).load_history_strings()]
    assert 0 < path.stat().st_size <= MOST_BYTES / 2
    assert kept[0] == f"line number {MOST_BYTES // 40 - 1}"
    assert all(line.startswith("line number ") for line in kept)


def test_without_a_file_the_history_is_forgotten(tmp_path):
    (tmp_path / "file").touch()
    assert isinstance(open_history(tmp_path / "file" / "history"), InMemoryHistory)
