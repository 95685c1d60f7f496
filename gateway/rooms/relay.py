"""One room's events in the order of its log: each once, none left out unnoticed.

Pure logic.  Takes what pub/sub brings (which may lack, repeat or reorder
anything) and what is read from the log, and gives out what the members are
to be told.  Knows no Redis, no members and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.chat.events import Envelope, Missed


@dataclass(frozen=True, slots=True)
class Reading:
    """What ``scripts/sync.lua`` read of a log.

    ``offset`` is the log's last one; ``at_known`` the line at the relay's own
    last offset, b'' if there is none; ``envelopes`` what follows it, as far as
    it was read; ``at_last`` the line at ``offset``, b'' if there is none.
    """

    epoch: str
    offset: int
    at_known: bytes
    envelopes: Sequence[Envelope]
    at_last: bytes = b""


@dataclass(slots=True)
class Counts:
    """What befell the relays of a gateway."""

    holes: int = 0
    filled: int = 0
    unfillable: int = 0
    hold_overflows: int = 0


class Relay:
    """Where one room's delivery stands.

    While ``behind``, events are held until the log has been read: call
    ``read`` with what follows ``epoch`` and ``offset`` there, until it is not
    ``behind`` any more.  A new relay is behind.
    """

    __slots__ = (
        "_asked_with",
        "_counts",
        "_dropped",
        "_held",
        "_held_bytes",
        "_hold_bytes",
        "_line",
        "behind",
        "epoch",
        "logs",
        "offset",
    )

    def __init__(self, *, hold_bytes: int, counts: Counts) -> None:
        self.epoch = ""
        self.offset = 0
        self.behind = True
        self.logs = 0
        """How many were followed: a new one is another one's end."""
        self._line = b""  # at offset; b'' if not known
        self._held: list[Envelope] = []
        self._held_bytes = 0
        self._asked_with = 0  # so many were held when the log was asked
        self._dropped = False  # something came that was not held
        self._hold_bytes = hold_bytes
        self._counts = counts

    def take(self, envelopes: Iterable[Envelope]) -> list[Envelope | Missed]:
        """What pub/sub brought.  Returns what can be delivered now, in order."""
        out: list[Envelope | Missed] = []
        for envelope in envelopes:
            if self.behind:
                self._hold(envelope)
            elif self._follows(envelope):
                self._advance(envelope, out)
            else:
                # A hole, an event seen already, or another log: the log itself tells which.
                if envelope.epoch == self.epoch and envelope.offset > self.offset:
                    self._counts.holes += 1
                self.behind = True
                self._hold(envelope)
        return out

    def asked(self) -> None:
        """The log is being asked: until ``read``, what comes is held."""
        self.behind, self._asked_with = True, len(self._held)

    def read(self, reading: Reading) -> list[Envelope | Missed]:
        """What the log says.  Returns what can be delivered now, in order."""
        out: list[Envelope | Missed] = []
        self.behind = False
        if not self.epoch:
            self.logs += 1
            self._jump_to_end(reading)
        elif reading.epoch != self.epoch:
            # All of the new log is news; what the old one still held is gone.
            self.logs += 1
            self._miss(out)
            self.epoch, self.offset, self._line = reading.epoch, 0, b""
            self._replay(reading, out)
        elif self._is_other_log(reading):
            self.logs += 1
            self._miss(out)
            self._jump_to_end(reading)
        else:
            self._replay(reading, out)
        if not self.behind:
            self._drop_unreal(reading.offset)
            self._release_held(out)
        if self._dropped:
            # It may have come after this reading: only another one tells.
            self._dropped, self.behind = False, True
        return out

    def _is_other_log(self, reading: Reading) -> bool:
        """Same epoch, but not the log that was delivered: a failover lost writes."""
        if reading.offset < self.offset:
            return True
        return bool(self._line and reading.at_known and reading.at_known != self._line)

    def _replay(self, reading: Reading, out: list[Envelope | Missed]) -> None:
        for envelope in reading.envelopes:
            if envelope.offset > self.offset + 1:
                self._miss(out)  # older than the log reaches
            self._counts.filled += 1
            self._advance(envelope, out)
        if self.offset < reading.offset:
            if reading.envelopes:
                self.behind = True  # there is more to read
            else:
                self._miss(out)
                self._jump_to_end(reading)

    def _drop_unreal(self, end: int) -> None:
        """What was held when the log was asked, and is none of its lines, was of another log."""
        before, after = self._held[: self._asked_with], self._held[self._asked_with :]
        self._held = [envelope for envelope in before if envelope.offset <= end] + after
        self._asked_with = 0

    def _release_held(self, out: list[Envelope | Missed]) -> None:
        held = sorted(self._held, key=lambda envelope: envelope.offset)
        self._held, self._held_bytes = [], 0
        for envelope in held:
            # What is of another epoch is older than this reading, or shows at the next.
            if envelope.epoch != self.epoch or envelope.offset <= self.offset:
                continue
            if not self.behind and self._follows(envelope):
                self._advance(envelope, out)
            else:
                self.behind = True
                self._hold(envelope)

    def _follows(self, envelope: Envelope) -> bool:
        return envelope.offset == self.offset + 1 and envelope.epoch == self.epoch

    def _advance(self, envelope: Envelope, out: list[Envelope | Missed]) -> None:
        self.offset = envelope.offset
        self._line = envelope.raw
        out.append(envelope)

    def _jump_to_end(self, reading: Reading) -> None:
        """Go on from the log's last line, which is kept to know the log again by it."""
        self.epoch, self.offset, self._line = reading.epoch, reading.offset, reading.at_last

    def _miss(self, out: list[Envelope | Missed]) -> None:
        self._counts.unfillable += 1
        out.append(Missed())

    def _hold(self, envelope: Envelope) -> None:
        if self._held_bytes + len(envelope.raw) > self._hold_bytes:
            self._counts.hold_overflows += 1  # it will be read from the log instead
            self._dropped = True
            return
        self._held.append(envelope)
        self._held_bytes += len(envelope.raw)
