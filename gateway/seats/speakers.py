"""Who may speak: everybody while the outbox takes more, then those who wait, in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.broker.outbox import Outbox

if TYPE_CHECKING:
    from gateway.seats.seat import Seat


class Speakers:
    """The seats that are not read because the outbox is full.  Listeners notice nothing."""

    def __init__(self, outbox: Outbox, most_bytes: int) -> None:
        self._outbox = outbox
        self._most_bytes = most_bytes
        self._waiting: dict[Seat, None] = {}  # in turn

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def admitted(self) -> bool:
        """Whether the outbox takes more."""
        return self._outbox.size_bytes < self._most_bytes

    def wait(self, seat: Seat) -> None:
        """Have the seat pumped when it is its turn."""
        self._waiting[seat] = None

    def go_on(self) -> None:
        """Something left the outbox: let those go on for whom there is room again."""
        while self._waiting and self.admitted:
            seat = next(iter(self._waiting))
            del self._waiting[seat]
            seat.pump()

    def gone(self, seat: Seat) -> None:
        """It does not wait any more."""
        self._waiting.pop(seat, None)
