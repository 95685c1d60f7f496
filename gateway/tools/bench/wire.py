"""What the bench says to its workers, and what they answer: one JSON object a line.

Each request has one answer, ``Failed`` at worst; ``Enter`` is answered by several
``Entered``, the last of which counts everybody.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.tools.bench.checks import Faults

Kind = Literal["gateway", "redis"]


class Shape(msgspec.Struct, frozen=True):
    """Who is there.  Senders come on top of the clients."""

    clients: int = 500
    senders: int = 4
    rooms: int = 1
    stalled: int = 0
    """So many of the clients never read."""
    programs: int = 0
    """So many are programs: they speak JSON, by ``gateway.client``."""


class Load(msgspec.Struct, frozen=True):
    """What is said.  Open loop: ``rate`` messages a second in all.  Closed loop
    (``in_flight`` above 0): as many as keep that many on their way to the average listener.
    """

    rate: float = 0.0
    in_flight: int = 0
    payload: int = 100
    """Bytes a message."""

    def __str__(self) -> str:
        return f"{self.in_flight} in flight" if self.in_flight else f"{self.rate:g} msg/s"


class Enter(msgspec.Struct, frozen=True, tag=True):
    """Connect this worker's part of the people, ``per_second`` of them."""

    kind: Kind
    targets: list[tuple[str, int]]
    shape: Shape
    tag: str
    """Starts all names and rooms: they are nobody else's."""
    worker: int
    workers: int
    per_second: float


class Listen(msgspec.Struct, frozen=True, tag=True):
    """Start counting anew; of everybody, watch ``watched`` besides those who must be."""

    watched: int


class Say(msgspec.Struct, frozen=True, tag=True):
    """Say something for ``seconds``.  To the first worker only: it has all senders."""

    load: Load
    seconds: float


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Wait until everybody heard what was said, then judge."""

    said: Said


class Entered(msgspec.Struct, frozen=True, tag=True):
    people: int


class Listening(msgspec.Struct, frozen=True, tag=True):
    people: int


class Said(msgspec.Struct, frozen=True, tag=True):
    """``late_us`` is how far the worker fell behind its schedule at most."""

    sent: list[int]
    """Messages of each sender."""
    sent_bytes: list[int]
    """How many bytes each listener is to hear of each sender."""
    began_us: int
    late_us: int


class Judged(msgspec.Struct, frozen=True, tag=True):
    deliveries: int
    faults: Faults
    latency: dict[int, int]
    largest_us: int
    ended_us: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    why: str


Request = Enter | Listen | Say | Finish
Answer = Entered | Listening | Said | Judged | Failed

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_answer = msgspec.json.Decoder(Answer).decode
