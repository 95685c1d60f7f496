"""What a client can ask for, in one table; ``/help`` is made from it.

A ``ref`` is how a program counts its requests: what is refused is told with it.

To add a command: a class, a row in ``TABLE``, and a method in
``chat.session`` for what it does.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import msgspec

from gateway.chat.events import Ref


class Say(msgspec.Struct, frozen=True):
    """Say ``text`` to the room.  Its ``ref`` goes with it, so it is a number."""

    text: str
    ref: int = 0


class Me(msgspec.Struct, frozen=True):
    """Say what one does."""

    text: str
    ref: int = 0


class Msg(msgspec.Struct, frozen=True):
    """Tell ``text`` to one person only."""

    to: str
    text: str
    ref: int = 0


class Join(msgspec.Struct, frozen=True):
    """Leave the room for another one."""

    room: str
    ref: Ref = 0


class Leave(msgspec.Struct, frozen=True):
    """Go back to the lobby."""

    ref: Ref = 0


class Nick(msgspec.Struct, frozen=True):
    name: str
    ref: Ref = 0


class Who(msgspec.Struct, frozen=True):
    """Ask who is in a room; '' is the one that one is in."""

    room: str = ""
    ref: Ref = 0


class Rooms(msgspec.Struct, frozen=True):
    """Ask which rooms there are."""

    ref: Ref = 0


class History(msgspec.Struct, frozen=True):
    """Ask for the last ``count`` lines, as typed; '' for as many as on joining."""

    count: str = ""
    ref: Ref = 0


class Help(msgspec.Struct, frozen=True):
    word: str = ""


class Quit(msgspec.Struct, frozen=True):
    """Leave, and end the connection."""


class Ping(msgspec.Struct, frozen=True):
    """Ask for a sign of life."""


class Unknown(msgspec.Struct, frozen=True):
    """A word that is no command; ``nearest`` is the one that may be meant, or ''."""

    word: str
    nearest: str

    @property
    def text(self) -> str:
        """What to tell who typed it."""
        return f"unknown command: /{self.word}{_hint(self.nearest)}"


class GiveName(msgspec.Struct, frozen=True):
    """The answer to the name prompt."""

    name: str


class Hello(msgspec.Struct, frozen=True):
    """A program's first line: who it is, and where it was.

    ``secret`` '' asks for a session that can't be resumed.  ``after`` is the last
    offset that it has of the log called ``epoch``, or None.
    """

    name: str
    room: str
    secret: str = ""
    epoch: str = ""
    after: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """Input that could not be taken: ``text`` tells the client why, ``code`` a program."""

    text: str
    code: str = "bad_request"
    ref: Ref = 0


Command = (
    Say
    | Me
    | Msg
    | Join
    | Leave
    | Nick
    | Who
    | Rooms
    | History
    | Help
    | Quit
    | Ping
    | Unknown
    | GiveName
    | Hello
    | Problem
)


class Row(msgspec.Struct, frozen=True):
    """One command: its word, what follows it, what it does, and how it is made.

    ``make`` gets the rest of the line without the blanks around it.  ``instead`` are words
    that mean the same elsewhere: who types one of them is told this one.
    """

    word: str
    usage: str
    help: str
    make: Callable[[str], Command]
    instead: tuple[str, ...] = ()


def _msg(rest: str) -> Msg:
    to, _, text = rest.partition(" ")
    return Msg(to, text.strip())


TABLE: tuple[Row, ...] = (
    Row("me", "TEXT", "say what you do: ** NAME TEXT", Me, ("emote",)),
    Row("msg", "NAME TEXT", "tell one person only, in whatever room", _msg, ("tell", "whisper")),
    Row("nick", "NAME", "change your name", Nick, ("name",)),
    Row("join", "ROOM", "leave this room for another one", Join, ("room",)),
    Row("leave", "", "go back to the lobby", lambda _: Leave(), ("part",)),
    Row(
        "rooms",
        "",
        "list the rooms and how many people are in each",
        lambda _: Rooms(),
        ("list", "channels"),
    ),
    Row(
        "who",
        "[ROOM]",
        "list everybody in this room, or in another one",
        Who,
        ("w", "names", "users", "people"),
    ),
    Row("history", "[N]", "show the last lines of this room", History, ("last", "log")),
    Row("help", "[COMMAND]", "list the commands, or explain one", Help, ("h", "?", "commands")),
    Row("quit", "", "leave the chat", lambda _: Quit(), ("exit", "bye", "logout")),
)

_BY_WORD = {row.word: row for row in TABLE}
_MEANT = {word: row.word for row in TABLE for word in (row.word, *row.instead)}


def parse(line: str) -> Command:
    """What a line of a member means.  ``//TEXT`` says ``/TEXT``."""
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    word, _, rest = line[1:].partition(" ")
    row = _BY_WORD.get(word.lower())
    if row is not None:
        return row.make(rest.strip())
    if not word:
        # A blank came in between, or nothing at all.
        return Unknown("", nearest(rest.strip().partition(" ")[0]) or "help")
    return Unknown(word, nearest(word) or "help")


_LONGEST_TYPO = max(map(len, _MEANT)) + 4
"""A longer word is like none of them, and looking for its like is work."""


def nearest(word: str) -> str:
    """The word of the command that ``word`` may mean; '' if there is none like it.

    The same word, one that means it elsewhere, the start of one, or a mistyped one.
    """
    if not word or len(word) > _LONGEST_TYPO:
        return ""
    word = word.lower()
    if word in _MEANT:
        return _MEANT[word]
    starts = (row.word for row in TABLE if row.word.startswith(word))
    near = difflib.get_close_matches(word, _MEANT, n=1)
    return next(starts, "") or (_MEANT[near[0]] if near else "")


def usage(word: str) -> str:
    """How a command is typed, to be told who typed it otherwise."""
    row = _BY_WORD[word]
    return f"usage: /{row.word} {row.usage}".rstrip()


def help_lines(word: str = "") -> list[str]:
    """The lines of ``/help``, or of ``/help WORD``."""
    rows = TABLE
    if word := word.lstrip("/"):
        row = _BY_WORD.get(word.lower())
        if row is None:
            return [f"no such command: /{word}{_hint(nearest(word))}"]
        rows = (row,)
    width = max(len(f"/{row.word} {row.usage}") for row in rows)
    lines = [f"{f'/{row.word} {row.usage}':<{width}}  {row.help}" for row in rows]
    return lines if word else [_HEADING, *lines]


_HEADING = "a line is said to the room (//TEXT for one that starts with /); commands:"


def _hint(nearest: str) -> str:
    return f", did you mean /{nearest}?" if nearest else ""
