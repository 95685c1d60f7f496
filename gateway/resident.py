"""What a room needs of who is in it.  Knows no room and no socket."""

from __future__ import annotations

from typing import Protocol

from gateway.broker.outbox import Holder
from gateway.chat.events import Envelope, GatewayId
from gateway.hub import Member


class Resident(Member, Protocol):
    """A session's place in a room: can be sent to, and is told what became of it."""

    replaces: GatewayId
    """The gateway that had the membership until now; '' if none."""

    @property
    def holder(self) -> Holder: ...

    @property
    def name(self) -> str: ...

    @property
    def last_name(self) -> str:
        """The name that the room will know when what was published has been applied."""
        ...

    @property
    def stalled(self) -> bool:
        """Whether it has not taken yet what it was sent."""
        ...

    @property
    def resume(self) -> tuple[str, int] | None:
        """The epoch and the last offset that it has; None for a newcomer."""

    def joined(self, people: int) -> None:
        """The relay reached its ``joined``: it is a member now."""

    def left(self, at: Envelope) -> None:
        """The relay reached its ``left``, whoever said it."""

    def renamed(self, name: str) -> None:
        """The relay reached its ``renamed``."""

    def jumped(self) -> None:
        """The relay passed over events that nobody will see: a ``renamed`` can be among them."""

    def refused(self) -> None:
        """It can't be a member: a newer holder of the same session is."""
