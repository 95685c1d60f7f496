"""The line front: what people on ``nc`` and ``telnet`` type and read.

Lines of UTF-8 come in and lines of UTF-8 go out; see "The line front" in the
design.  Knows no socket, no clock and no room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from gateway.chat.commands import Command, GiveName, Problem, parse
from gateway.chat.events import (
    Action,
    Delivered,
    Envelope,
    History,
    Joined,
    Left,
    Message,
    Missed,
    NamePrompt,
    Notice,
    People,
    Pong,
    Private,
    Renamed,
    Replaced,
    Returned,
    RoomList,
    Said,
    Summary,
    Told,
    Welcome,
)
from gateway.chat.text import clean_line
from gateway.fronts import words
from gateway.fronts.framing import LineBuffer, LineTooLong
from gateway.fronts.telnet import TelnetFilter

_UNENDED_NAME_S = 1.0
_UNENDED_LINE_S = 0.1


class LineEncoding:
    """Writes lines that end in ``end``.  There are two: ``LF`` and ``CRLF``."""

    __slots__ = ("end",)

    def __init__(self, end: str) -> None:
        self.end = end

    def encode(self, item: Envelope | Told, room: str = "") -> bytes:
        """The line or lines for ``item``, each with its end; the name prompt has none."""
        what = item.event if type(item) is Envelope else item
        return _WRITERS[type(what)](what, self.end).encode()

    def encode_own(self, envelope: Envelope, room: str = "") -> bytes:
        """Only a new name: what one said stands on one's screen, and joining has a welcome."""
        if isinstance(envelope.event, Renamed):
            return _starred([words.own_name(envelope.event.new_name)], self.end).encode()
        return b""


LF = LineEncoding("\n")
CRLF = LineEncoding("\r\n")


def _starred(lines: Iterable[str], end: str) -> str:
    return "".join(f"* {line}{end}" for line in lines)


def _said(said: Said) -> str:
    envelope = said.envelope
    at = datetime.fromtimestamp(envelope.at_ms / 1000, UTC)
    return f"{at:%H:%M} {_WRITERS[type(envelope.event)](envelope.event, '')}"


def _history(history: History, end: str) -> str:
    return _starred([words.last(len(history.lines)), *map(_said, history.lines)], end)


def _welcome(welcome: Welcome, end: str) -> str:
    lines = [
        f"welcome to {welcome.room}, {welcome.name}; /help lists the commands",
        words.here(welcome.people, welcome.names),
    ]
    if welcome.history:
        lines.append(words.last(len(welcome.history)))
        lines.extend(map(_said, welcome.history))
    return _starred(lines, end)


def _delivered(done: Delivered, end: str) -> str:
    return _starred([words.delivered(done.to, done.text)], end) if done.to else ""


_WRITERS: dict[type, Callable[[Any, str], str]] = {
    Message: lambda message, end: words.message(message.name, message.text) + end,
    Action: lambda action, end: words.action(action.name, action.text) + end,
    Joined: lambda joined, end: words.joined(joined.name) + end,
    Left: lambda left, end: words.left(left.name) + end,
    Renamed: lambda renamed, end: words.renamed(renamed.name, renamed.new_name) + end,
    Private: lambda private, end: words.private(private.name, private.text) + end,
    Returned: lambda _, __: "",  # the gateway's own business
    Replaced: lambda _, __: "",  # likewise
    Notice: lambda notice, end: _starred(notice.text.split("\n"), end),
    Summary: lambda counts, end: _starred([words.summary(counts.joined, counts.left)], end),
    Missed: lambda _, end: _starred([words.MISSED], end),
    NamePrompt: lambda _, __: "Enter your name: ",
    Welcome: _welcome,
    People: lambda found, end: _starred([words.people(found.room, found.names)], end),
    RoomList: lambda found, end: _starred(words.rooms(found.rooms), end),
    History: _history,
    Delivered: _delivered,
    Pong: lambda _, end: _starred(["pong"], end),
    type(None): lambda _, __: "",  # an event that only a newer version knows
}


class _Ends(Enum):
    """What is known about the line ends of a client."""

    UNKNOWN = auto()
    """Nothing has come yet."""
    DOUBTED = auto()
    """The first read looked like a name without a line end."""
    NONE = auto()
    """Silence followed: silence ends this client's lines."""
    SENT = auto()
    """It sends them, or is taken to; this stays."""


class LineFront:
    """Reads lines for one connection.

    ``detect_unended`` is for clients that send no line ends at all
    (``--framing auto``).
    """

    __slots__ = ("_ends", "_lines", "_max_line_bytes", "_telnet", "encoding", "naming")

    asks_again = True

    def __init__(self, *, max_line_bytes: int, detect_unended: bool) -> None:
        self.naming = True
        self.encoding = LF
        """``LF`` until the client sends a CRLF, ``CRLF`` from then on."""
        self._max_line_bytes = max_line_bytes
        self._telnet: TelnetFilter | None = None  # from the first byte on that looks like it
        self._lines = LineBuffer(max_line_bytes)
        self._ends = _Ends.UNKNOWN if detect_unended else _Ends.SENT

    @property
    def silence_s(self) -> float | None:
        if self._ends is _Ends.DOUBTED:
            return _UNENDED_NAME_S
        if self._ends is _Ends.NONE and self._lines.pending:
            return _UNENDED_LINE_S
        return None

    @property
    def pending(self) -> bool:
        return len(self._lines) > 0

    @property
    def unread(self) -> bytes:
        return bytes(self._lines)

    def feed(self, data: bytes) -> bytes:
        if not self._telnet and not TelnetFilter.cares_for(data):
            self._take(data)
            return b""
        self._telnet = self._telnet or TelnetFilter()
        self._take(self._telnet.feed(data))
        return bytes(self._telnet.answers)

    def _take(self, text: bytes) -> None:
        if not text:
            return
        self._lines.feed(text)
        if self._lines.crlf:
            self.encoding = CRLF
        if self._ends is _Ends.SENT:
            return
        if b"\n" in text:
            self._ends = _Ends.SENT
        elif self._ends is _Ends.UNKNOWN:
            # One byte is somebody typing in character mode, a "{" the start of JSON.
            unended = len(text) >= 2 and not text.startswith(b"{")
            self._ends = _Ends.DOUBTED if unended else _Ends.SENT

    def next(self) -> Command | None:
        """The next line's command; blank lines count only as answers to the name prompt."""
        while True:
            try:
                line = self._lines.next()
                if line is None:
                    return None
                text = clean_line(line.decode())
            except LineTooLong:
                return Problem(
                    f"line too long (over {self._max_line_bytes} bytes), not sent", "too_long"
                )
            except UnicodeDecodeError:
                return Problem("that line was not UTF-8, not sent")
            if self.naming:
                return GiveName(text)
            if text:
                return parse(text)

    def silence(self) -> None:
        if self.silence_s is not None:
            self._ends = _Ends.NONE
            self._lines.end_line()

    def eof(self) -> None:
        self._ends = _Ends.SENT
        self._lines.end_line()
