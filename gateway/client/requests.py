"""What a program asks of the chat, and how a gateway says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.client.events import Event


class ChatError(Exception):
    """A gateway refused something; ``code`` is stable and ``text`` is for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Refused(ChatError):
    """This name can't be in this room: there is no chat, or no more."""


class NoChat(OSError):
    """Somebody answers at the address, but no chat does."""


Answered = Callable[[Event | ChatError], None]


@dataclass(slots=True, eq=False)
class Request:
    """Something asked and not answered.  ``ref`` is '' for what is answered by its type."""

    kind: str
    fields: dict[str, str | int]
    ref: str
    line: bytes
    answered: Answered
    sent_at: float | None = None
    """When it was first sent: from then on it may have been done."""
    repeated: bool = False
    """Sent on an earlier connection, too."""
