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
    Envelope,
    Joined,
    Left,
    Message,
    Missed,
    NamePrompt,
    Notice,
    Renamed,
    Said,
    Summary,
    Told,
    Welcome,
)
from gateway.chat.text import clean_line
from gateway.fronts.telnet import TelnetFilter

_UNENDED_NAME_S = 1.0
_UNENDED_LINE_S = 0.1


class LineEncoding:
    """Writes lines that end in ``end``.  There are two: ``LF`` and ``CRLF``."""

    __slots__ = ("end",)

    def __init__(self, end: str) -> None:
        self.end = end

    def encode(self, item: Envelope | Told) -> bytes:
        """The line or lines for ``item``, each with its end; the name prompt has none."""
        what = item.event if type(item) is Envelope else item
        return _WRITERS[type(what)](what, self.end).encode()

    def encode_own(self, envelope: Envelope) -> bytes:
        """Only a new name: what one said stands on one's screen, and joining has a welcome."""
        if isinstance(envelope.event, Renamed):
            return f"* you are now known as {envelope.event.new_name}{self.end}".encode()
        return b""


LF = LineEncoding("\n")
CRLF = LineEncoding("\r\n")


def _starred(lines: Iterable[str], end: str) -> str:
    return "".join(f"* {line}{end}" for line in lines)


def _summary(summary: Summary, end: str) -> str:
    parts = ((summary.joined, "joined"), (summary.left, "left"))
    return _starred([", ".join(f"{count} {what}" for count, what in parts if count)], end)


def _said(said: Said) -> str:
    at = datetime.fromtimestamp(said.at_ms / 1000, UTC)
    return f"{at:%H:%M} {_WRITERS[type(said.event)](said.event, '')}"


def _welcome(welcome: Welcome, end: str) -> str:
    lines = [f"welcome to {welcome.room}, {welcome.name}; /help lists the commands"]
    if welcome.history:
        lines.append(f"last {len(welcome.history)} lines:")
        lines.extend(map(_said, welcome.history))
    if welcome.people <= 1:
        lines.append("you are alone here")
    elif welcome.names:
        lines.append(f"here now: {', '.join(welcome.names)}")
    else:
        lines.append(f"{welcome.people} people are here")
    return _starred(lines, end)


_WRITERS: dict[type, Callable[[Any, str], str]] = {
    Message: lambda message, end: f"{message.name}: {message.text}{end}",
    Action: lambda action, end: f"** {action.name} {action.text}{end}",
    Joined: lambda joined, end: f"{joined.name} joined the chat{end}",
    Left: lambda left, end: f"{left.name} has left the chat{end}",
    Renamed: lambda renamed, end: f"{renamed.name} is now known as {renamed.new_name}{end}",
    Notice: lambda notice, end: _starred(notice.text.split("\n"), end),
    Summary: _summary,
    Missed: lambda _, end: f"* some messages were missed{end}",
    NamePrompt: lambda _, __: "Enter your name: ",
    Welcome: _welcome,
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

    Holds at most a line of ``max_line_bytes`` and the last read, if ``next``
    is asked until it gives None before more is fed.  ``detect_unended`` is
    for clients that send no line ends at all (``--framing auto``).
    """

    __slots__ = (
        "_buffer",
        "_dropping",
        "_encoding",
        "_ends",
        "_max_line_bytes",
        "_scanned",
        "_telnet",
        "naming",
    )

    def __init__(self, *, max_line_bytes: int, detect_unended: bool) -> None:
        self.naming = True
        self._max_line_bytes = max_line_bytes
        self._telnet = TelnetFilter()
        self._encoding = LF
        self._ends = _Ends.UNKNOWN if detect_unended else _Ends.SENT
        # What came and was not asked for.  Its first _scanned bytes hold no line end.
        self._buffer = bytearray()
        self._scanned = 0
        # Whether the line that the buffer starts with is too long, as its sender was told.
        self._dropping = False

    @property
    def encoding(self) -> LineEncoding:
        """``LF`` until the client sends a CRLF, ``CRLF`` from then on."""
        return self._encoding

    @property
    def silence_s(self) -> float | None:
        if self._ends is _Ends.DOUBTED:
            return _UNENDED_NAME_S
        if self._ends is _Ends.NONE and self._pending():
            return _UNENDED_LINE_S
        return None

    def feed(self, data: bytes) -> None:
        text = self._telnet.feed(data)
        if not text:
            return
        before = len(self._buffer)
        self._buffer += text
        if self._encoding is LF and self._buffer.find(b"\r\n", max(before - 1, 0)) >= 0:
            self._encoding = CRLF
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
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._scanned)) >= 0:
            line = buffer[:end]
            # Moves the buffer's start, not its bytes: many lines in one read stay cheap.
            del buffer[: end + 1]
            self._scanned = 0
            if self._dropping:
                self._dropping = False
            elif (command := self._command(line)) is not None:
                return command
        over = not self._dropping and self._too_long(buffer)
        if over:
            self._dropping = True
        if self._dropping:
            # The last byte stays: it may be the CR of a CRLF.
            del buffer[:-1]
        self._scanned = len(buffer)
        return self._too_long_problem() if over else None

    def silence(self) -> None:
        if self.silence_s is not None:
            self._ends = _Ends.NONE
            self._end_line()

    def eof(self) -> None:
        self._ends = _Ends.SENT
        self._end_line()

    def _pending(self) -> bool:
        """Whether the last bytes are a line without its end."""
        return bool(self._buffer) and not self._buffer.endswith(b"\n")

    def _end_line(self) -> None:
        if self._pending():
            self._buffer += b"\n"

    def _command(self, line: bytearray) -> Command | None:
        """What ``line`` asks for; None for a blank one.  May still end in a CR."""
        if self._too_long(line):
            return self._too_long_problem()
        try:
            text = clean_line(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            return Problem("that line was not UTF-8, not sent")
        if self.naming:
            return GiveName(text)
        return parse(text) if text else None

    def _too_long(self, line: bytearray) -> bool:
        return len(line) - line.endswith(b"\r") > self._max_line_bytes

    def _too_long_problem(self) -> Problem:
        return Problem(f"line too long (over {self._max_line_bytes} bytes), not sent")
