"""How a kind of client speaks: bytes to commands, events to bytes, without I/O.

A ``Front`` reads for one connection and keeps state; an ``Encoding`` writes
for all connections that speak alike and keeps none, so that what a room hears
is encoded once for each encoding and not once for each member.
"""

from __future__ import annotations

from typing import Protocol

from gateway.chat.commands import Command
from gateway.chat.events import Envelope, Told


class Encoding(Protocol):
    """Turns what a client is sent into bytes.  Stateless; one object for all who share it."""

    def encode(self, item: Envelope | Told, room: str = "") -> bytes:
        """For everybody but the one whose doing it is; b'' for what need not be said.

        ``room`` is the one where it happened.
        """
        ...

    def encode_own(self, envelope: Envelope, room: str = "") -> bytes:
        """For the one whose doing it is, in the place of the event."""
        ...


class Front(Protocol):
    """Turns what a client sends into commands.  One object a connection."""

    naming: bool
    """True while the next line answers the name prompt."""

    asks_again: bool
    """Whether a refused name is asked for again.  A program is told why, and closed."""

    @property
    def encoding(self) -> Encoding:
        """How to answer this client.  It may change after a ``feed``."""
        ...

    @property
    def silence_s(self) -> float | None:
        """After how much silence ``silence()`` is to be called; None: never."""
        ...

    @property
    def pending(self) -> bool:
        """Whether bytes are here that may hold a command."""
        ...

    @property
    def unread(self) -> bytes:
        """What was fed and did not come from ``next`` yet, telnet bytes taken out."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; what is to be sent for them at once, mostly nothing.

        Never fails; what is wrong with them comes from ``next``.
        """
        ...

    def next(self) -> Command | None:
        """The next command, or None if there is no whole one.

        One at a time, so that a client's rate is held by not asking.
        """
        ...

    def silence(self) -> None:
        """Nothing came for ``silence_s``; ``next`` may have something now."""
        ...

    def eof(self) -> None:
        """Nothing will come; the last unended line counts."""
        ...
