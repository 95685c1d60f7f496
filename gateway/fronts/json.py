"""The JSON front: JSON Lines of programs, on the same port.

A client whose first line is a JSON object speaks it from then on; see "The
JSON front" in the design, and ``schema.json`` for every line of it.  Knows no
socket, no clock and no room; how programs are answered is in ``json_encoding``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.chat import commands
from gateway.chat.commands import Command, Problem
from gateway.chat.events import Ref
from gateway.chat.text import clean_line
from gateway.fronts.framing import LineBuffer, LineTooLong
from gateway.fronts.json_encoding import JSON, JsonEncoding

_MIN_SECRET_CHARACTERS = 22
"""128 bits in base64; in hexadecimal it takes 32."""
_MAX_SECRET_CHARACTERS = 256
_MAX_NUMBER = 2**63 - 1
"""Room for a clock's nanoseconds."""
_REF = re.compile(r"[1-9][0-9]{0,18}")
MAX_ECHO_CHARACTERS = 64
"""What of a ref is told with an error: any that is good, and of others so much."""


def line_limit(max_line_bytes: int) -> int:
    """How long a line may be for a text of ``max_line_bytes``: escapes make it longer."""
    return 4 * max_line_bytes + 1024


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a client; members that are not known are ignored."""

    ref: Any = msgspec.UNSET


class _HelloLine(msgspec.Struct, frozen=True):
    """The first line.  What is wrong with it ends the connection, so it needs no ref."""

    name: str
    room: str = ""
    session: str = ""
    epoch: str = ""
    after: int | None = None


class _Say(_Request, frozen=True, tag="say"):
    text: str


class _Me(_Request, frozen=True, tag="me"):
    text: str


class _Msg(_Request, frozen=True, tag="msg"):
    to: str
    text: str


class _Join(_Request, frozen=True, tag="join"):
    room: str


class _Leave(_Request, frozen=True, tag="leave"):
    pass


class _Nick(_Request, frozen=True, tag="nick"):
    name: str


class _Who(_Request, frozen=True, tag="who"):
    room: str = ""


class _Rooms(_Request, frozen=True, tag="rooms"):
    pass


class _History(_Request, frozen=True, tag="history"):
    count: int | msgspec.UnsetType = msgspec.UNSET


class _Ping(_Request, frozen=True, tag="ping"):
    pass


class _Quit(_Request, frozen=True, tag="quit"):
    pass


_hello = msgspec.json.Decoder(_HelloLine)
_request = msgspec.json.Decoder(
    _Say | _Me | _Msg | _Join | _Leave | _Nick | _Who | _Rooms | _History | _Ping | _Quit
)


class _BadRequest(ValueError):
    """A line that is JSON but can't be done; its text tells the client why."""


def _number(ref: Any) -> int:
    """A client's own number of what it says, as a string or a number; 0 if it gave none.

    Only the one spelling that an answer has: who looks for ``"07"`` would not find ``"7"``.
    """
    if ref is msgspec.UNSET:
        return 0
    text = str(ref)
    if not _REF.fullmatch(text) or int(text) > _MAX_NUMBER:
        raise _BadRequest(f"ref is not a decimal number from 1 to {_MAX_NUMBER}")
    return int(text)


def _echo(line: bytearray) -> str:
    """The ref of any line, good or bad, as it is told with an error; '' if none can be read.

    Python's own parser takes more than JSON is, halves of surrogate pairs for one, and
    leaves numbers as they were written.
    """
    try:
        members = json.loads(
            line.decode(errors="replace"), parse_int=str, parse_float=str, parse_constant=str
        )
    except (ValueError, RecursionError):
        return ""
    ref = members.get("ref") if isinstance(members, dict) else None
    if not isinstance(ref, str):
        return ""
    return ref[:MAX_ECHO_CHARACTERS].encode(errors="replace").decode()


def _count(count: int | msgspec.UnsetType) -> str:
    if count is msgspec.UNSET:
        return ""
    if count < 1:
        raise _BadRequest("count is not a number from 1 on")
    return str(count)


_COMMANDS: dict[type, Callable[[Any, Ref], Command]] = {
    _Join: lambda r, ref: commands.Join(r.room, ref),
    _Leave: lambda _, ref: commands.Leave(ref),
    _Nick: lambda r, ref: commands.Nick(r.name, ref),
    _Who: lambda r, ref: commands.Who(r.room, ref),
    _Rooms: lambda _, ref: commands.Rooms(ref),
    _History: lambda r, ref: commands.History(_count(r.count), ref),
    _Ping: lambda _, __: commands.Ping(),
    _Quit: lambda _, __: commands.Quit(),
}


class JsonFront:
    """Reads JSON Lines for one connection."""

    __slots__ = ("_lines", "_max_line_bytes", "naming")

    asks_again = False
    silence_s = None

    def __init__(self, *, max_line_bytes: int) -> None:
        self.naming = True
        self._max_line_bytes = max_line_bytes
        self._lines = LineBuffer(line_limit(max_line_bytes))

    @property
    def encoding(self) -> JsonEncoding:
        return JSON

    @property
    def pending(self) -> bool:
        return len(self._lines) > 0

    @property
    def unread(self) -> bytes:
        return bytes(self._lines)

    def feed(self, data: bytes) -> bytes:
        self._lines.feed(data)
        return b""

    def next(self) -> Command | None:
        """The next line's command; blank lines are passed over."""
        while True:
            try:
                line = self._lines.next()
            except LineTooLong:
                return Problem("the line is too long", "too_long")
            if line is None:
                return None
            if line.strip():
                return self._command(line)

    def silence(self) -> None:
        """Silence means nothing here."""

    def eof(self) -> None:
        self._lines.end_line()

    def _command(self, line: bytearray) -> Command:
        try:
            if self.naming:
                return self._greeting(_hello.decode(line))
            return self._asked(_request.decode(line), line)
        except _BadRequest as error:
            return Problem(str(error), "bad_request", _echo(line))
        except msgspec.ValidationError as error:
            code = "unknown_type" if "Invalid value" in str(error) else "bad_request"
            return Problem(str(error), code, _echo(line))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return Problem(f"not a line of JSON: {error}", "bad_json", _echo(line))

    def _asked(self, request: _Request, line: bytearray) -> Command:
        if not isinstance(request, _Say | _Me | _Msg):
            # Nothing is done by these refs, so they need not be numbers.
            ref: Ref = 0 if request.ref is msgspec.UNSET else _echo(line)
            return _COMMANDS[type(request)](request, ref)
        number = _number(request.ref)
        text = clean_line(request.text)
        if not text:
            return Problem("text is empty", "bad_request", number)
        if len(text.encode()) > self._max_line_bytes:
            return Problem(f"text is over {self._max_line_bytes} bytes", "too_long", number)
        if isinstance(request, _Msg):
            return commands.Msg(request.to, text, number)
        return (commands.Say if isinstance(request, _Say) else commands.Me)(text, number)

    def _greeting(self, hello: _HelloLine) -> Command:
        long_enough = _MIN_SECRET_CHARACTERS <= len(hello.session) <= _MAX_SECRET_CHARACTERS
        if hello.session and not long_enough:
            raise _BadRequest(
                f"session is not a secret of {_MIN_SECRET_CHARACTERS}"
                f" to {_MAX_SECRET_CHARACTERS} characters"
            )
        if hello.after is not None and not 0 <= hello.after <= _MAX_NUMBER:
            raise _BadRequest("after is not an offset")
        return commands.Hello(
            clean_line(hello.name), hello.room, hello.session, hello.epoch, hello.after
        )
