"""What comes over one connection, as events: lines put together, and what stands before them.

Knows how a gateway begins, and nothing of what its lines mean together.
"""

from __future__ import annotations

from gateway.client.events import Event, decode

MAX_LINE_BYTES = 4 * 2**20
"""A longer line from the server is skipped and told as such."""

_PROMPT = b"Enter your name: "
_GREETINGS = (_PROMPT, b"* ")
"""What a gateway says first: the prompt, or a line for people about why there is none."""
_MOST_OF_A_GREETING = 1024


class Incoming:
    """One connection's: bytes in, events out."""

    def __init__(self) -> None:
        self.greeted: bool | None = None
        """Whether what came first was said by a chat; None while that can't be told."""
        self._buffer = bytearray()
        self._scanned = 0
        self._skipping = False
        self._first: bytes | None = None  # the line before the JSON

    @property
    def greeting(self) -> str:
        """What was said first, but for the prompt, which ends that line for programs."""
        first = self._buffer[:_MOST_OF_A_GREETING] if self._first is None else self._first
        return first.decode(errors="replace").removeprefix(_PROMPT.decode().rstrip()).strip(" \r*")

    def feed(self, data: bytes) -> list[Event | None]:
        """The events that ``data`` completes; None for a line that was too long to be kept.

        What only a newer client knows is passed over.
        """
        events: list[Event | None] = []
        buffer = self._buffer
        buffer += data
        if self.greeted is None:
            self._look_at_first()
        while (end := buffer.find(b"\n", self._scanned)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            self._scanned = 0
            if self._skipping:
                self._skipping = False
                events.append(None)
            elif self._first is None:
                self._first = line
            elif event := decode(line):
                events.append(event)
        self._skipping |= len(buffer) > MAX_LINE_BYTES
        if self._skipping:
            buffer.clear()
        self._scanned = len(buffer)
        return events

    def _look_at_first(self) -> None:
        if any(self._buffer.startswith(greeting) for greeting in _GREETINGS):
            self.greeted = True
        elif not any(greeting.startswith(self._buffer) for greeting in _GREETINGS):
            self.greeted = False
