"""What each command does in each state of a session, at a desk that only takes notes."""

import pytest

from gateway.chat import commands as do
from gateway.chat.commands import TABLE
from gateway.chat.events import Action, Message, NamePrompt, Notice, People, Pong, Renamed
from gateway.chat.reasons import CloseReason
from gateway.chat.session import Session


class Desk:
    """Notes what a session tells its person, and what it asks for: the method, then its values."""

    def __init__(self):
        self.told = []
        self.asked = []

    def tell(self, item):
        self.told.append(item)

    def __getattr__(self, name):
        return lambda *values: self.asked.append((name, *values))

    @property
    def notices(self):
        """Told since the last look."""
        told, self.told = self.told, []
        return [item.text if isinstance(item, Notice) else item for item in told]

    @property
    def wishes(self):
        """Asked for since the last look."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def session(desk):
    """Somebody at the name prompt of the lobby."""
    session = Session("s1", "lobby", desk)
    session.start()
    assert desk.notices == [NamePrompt()]
    return session


@pytest.fixture
def alice(session, desk):
    """A member of the lobby."""
    session.handle(do.GiveName("alice"))
    session.granted("alice")
    session.joined()
    assert (desk.notices, desk.wishes) == ([], [("claim", "alice"), ("enter", "lobby")])
    return session


def refused(desk):
    """The one line that says why; nothing was asked of the gateway."""
    assert desk.wishes == []
    (text,) = desk.notices
    return text


# The name


def test_a_name_is_claimed_then_the_room_is_entered(session, desk):
    """DESIGN 3: claim the name, then join."""
    assert session.listening
    assert not session.present
    session.handle(do.GiveName("  alice "))
    assert desk.wishes == [("claim", "alice")]
    assert not session.listening
    assert not session.present
    session.granted("alice")
    assert desk.wishes == [("enter", "lobby")]
    assert (session.name, session.present, session.listening) == ("alice", True, False)
    session.joined()
    assert session.listening


@pytest.mark.parametrize("name", ["", "two words", "x" * 33, "a\u0430"])
def test_a_name_that_cannot_be_is_refused_and_asked_for_again(session, desk, name):
    """DESIGN 4: a refused name says why and asks again."""
    session.handle(do.GiveName(name))
    why, prompt = desk.notices
    assert why
    assert prompt == NamePrompt()
    assert desk.wishes == []
    assert session.listening


def test_a_name_that_is_taken_is_asked_for_again(session, desk):
    """DESIGN 4: unique in the whole cluster; a refused name says why and asks again."""
    session.handle(do.GiveName("alice"))
    session.taken("alice")
    why, prompt = desk.notices
    assert "alice is taken" in why
    assert prompt == NamePrompt()
    assert (session.listening, session.name) == (True, "")
    session.handle(do.GiveName("bob"))
    assert desk.wishes[-1] == ("claim", "bob")


def test_a_bad_line_at_the_name_prompt_is_told_and_the_prompt_comes_again(session, desk):
    """Issue 2: bad input gets a clear error."""
    session.handle(do.Problem("that line was not UTF-8"))
    assert desk.notices == ["that line was not UTF-8", NamePrompt()]


# Speaking


def test_what_a_member_says_goes_to_the_room(alice, desk):
    """DESIGN 4: TEXT: others see NAME: TEXT, oneself nothing."""
    alice.handle(do.Say("hello"))
    alice.handle(do.Say("hello", ref=7))
    assert desk.wishes == [
        ("publish", Message("s1", "alice", "hello")),
        ("publish", Message("s1", "alice", "hello", 7)),
    ]
    assert desk.notices == []
    assert alice.listening


def test_what_a_member_does_goes_to_the_room(alice, desk):
    """DESIGN 4: /me TEXT."""
    alice.handle(do.Me("waves", ref=8))
    assert desk.wishes == [("publish", Action("s1", "alice", "waves", 8))]
    alice.handle(do.Me(""))
    assert "/me TEXT" in refused(desk)


def test_a_private_line_goes_to_one_person(alice, desk):
    """DESIGN 4: /msg NAME TEXT."""
    alice.handle(do.Msg("bob", "psst", ref=9))
    assert desk.wishes == [("post", "bob", "psst", 9)]
    assert not alice.listening
    alice.answered()
    assert alice.listening


@pytest.mark.parametrize(("to", "text"), [("", ""), ("bob", "")])
def test_a_private_line_needs_a_name_and_a_text(alice, desk, to, text):
    """Issue 2: bad input gets a clear error."""
    alice.handle(do.Msg(to, text))
    assert "/msg NAME TEXT" in refused(desk)


@pytest.mark.parametrize(
    "command",
    [
        do.Me("", ref=5),
        do.Msg("", "", ref=5),
        do.Join("", ref=5),
        do.Join("two words", ref=5),
        do.Join("lobby", ref=5),
        do.Leave(ref=5),
        do.Nick("", ref=5),
        do.Nick("two words", ref=5),
        do.Nick("alice", ref=5),
        do.Who("two words", ref=5),
        do.History("0", ref=5),
    ],
)
def test_what_is_refused_is_told_with_its_ref(alice, desk, command):
    """DESIGN 4: {"type":"error","code":"…","text":"…","ref":"7"}."""
    alice.handle(command)
    assert [notice.ref for notice in desk.told] == [5]


@pytest.mark.parametrize("command", [do.Who(ref="a"), do.Rooms(ref="a"), do.History(ref="a")])
def test_a_question_that_nobody_can_answer_is_told_with_its_ref(alice, command):
    """DESIGN 4: {"type":"error","code":"…","text":"…","ref":"7"}."""
    alice.handle(command)
    away = Notice("that can't be answered right now", "unavailable")
    assert alice.answer(away) == Notice(away.text, away.code, "a")
    alice.answered()
    alice.handle(do.Rooms())
    assert alice.answer(away) == away


def test_the_answer_to_a_question_stays_as_it_is(alice):
    alice.handle(do.Msg("bob", "psst", ref=9))
    for told in (People("lobby", ["alice"]), Notice("bob is not here", "absent", 9)):
        assert alice.answer(told) is told


def test_a_name_or_room_that_is_taken_is_told_with_the_ref_of_who_wanted_it(alice, desk):
    """DESIGN 4: {"type":"error","code":"…","text":"…","ref":"7"}."""
    for command in (do.Nick("bob", ref="a"), do.Join("den", ref="b")):
        alice.handle(command)
        alice.taken("bob")
    assert [told.ref for told in desk.told if isinstance(told, Notice)] == ["a", "b"]


@pytest.mark.parametrize(("certain", "word"), [(True, "delivered"), (False, "confirmed")])
def test_a_line_past_its_deadline_is_told_to_its_sender(alice, desk, certain, word):
    """DESIGN 3: the sender is told the truth."""
    alice.not_delivered(Message("s1", "alice", "hello", 7), certain=certain)
    (notice,) = desk.told
    assert notice.text == f"not {word}: hello"
    assert notice.ref == 7


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.word)
def test_a_command_alone_that_needs_more_is_told_its_usage(alice, desk, row):
    """Issue 2: bad input gets a clear error; the table says what is typed."""
    alice.handle(do.parse(f"/{row.word} "))
    usage = f"usage: /{row.word} {row.usage}"
    assert (usage in desk.notices) == (row.usage[:1].isalpha())


# Another name


def test_a_new_name_is_claimed_then_the_room_is_told(alice, desk):
    """DESIGN 4: /nick NEW."""
    alice.handle(do.Nick("al"))
    assert desk.wishes == [("claim", "al")]
    assert (alice.listening, alice.present, alice.name) == (False, True, "alice")
    alice.granted("al")
    assert desk.wishes == [("publish", Renamed("s1", "alice", "al"))]
    assert (alice.name, alice.wish) == ("alice", "al")
    alice.renamed("al")
    assert (alice.name, alice.wish, alice.listening) == ("al", "", True)


def test_a_new_name_that_is_taken_leaves_the_old_one(alice, desk):
    """DESIGN 4: a refused name says why; a member is not asked again."""
    alice.handle(do.Nick("bob"))
    alice.taken("bob")
    (why,) = desk.notices
    assert "bob is taken" in why
    assert (alice.name, alice.listening) == ("alice", True)


@pytest.mark.parametrize("name", ["", "two words", "alice"])
def test_a_new_name_that_cannot_be_is_refused(alice, desk, name):
    """DESIGN 4: a refused name says why."""
    alice.handle(do.Nick(name))
    assert refused(desk)
    assert alice.listening


def test_a_new_spelling_of_ones_own_name_is_a_new_name(alice, desk):
    """DESIGN 4: unique without regard to case; the case is one's own."""
    alice.handle(do.Nick("Alice"))
    assert desk.wishes == [("claim", "Alice")]


# Rooms


@pytest.mark.parametrize("command", [do.Join("Den"), do.Join(" den ")])
def test_a_member_goes_to_another_room(alice, desk, command):
    """DESIGN 4: /join ROOM."""
    alice.handle(command)
    assert desk.wishes == [("move", "den")]
    assert not alice.listening


def test_leaving_leads_to_the_lobby(alice, desk):
    """DESIGN 4: /leave (back to the lobby)."""
    alice.handle(do.Leave())
    assert "lobby" in refused(desk)
    alice.room = "den"
    alice.handle(do.Leave())
    assert desk.wishes == [("move", "lobby")]


@pytest.mark.parametrize("room", ["", "two words", "lobby", "LOBBY"])
def test_a_room_that_cannot_be_entered_is_refused(alice, desk, room):
    """Issue 2: bad input gets a clear error."""
    alice.handle(do.Join(room))
    assert refused(desk)
    assert alice.listening


# Questions


@pytest.mark.parametrize(
    ("command", "wish"),
    [
        (do.Who(), ("list_people", "lobby")),
        (do.Who("Den"), ("list_people", "den")),
        (do.Rooms(), ("list_rooms",)),
        (do.History(), ("show_history", None)),
        (do.History("25"), ("show_history", 25)),
        (do.History("007"), ("show_history", 7)),
        (do.History("9" * 4000), ("show_history", 999_999)),
    ],
)
def test_a_question_is_answered_before_the_next_command(alice, desk, command, wish):
    """DESIGN 4: /who, /rooms, /history: others see nothing."""
    alice.handle(command)
    assert desk.wishes == [wish]
    assert (alice.listening, alice.present) == (False, True)
    alice.answered()
    assert alice.listening


@pytest.mark.parametrize(
    "command", [do.Who("two words"), *map(do.History, ("x", "-1", "0", "00", "٧", "1.5"))]
)
def test_a_question_that_cannot_be_answered_is_refused(alice, desk, command):
    """Issue 2: bad input gets a clear error."""
    alice.handle(command)
    assert refused(desk)
    assert alice.listening


def test_help_lists_the_commands(alice, desk):
    """DESIGN 4: /help [COMMAND]."""
    alice.handle(do.Help())
    assert "/nick" in refused(desk)
    alice.handle(do.Help("nick"))
    assert "/nick NAME" in refused(desk)


def test_an_unknown_command_is_told_with_the_nearest(alice, desk):
    """DESIGN 4: * unknown command: /WORD and the nearest one."""
    alice.handle(do.Unknown("nock", "nick"))
    assert refused(desk) == "unknown command: /nock, did you mean /nick?"
    alice.handle(do.Unknown("xyzzy", ""))
    assert refused(desk) == "unknown command: /xyzzy"


def test_a_bad_line_of_a_member_is_told(alice, desk):
    """DESIGN 4: its sender is told."""
    alice.handle(do.Problem("line too long"))
    assert desk.notices == ["line too long"]


def test_a_ping_is_answered(alice, desk):
    """DESIGN 4: {"type":"pong"}."""
    alice.handle(do.Ping())
    assert desk.notices == [Pong()]


# Ends


def test_who_quits_is_let_go(alice, desk):
    """DESIGN 4: /quit."""
    alice.handle(do.Quit())
    assert desk.wishes == [("end", CloseReason.QUIT)]
    assert desk.notices == ["bye"]


def test_who_was_taken_for_dead_joins_again_under_its_name(alice, desk):
    """Issue 3: joins its sessions again or tells those whose names are taken by now."""
    alice.evicted("s2")
    assert desk.wishes == [("claim", "alice")]
    assert (alice.id, alice.present, alice.listening) == ("s2", False, False)
    assert len(desk.notices) == 1
    alice.granted("alice")
    alice.joined()
    assert desk.wishes == [("enter", "lobby")]
    alice.handle(do.Say("back"))
    assert desk.wishes == [("publish", Message("s2", "alice", "back"))]


def test_who_was_taken_for_dead_and_lost_its_name_is_asked_for_another(alice, desk):
    """Issue 3: tells those whose names are taken by now."""
    alice.evicted("s2")
    alice.taken("alice")
    assert "alice is taken" in desk.notices[1]
    assert alice.listening
    alice.handle(do.GiveName("alice2"))
    assert desk.wishes[-1] == ("claim", "alice2")
