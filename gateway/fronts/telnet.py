"""Telnet's own bytes taken out of what a client sends (RFC 854, RFC 855).

Only takes out and never answers: a client whose offers stay unanswered goes
on as a plain terminal.  Knows no lines and holds no bytes, only where in a
command it is, so a command may be split anywhere and a subnegotiation may be
of any length.
"""

from __future__ import annotations

from enum import Enum, auto

_SB, _WILL, _DONT, _IAC = 250, 251, 254, 255


class _At(Enum):
    """What the next byte is."""

    TEXT = auto()
    COMMAND = auto()
    """After IAC."""
    OPTION = auto()
    """After IAC WILL, WONT, DO or DONT."""
    SUB = auto()
    """After IAC SB, up to IAC SE."""
    SUB_COMMAND = auto()
    """After an IAC inside a subnegotiation."""


class TelnetFilter:
    """Reads for one connection; a text without telnet bytes passes through as it is."""

    __slots__ = ("_after_cr", "_at")

    def __init__(self) -> None:
        self._at = _At.TEXT
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """The text in ``data``: commands taken out, IAC IAC as one byte 255, CR NUL as CR LF.

        UTF-8 has no byte 255, so nothing of a text is ever taken for a command.
        """
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
                if iac >= 0:
                    self._at = _At.COMMAND if self._at is _At.TEXT else _At.SUB_COMMAND
                here = until + 1
                continue
            byte = data[here]
            here += 1
            if self._at is _At.COMMAND and byte == _IAC:
                text.append(_IAC)
            self._at = self._after(byte)
        return bytes(text)

    def _after(self, byte: int) -> _At:
        """What comes after ``byte``, which is not text and not in a subnegotiation."""
        if self._at is _At.OPTION:
            return _At.TEXT
        if self._at is _At.SUB_COMMAND and byte == _IAC:
            return _At.SUB
        # Any other command ends a subnegotiation too: its IAC SE was forgotten.
        if byte == _SB:
            return _At.SUB
        if _WILL <= byte <= _DONT:
            return _At.OPTION
        return _At.TEXT  # IAC SE, IAC NOP, IAC IAC …
