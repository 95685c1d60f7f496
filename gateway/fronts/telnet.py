"""Telnet's own bytes taken out of what a client sends (RFC 854, RFC 855).

Answers only a question for a timing mark (RFC 860), as BSD's telnetd does: after
Ctrl-C ``telnet`` shows nothing until that has come.  A client whose offers stay
unanswered goes on as a plain terminal.  Knows no lines and holds no more than the two bytes
that a command starts with, so a command may be split anywhere.
"""

from __future__ import annotations

from enum import Enum, auto

_SE, _SB, _WILL, _DO, _DONT, _IAC = 240, 250, 251, 253, 254, 255
_TIMING_MARK = 6
_LINE_ENDS = b"\r\n"

MAX_SUB_BYTES = 512
"""The longest subnegotiation, as in BSD's telnetd (its ``SUBBUFSIZE``).

What follows is text again, as in libtelnet: a client that never ends one, be it by
chance, would be mute for good.  It can't end with a line: a byte of it may be a
window's 10 rows (RFC 1073)."""


class _At(Enum):
    """What the next byte is."""

    TEXT = auto()
    COMMAND = auto()
    """After IAC."""
    OPTION = auto()
    """After IAC and SB, WILL, WONT, DO or DONT."""
    SUB = auto()
    """After IAC SB and its option, up to IAC SE."""
    SUB_COMMAND = auto()
    """After an IAC inside a subnegotiation."""


class TelnetFilter:
    """Reads for one connection; a text without telnet bytes passes through as it is."""

    __slots__ = ("_after_cr", "_at", "_sub_bytes", "_verb", "answers")

    def __init__(self) -> None:
        self._at = _At.TEXT
        self._verb = 0  # what of a command stands before its option
        self._sub_bytes = 0  # of the subnegotiation up to here
        self._after_cr = False
        self.answers = bytearray()
        """What the client is to be sent for what the last ``feed`` took out."""

    @staticmethod
    def cares_for(data: bytes) -> bool:
        """Whether a new filter would change ``data``, or remember anything of it."""
        return _IAC in data or 0 in data or data.endswith(b"\r")

    def feed(self, data: bytes) -> bytes:
        """The text in ``data``: commands taken out, IAC IAC as one byte 255, CR NUL as CR LF.

        UTF-8 has no byte 255, so nothing of a text is ever taken for a command.  What starts
        like a command and is none stays: with its byte 255 the line is no UTF-8, and told to
        be none.  Of a subnegotiation that is too long that byte stays, to the same end.
        Outside of subnegotiations no end of a line is ever taken out.
        """
        self.answers = bytearray()
        if self._at is not _At.TEXT or _IAC in data:
            data = self._without_commands(data)
        if not data:
            return data
        # A terminal in character mode sends its return key as CR NUL (RFC 1123, 3.3.1).
        if 0 in data:
            if self._after_cr and data[0] == 0:
                data = b"\n" + data[1:]
            data = data.replace(b"\r\0", b"\r\n")
        self._after_cr = data.endswith(b"\r")
        return data

    def _without_commands(self, data: bytes) -> bytes:
        text = bytearray()
        here = 0
        while here < len(data):
            if self._at is _At.TEXT or self._at is _At.SUB:
                iac = data.find(_IAC, here)
                until = len(data) if iac < 0 else iac
                if self._at is _At.TEXT:
                    text += data[here:until]
                else:
                    self._sub_bytes += until - here
                    if self._sub_bytes > MAX_SUB_BYTES:
                        here = max(here, until - (self._sub_bytes - MAX_SUB_BYTES))
                        text.append(_IAC)
                        self._at = _At.TEXT
                        continue
                if iac >= 0:
                    self._at = _At.COMMAND if self._at is _At.TEXT else _At.SUB_COMMAND
                here = until + 1
                continue
            text += self._option(data[here]) if self._at is _At.OPTION else self._code(data[here])
            here += 1
        return bytes(text)

    def _code(self, byte: int) -> bytes:
        """Take the byte after an IAC; what of the two is text."""
        inside, self._at = self._at is _At.SUB_COMMAND, _At.TEXT
        if byte == _IAC:
            self._at = _At.SUB if inside else _At.TEXT
            self._sub_bytes += 1
            return b"" if inside else b"\xff"
        if byte < _SE:
            return bytes((_IAC, byte))
        # Any other command ends a subnegotiation too: its IAC SE was forgotten.
        if _SB <= byte <= _DONT:
            self._at, self._verb = _At.OPTION, byte
        return b""  # IAC SE, IAC NOP, …

    def _option(self, byte: int) -> bytes:
        """Take the byte after SB, WILL, WONT, DO or DONT; what of the three is text."""
        # 10 and 13 were options once, how to print LF and FF (RFC 652, RFC 655): nobody
        # sends them, but a line of bytes that are not telnet may well end here.
        if byte in _LINE_ENDS or _SE <= byte < _IAC:
            self._at = _At.TEXT
            return bytes((_IAC, self._verb, byte))
        if self._verb == _SB:
            self._sub_bytes = 0
            self._at = _At.SUB_COMMAND if byte == _IAC else _At.SUB
        else:
            self._at = _At.TEXT
            if self._verb == _DO and byte == _TIMING_MARK:
                self.answers += bytes((_IAC, _WILL, _TIMING_MARK))
        return b""
