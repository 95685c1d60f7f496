"""Who may speak now, and who has to wait; those who waited do it in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.broker.flood import Flood
from gateway.broker.outbox import Outbox

if TYPE_CHECKING:
    from gateway.seats.seat import Seat


class Speakers:
    """The seats that are not read: the outbox is full, or they have a part in a flood.

    Listeners notice nothing.
    """

    def __init__(self, outbox: Outbox, most_bytes: int, flood: Flood) -> None:
        self._outbox = outbox
        self._most_bytes = most_bytes
        self._flood = flood
        self._hurries = False
        self._waiting: dict[Seat, None] = {}  # in turn
        flood.on_gathered = self.go_on

    @property
    def kept_waiting(self) -> int:
        """How many wait because the outbox is full."""
        return len(self._waiting) if self._full else 0

    @property
    def _full(self) -> bool:
        return self._outbox.size_bytes >= self._most_bytes

    @property
    def _floods(self) -> bool:
        return self._flood.gathers and not self._hurries

    def admits(self, outstanding: int) -> bool:
        """Whether one is to be read that has so many lines in the outbox."""
        return not (self._full or (outstanding and self._floods))

    def hurry(self) -> None:
        """The gateway leaves service: what was said is to be taken now, flood or not."""
        self._hurries = True
        self.go_on()

    def wait(self, seat: Seat) -> None:
        """Have the seat pumped when it is its turn."""
        self._waiting[seat] = None

    def go_on(self) -> None:
        """Let those go on for whom there is room (again)."""
        while self._waiting and not (self._full or self._floods):
            seat = next(iter(self._waiting))
            del self._waiting[seat]
            seat.pump()

    def gone(self, seat: Seat) -> None:
        """It does not wait any more."""
        self._waiting.pop(seat, None)
