"""Whether everybody heard everything, once and in order.

Each message carries its sender and a number: ``#SENDER NUMBER STAMP padding``.  Some people
are watched: all that they hear is read.  Of the others only how much they heard and a
checksum is kept, since everybody in a room who says nothing hears the same bytes from one
server: one faultless watched neighbour vouches for all whose checksum is the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from gateway.tools.bench.histogram import Histogram

_SAID = re.compile(rb"#(\d+) (\d+) (\d+) ")


def now_us() -> int:
    """The clock of the stamps; the same one in all processes of a machine."""
    return time.monotonic_ns() // 1000


def message(sender: int, number: int, stamp_us: int, size_bytes: int) -> bytes:
    """``size_bytes`` long, or as short as it can be."""
    return (b"#%d %d %d x" % (sender, number, stamp_us)).ljust(size_bytes, b"x")


class Faults(msgspec.Struct):
    """What should not have happened, in deliveries; ``cut`` counts people."""

    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    strayed: int = 0
    """Heard by whom it was not for: its own sender, or another room."""
    cut: int = 0
    """Disconnected by the server."""

    def add(self, other: Faults) -> None:
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))

    @property
    def total(self) -> int:
        return sum(getattr(self, field) for field in self.__struct_fields__)

    def __bool__(self) -> bool:
        return self.total > 0

    def __str__(self) -> str:
        counts = {field: getattr(self, field) for field in self.__struct_fields__}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"


class Watch:
    """Reads all that one person hears."""

    __slots__ = ("_latency", "_missing", "_next", "_tail", "count", "doubled", "late")

    def __init__(self, latency: Histogram) -> None:
        self.count = 0
        """Messages."""
        self.doubled = 0
        self.late = 0
        self._latency = latency
        self._next: dict[int, int] = {}
        self._missing: set[tuple[int, int]] = set()
        self._tail = b""

    def hear(self, data: bytes) -> None:
        now = now_us()
        text = self._tail + data
        end = text.rfind(b"\n") + 1
        self._tail = text[end:]
        for who, number, stamp in _SAID.findall(text, 0, end):
            self.count += 1
            sender, place = int(who), int(number)
            due = self._next.get(sender, 0)
            if place == due:
                self._next[sender] = place + 1
            else:
                self._misplaced(sender, place, due)
            self._latency.record(max(0, now - int(stamp)))

    def _misplaced(self, sender: int, place: int, due: int) -> None:
        if place > due:
            self._missing.update((sender, skipped) for skipped in range(due, place))
            self._next[sender] = place + 1
        elif (sender, place) in self._missing:
            self._missing.discard((sender, place))
            self.late += 1
        else:
            self.doubled += 1

    def faults(self, sent: Mapping[int, int]) -> Faults:
        """``sent`` holds how many messages each sender sent that this person should hear."""
        strays = self._next.keys() - sent.keys()
        missing = [one for one in self._missing if one[0] in sent]
        behind = sum(max(0, count - self._next.get(who, 0)) for who, count in sent.items())
        return Faults(
            lost=len(missing) + behind,
            doubled=self.doubled,
            disordered=self.late,
            strayed=sum(self._next[who] for who in strays),
        )


class Heard(Protocol):
    """What is known of one person at the end of a run."""

    @property
    def heard_bytes(self) -> int: ...

    @property
    def checksum(self) -> int: ...

    @property
    def watch(self) -> Watch | None: ...


def judge(neighbours: Iterable[tuple[Heard, Mapping[int, int]]]) -> Faults:
    """The faults of people who should hear the same bytes, each with what was sent to it.

    Who says something itself hears other bytes: it is to be judged alone, and watched.
    """
    faults = Faults()
    voucher: Heard | None = None
    message_bytes = 0.0
    unwatched: list[tuple[Heard, int]] = []
    for person, sent in neighbours:
        if person.watch is None:
            unwatched.append((person, sum(sent.values())))
            continue
        own = person.watch.faults(sent)
        faults.add(own)
        message_bytes = message_bytes or person.heard_bytes / (person.watch.count or 1)
        if not own:
            voucher = person
    for person, due in unwatched:
        if voucher and person.checksum == voucher.checksum:
            continue
        count = round(person.heard_bytes / message_bytes) if message_bytes else 0
        faults.lost += max(0, due - count)
        faults.doubled += max(0, count - due)
        faults.disordered += count == due
    return faults
