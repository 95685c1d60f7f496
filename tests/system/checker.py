"""Was anything lost, doubled, reordered or made up?  From what each client said and heard.

Knows no sockets and no gateways: it compares lists of lines.  Texts must be
different from each other, so that a line tells which message it is.  Times
are of one clock and only say who was there for what; the order of messages
is taken from the readers alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

Kind = Literal["loss", "double", "disorder", "disagreement", "ghost", "missed", "hung up on"]
Ending = Literal["stayed", "left", "died"]


class Message(NamedTuple):
    sender: str
    text: str


@dataclass
class Record:
    """One client's stay in the room.

    Somebody who comes back under the same name has two records.  ``asked_at``
    is before the name was given, ``joined_at`` after the welcome, and
    ``ended_at`` before the client did what ended its stay.
    """

    name: str
    asked_at: float
    joined_at: float
    sent: list[tuple[float, str]] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    ended_at: float | None = None
    ending: Ending = "stayed"
    """``left`` by its own will; ``died`` with its gateway or by a reset."""
    reaped: bool = False
    """Its gateway was silent for so long that it may have been taken for dead, and then went on."""
    hung_up: bool = False
    """The gateway closed the connection though nobody wanted it to."""


@dataclass(frozen=True)
class Finding:
    """One broken promise."""

    kind: Kind
    reader: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.reader}: {self.detail}"


def check(records: Sequence[Record]) -> list[Finding]:
    """All broken promises; empty when there is none.  Call it after the room has settled."""
    return [*_Check(records).findings()]


def report(findings: Sequence[Finding], most: int = 6) -> str:
    """The findings for a person to read: how many of each kind, and the first ``most`` of it."""
    if not findings:
        return "nothing lost, doubled, out of order, disagreed on or made up"
    kinds: dict[Kind, list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.kind].append(finding)
    lines = []
    for kind, found in kinds.items():
        readers = sorted({finding.reader for finding in found})
        lines.append(f"{len(found)} × {kind} at {', '.join(readers)}; the first:")
        lines += [f"    {finding}" for finding in found[:most]]
    return "\n".join(lines)


_CHANGE = re.compile(r"(\S+) (joined|has left) the chat")
_NOT_DELIVERED, _NOT_CONFIRMED = "* not delivered: ", "* not confirmed: "
_MISSED = "* some messages were missed"


class _Reading:
    """What one record's reader heard, taken apart."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.places: dict[Message, int] = {}
        self.again: list[Message] = []
        self.changes: dict[str, list[str]] = defaultdict(list)
        self.not_delivered: list[str] = []
        self.not_confirmed: list[str] = []
        self.missed = 0
        self.unknown: list[str] = []
        for line in record.received:
            self._take(line)
        self.messages = list(self.places)

    def _take(self, line: str) -> None:
        sender, colon, text = line.partition(": ")
        if line.startswith(_NOT_DELIVERED):
            self.not_delivered.append(line.removeprefix(_NOT_DELIVERED))
        elif line.startswith(_NOT_CONFIRMED):
            self.not_confirmed.append(line.removeprefix(_NOT_CONFIRMED))
        elif line == _MISSED:
            self.missed += 1
        elif line.startswith("* "):
            pass  # the server's to this reader alone
        elif change := _CHANGE.fullmatch(line):
            self.changes[change[1]].append(change[2])
        elif colon:
            self._take_message(Message(sender, text))
        else:
            self.unknown.append(line)

    def _take_message(self, message: Message) -> None:
        if message in self.places:
            self.again.append(message)
        else:
            self.places[message] = len(self.places)


class _Check:
    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.readings = [_Reading(record) for record in records]
        self.stays: dict[str, list[Record]] = defaultdict(list)
        self.sent_at: dict[Message, float] = {}
        self.place_of: dict[Message, int] = {}
        for record in sorted(records, key=lambda record: record.joined_at):
            self.stays[record.name].append(record)
            for at, text in record.sent:
                message = Message(record.name, text)
                if message in self.sent_at:
                    raise ValueError(f"{message} was sent twice: nobody can tell them apart")
                self.place_of[message] = len(self.sent_at)
                self.sent_at[message] = at
        self.heard = {message for reading in self.readings for message in reading.messages}

    def findings(self) -> Iterator[Finding]:
        for reading in self.readings:
            yield from self._told(reading)
            yield from self._ghosts(reading)
            yield from self._doubles(reading)
            yield from self._disorder(reading)
            yield from self._losses(reading)
            yield from self._changes(reading)
        yield from self._disagreements()

    def _told(self, reading: _Reading) -> Iterator[Finding]:
        """What the gateway said about itself: it must be true, and gaps are counted."""
        name = reading.record.name
        if reading.missed:
            yield Finding("missed", name, f"was told {reading.missed} times of a gap")
        if reading.record.hung_up:
            yield Finding("hung up on", name, "though it neither left nor lost its gateway")
        for text in reading.not_delivered:
            if Message(name, text) in self.heard:
                yield Finding("ghost", name, f"told that {text!r} was not delivered, but it was")
        for text in (*reading.not_delivered, *reading.not_confirmed):
            if Message(name, text) not in self.sent_at:
                yield Finding("ghost", name, f"told of {text!r}, which it never sent")

    def _ghosts(self, reading: _Reading) -> Iterator[Finding]:
        name = reading.record.name
        for line in reading.unknown:
            yield Finding("ghost", name, f"heard {line!r}, which is no line of the contract")
        for message in reading.messages:
            if message.sender == name:
                yield Finding("ghost", name, f"heard its own {message.text!r}")
            elif message not in self.sent_at:
                yield Finding("ghost", name, f"heard {message}, which nobody sent")

    def _doubles(self, reading: _Reading) -> Iterator[Finding]:
        for message in reading.again:
            yield Finding("double", reading.record.name, f"heard {message} again")

    def _disorder(self, reading: _Reading) -> Iterator[Finding]:
        """A sender's messages come in the order in which they were sent."""
        last: dict[str, Message] = {}
        for message in reading.messages:
            place = self.place_of.get(message)
            if place is None:
                continue
            before = last.get(message.sender)
            if before is not None and place < self.place_of[before]:
                detail = f"heard {message} after {before}"
                yield Finding("disorder", reading.record.name, detail)
            last[message.sender] = message

    def _losses(self, reading: _Reading) -> Iterator[Finding]:
        record = reading.record
        due = self._due_by_time(record) | self._due_by_place(reading)
        for message in sorted(due - reading.places.keys(), key=self.sent_at.__getitem__):
            yield Finding("loss", record.name, f"never heard {message}")

    def _due_by_time(self, record: Record) -> set[Message]:
        """What was said after the reader came: promised to be said, or heard by somebody."""
        if record.ending in ("left", "died"):
            return set()
        return {
            message
            for message, at in self.sent_at.items()
            if message.sender != record.name
            and at >= record.joined_at
            and (message in self.heard or message in self.promised)
        }

    def _due_by_place(self, reading: _Reading) -> set[Message]:
        """What another heard between the first and the last line that both heard.

        For one who stayed there is no last.
        """
        stayed = reading.record.ending == "stayed"
        due: set[Message] = set()
        for other in self.readings:
            common = [place for message, place in other.places.items() if message in reading.places]
            if other is not reading and common:
                due.update(other.messages[common[0] : None if stayed else common[-1]])
        mine = {message for message in due if message.sender == reading.record.name}
        return due & self.sent_at.keys() - mine

    @cached_property
    def promised(self) -> set[Message]:
        """Messages whose senders were not told otherwise, nor lost their gateway soon after."""
        return set(self._promises())

    def _promises(self) -> Iterator[Message]:
        for reading in self.readings:
            name = reading.record.name
            excused = {*reading.not_delivered, *reading.not_confirmed}
            said = [Message(name, text) for _, text in reading.record.sent]
            if reading.record.ending == "died":
                # Only the end of it may be lost, behind all that was heard.
                heard = [place for place, message in enumerate(said) if message in self.heard]
                said = said[: heard[-1] if heard else 0]
            yield from (message for message in said if message.text not in excused)

    def _changes(self, reading: _Reading) -> Iterator[Finding]:
        """Joins and leaves: of those who came and went, each once, and of nobody else."""
        reader = reading.record
        for name in reading.changes.keys() | self.stays.keys():
            heard = reading.changes[name]
            if name == reader.name:
                stays = [stay for stay in self.stays[name] if stay is not reader]
            else:
                stays = self.stays[name]
            if any(stay.reaped for stay in stays):
                yield from _alternating(reader, name, heard, stays[-1])
                continue
            due, possible = _story(reader, stays)
            if not _runs_through(heard, due, possible):
                kind: Kind = "loss" if len(heard) < len(due) else "ghost"
                detail = f"of {name} heard {heard}, should have been {due or possible}"
                yield Finding(kind, reader.name, detail)

    def _disagreements(self) -> Iterator[Finding]:
        pairs = 0
        for one, other in combinations(self.readings, 2):
            latest: Message | None = None
            for message in one.messages:
                if message not in other.places:
                    continue
                if latest is not None and other.places[message] < other.places[latest]:
                    pairs += 1
                    names = f"{one.record.name} and {other.record.name}"
                    yield Finding("disagreement", names, f"over {latest} and {message}")
                latest = message
        if not pairs:
            yield from self._cycles()

    def _cycles(self) -> Iterator[Finding]:
        """Three readers can contradict each other though no two of them do."""
        graph: TopologicalSorter[Message] = TopologicalSorter()
        for reading in self.readings:
            for before, after in pairwise(reading.messages):
                graph.add(after, before)
        try:
            graph.prepare()
        except CycleError as error:
            yield Finding("disagreement", "several", f"no one order for {error.args[1]}")


def _alternating(
    reader: Record, name: str, heard: Sequence[str], stay: Record
) -> Iterator[Finding]:
    at_last, there = heard[-1:], stay.ended_at is None
    if reader.ending == "stayed":  # else it may not have heard the last of it
        if at_last == ["has left"] and there:
            yield Finding("ghost", reader.name, f"heard that {name} has left, who is still there")
        if at_last == ["joined"] and not there:
            yield Finding("loss", reader.name, f"never heard that {name} has left")
    for before, after in pairwise(heard):
        if before == after:
            yield Finding("ghost", reader.name, f"of {name} heard {before!r} twice in a row")


def _story(reader: Record, stays: Iterable[Record]) -> tuple[list[str], list[str]]:
    """What a reader must have heard of one name's stays, and all that it can have heard."""
    due: list[str] = []
    possible: list[str] = []
    forever = float("inf")
    until = forever if reader.ended_at is None else reader.ended_at
    for stay in stays:
        for word, earliest, latest in (
            ("joined", stay.asked_at, stay.joined_at),
            ("has left", stay.ended_at, stay.ended_at),
        ):
            if earliest is None or latest is None:
                continue
            if latest >= reader.asked_at or word == "has left":
                possible.append(word)
            if earliest > reader.joined_at and until == forever:
                due.append(word)
    return due, possible


def _runs_through(heard: list[str], due: list[str], possible: list[str]) -> bool:
    """``heard`` is a part of ``possible`` without holes, and ends with all that was due."""
    places = range(len(possible) - len(heard) + 1)
    if not any(possible[place : place + len(heard)] == heard for place in places):
        return False
    return len(heard) >= len(due)
