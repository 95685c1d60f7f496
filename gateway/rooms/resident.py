"""What a room needs of who is in it.  Knows no room and no socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.broker.outbox import Holder
from gateway.chat.events import GatewayId
from gateway.rooms.replay import Follower


class Resident(Follower, Protocol):
    """A session's place in a room: can be sent to, and is told what became of it."""

    @property
    def holder(self) -> Holder: ...

    @property
    def name(self) -> str: ...

    @property
    def last_name(self) -> str:
        """The name that the room will know when what was published has been applied."""
        ...

    @property
    def resume_at(self) -> tuple[str, int] | None:
        """The epoch and the last offset that it has; None for a newcomer."""

    def joined(self, people: int) -> None:
        """The relay reached its ``joined``: it is a member now."""

    def took_over(self, before: GatewayId) -> None:
        """Its session was a member by another gateway until now, which is to be told."""

    def left(self, epoch: str, offset: int) -> None:
        """Its membership ended at that place of the log, whoever said so."""

    def renamed(self, name: str) -> None:
        """The relay reached its ``renamed``."""

    def missed(self, lost: Callable[[int], bool]) -> None:
        """Events were lost: what it said, and Redis confirmed, at a ``lost`` offset is one."""

    def refused(self) -> None:
        """It can't be a member: a newer holder of the same session is."""
