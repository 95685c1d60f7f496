"""The table of commands, and how a typed line is understood by it."""

import pytest

from gateway.chat import commands as do
from gateway.chat.commands import TABLE, help_lines, parse, usage
from gateway.chat.session import Session


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", do.Say("hello")),
        (" hello", do.Say(" hello")),
        ("a /nick", do.Say("a /nick")),
        ("//nick al", do.Say("/nick al")),
        ("///", do.Say("//")),
        ("/nick al", do.Nick("al")),
        ("/NICK  Al ", do.Nick("Al")),
        ("/nick", do.Nick("")),
        ("/me waves a lot", do.Me("waves a lot")),
        ("/msg bob  psst you", do.Msg("bob", "psst you")),
        ("/msg bob", do.Msg("bob", "")),
        ("/join den", do.Join("den")),
        ("/leave", do.Leave()),
        ("/who", do.Who()),
        ("/who den", do.Who("den")),
        ("/rooms", do.Rooms()),
        ("/history", do.History()),
        ("/history 5", do.History("5")),
        ("/help", do.Help()),
        ("/help /nick", do.Help("/nick")),
        ("/quit now", do.Quit()),
    ],
)
def test_a_line_is_what_it_says(line, command):
    """DESIGN 4: the line front's table; //TEXT for one that starts with a slash."""
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "word", "nearest"),
    [
        ("/nock al", "nock", "nick"),
        ("/QIUT", "QIUT", "quit"),
        ("/xyzzy", "xyzzy", "help"),
        ("/EXIT", "EXIT", "quit"),
        ("/bye now", "bye", "quit"),
        ("/part", "part", "leave"),
        ("/w", "w", "who"),
        ("/users", "users", "who"),
        ("/names", "names", "who"),
        ("/h", "h", "help"),
        ("/?", "?", "help"),
        ("/hist 5", "hist", "history"),
        ("/q", "q", "quit"),
        ("/mgs bob hi", "mgs", "msg"),
        ("/", "", "help"),
        ("/ xyzzy", "", "help"),
        ("/  nick al", "", "nick"),
    ],
)
def test_an_unknown_word_comes_with_the_nearest_command(line, word, nearest):
    """DESIGN 4: * unknown command: /WORD and the nearest one."""
    assert parse(line) == do.Unknown(word, nearest)


def test_help_is_made_from_the_table():
    """DESIGN 3: one table; /help is made from it."""
    heading, *lines = help_lines()
    assert len(lines) == len(TABLE)
    for row, line in zip(TABLE, lines, strict=True):
        assert line.startswith(f"/{row.word} {row.usage}".rstrip())
        assert line.endswith(row.help)
        assert help_lines(row.word) == help_lines(f"/{row.word.upper()}")
        (alone,) = help_lines(row.word)
        assert alone.split() == line.split()
    assert "//TEXT" in heading


def test_help_stands_in_columns():
    """DESIGN 4: /help is read by people."""
    columns = {line.rindex(row.help) for row, line in zip(TABLE, help_lines()[1:], strict=True)}
    assert len(columns) == 1


def test_help_on_no_command_says_so():
    """Issue 2: bad input gets a clear error."""
    assert help_lines("/xyzzy") == ["no such command: /xyzzy"]
    assert help_lines("mgs") == ["no such command: /mgs, did you mean /msg?"]
    assert help_lines("exit") == ["no such command: /exit, did you mean /quit?"]
    assert help_lines("/") == help_lines()


def test_a_word_that_means_a_command_elsewhere_is_none_here_and_means_one_alone():
    """The table: who types one is told which command it is."""
    words = [row.word for row in TABLE] + [word for row in TABLE for word in row.instead]
    assert len(set(words)) == len(words)
    for row in TABLE:
        for word in row.instead:
            unknown = parse(f"/{word}")
            assert isinstance(unknown, do.Unknown)
            assert unknown.text == f"unknown command: /{word}, did you mean /{row.word}?"


def test_how_a_command_is_typed_is_told_from_the_table():
    assert usage("msg") == "usage: /msg NAME TEXT"
    assert usage("quit") == "usage: /quit"


def test_each_word_stands_once_and_in_small_letters():
    """parse: words are found without regard to case."""
    words = [row.word for row in TABLE]
    assert len(set(words)) == len(words)
    assert all(word == word.lower() and word.isalpha() for word in words)


class AnyDesk:
    def __getattr__(self, _name):
        return lambda *_values: None


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.word)
@pytest.mark.parametrize("rest", ["", "x", "x y", "9"])
def test_a_session_knows_what_to_do_with_each_command(row, rest):
    """chat.commands: to add a command: a class, a row, and a method in chat.session."""
    session = Session("s1", "lobby", AnyDesk())
    session.granted("alice")
    session.joined()
    session.handle(parse(f"/{row.word} {rest}"))


def test_nothing_is_looked_for_that_is_like_a_word_as_long_as_a_line(monkeypatch):
    """Promise 5: a hostile client costs the others nothing."""
    monkeypatch.setattr(do.difflib, "get_close_matches", None)
    assert do.nearest("x" * 4000) == ""
