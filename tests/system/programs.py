"""Programs that talk over the JSON front and never lose their place.

Written from the front's description alone: shares nothing with
``gateway.client``, so that no mistake can hide by being in both.  Knows no
faults, and of gateways only their ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from checker import Finding, Record, check
from people import PROMPT, Person
from processes import eventually

TALK_EVERY_S = 0.3
PING_EVERY_S = 0.5
SILENCE_S = 2.0
"""Nobody is there any more where nothing came for so long."""
REPEATED, REMEMBERED = 3, 200
"""How many acknowledged lines are said again on a new connection, and of how many."""
FROM_BEYOND = 10**12
"""The ref of what is said where the session is no more."""
ROOM = "lobby"

Ports = Callable[[], Sequence[int]]


class Link(Person):
    """One connection of a program."""

    def __init__(self, name: str = "", *, end: str = "\n") -> None:
        super().__init__(name, end=end)
        self.port = 0
        self.welcomed = False
        self.told: Callable[[Link, dict[str, Any]], None] = lambda _link, _line: None
        self._read = 0

    def tell(self, **line: Any) -> None:
        self.send(json.dumps(line).encode() + b"\n")

    def heard(self, data: bytes) -> None:
        super().heard(data)
        new, self._read = self.lines[self._read :], len(self.lines)
        for line in new:
            if line and line != PROMPT:
                self.told(self, json.loads(line))

    @property
    def silent(self) -> bool:
        return time.monotonic() - self.heard_at[-1] > SILENCE_S


class Program:
    """One session, over as many connections as it takes.

    A lost or silent connection makes it go to the next port.  The old one is
    left open until the session is welcomed elsewhere: a gateway that hears of
    its end before may well say ``left``.
    """

    def __init__(self, name: str, ports: Ports, chance: random.Random) -> None:
        self.name = name
        self.session = secrets.token_hex(16)
        self.epoch = ""
        self.position = 0
        """The last offset that was heard of."""
        self.log: dict[int, tuple[str, str]] = {}
        """Who said what at which offset, the own lines by their acknowledgements."""
        self.waiting: dict[int, str] = {}
        """What was said and not acknowledged, by its ref."""
        self.acknowledged: dict[int, int] = {}
        """Offsets by ref."""
        self.record = Record(name, asked_at=0.0, joined_at=0.0)
        self.complaints: list[Finding] = []
        self.claims: list[tuple[int, str, str]] = []
        """What was heard of a place in the log where the session was no more."""
        self.repeats_answered = 0
        self.returns = 0
        """How often it was welcomed on another connection."""
        self.left_behind: list[Link] = []
        self.link = Link()
        self._ports = ports
        self._chance = chance
        self._refs = itertools.count(1)
        self._repeated: set[int] = set()
        self._quiet = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def there(self) -> bool:
        return self.link.welcomed and not self.link.hung_up

    async def start(self) -> None:
        self.record.asked_at = time.monotonic()
        self._tasks = [asyncio.create_task(self._stay())]
        await eventually(lambda: self.there, 20, f"{self.name} is welcomed")
        self.record.joined_at = time.monotonic()

    def talk(self) -> None:
        """Say something all the time, connected or not."""
        self._tasks.append(asyncio.create_task(self._talk()))

    def hush(self) -> None:
        """Say nothing new."""
        self._quiet = True

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in (self.link, *self.left_behind):
            link.abort()

    def say(self, text: str) -> int:
        """Queue a line; it is repeated until it is acknowledged.  Its ref."""
        ref = next(self._refs)
        self.waiting[ref] = text
        self.record.sent.append((time.monotonic(), text))
        if self.there:
            self._send(ref)
        return ref

    async def _talk(self) -> None:
        for count in itertools.count():
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * TALK_EVERY_S)
            if self._quiet:
                return
            self.say(f"{count} by {self.name}")

    # Connections.

    async def _stay(self) -> None:
        """Be somewhere, for ever."""
        tried = self._chance.randrange(1000)
        while True:
            ports = self._ports()
            tried += 1
            link = await self._dialled(ports[tried % len(ports)])
            if link is None:
                continue
            await self._welcomed(link)
            while not link.hung_up and not link.silent:
                if link.welcomed:
                    link.tell(type="ping")
                with contextlib.suppress(AssertionError):
                    await link.until(lambda: link.hung_up, PING_EVERY_S, "end")  # noqa: B023

    async def _dialled(self, port: int) -> Link | None:
        """A connection on which one is asked for a name; a stopped gateway does not ask.

        So it is never given a name that it would find, and claim, much later.
        """
        try:
            link = await Link.dial(port, self.name)
        except OSError:
            await asyncio.sleep(0.05)  # the process has ended, and may be the last one
            return None
        link.port = port
        try:
            await link.expect(PROMPT, timeout=SILENCE_S)
        except AssertionError:
            link.abort()
            return None
        return link

    async def _welcomed(self, link: Link) -> None:
        """Go on over this connection, and then leave the old one behind."""
        before, self.link = self.link, link
        link.told = self._told
        hello: dict[str, Any] = {"name": self.name, "session": self.session, "room": ROOM}
        if self.epoch:
            hello |= {"epoch": self.epoch, "after": self.position}
        link.tell(**hello)
        await link.until(lambda: link.welcomed or link.hung_up, 20, "a welcome")
        if before.port and not before.hung_up:
            # As if it did not know that it went on elsewhere.
            self.left_behind.append(before)
            before.tell(type="say", text=f"{self.name} from beyond", ref=FROM_BEYOND)

    def _come_back(self) -> None:
        """Say again what was not acknowledged, and some of what was."""
        self._repeated.clear()
        known = sorted(self.acknowledged)[-REMEMBERED:]
        again = sorted(self._chance.sample(known, min(REPEATED, len(known))))
        self._repeated.update(again)
        for ref in again:
            self._send(ref, f"{self.name} repeats {ref}")
        for ref in self.waiting:
            self._send(ref)

    def _send(self, ref: int, text: str = "") -> None:
        self.link.tell(type="say", text=text or self.waiting[ref], ref=str(ref))

    # What is heard.

    def _told(self, link: Link, line: dict[str, Any]) -> None:
        if link is not self.link:
            self._told_elsewhere(line)
            return
        match line:
            case {"type": "welcome"}:
                self._take_welcome(line)
            case {"type": "message" | "joined" | "left", "history": True}:
                pass
            case {"type": "message" | "joined" | "left"}:
                self._take_event(line)
            case {"type": "ack"}:
                self._take_ack(int(line["ref"]), line["offset"])
            case {"type": "pong"}:
                pass
            case {"type": "notice", "text": text} if "please wait" in text:
                pass  # a gateway that just woke is not ready yet
            case _:
                self._complain("ghost", f"was told {line}")

    def _told_elsewhere(self, line: dict[str, Any]) -> None:
        """By a gateway that was left: it may know less, but nothing else."""
        match line:
            case {"type": "message", "offset": offset, "from": sender, "text": text}:
                self.claims.append((offset, sender, text))
            case {"type": "ack", "ref": ref, "offset": offset}:
                text = self.waiting.get(int(ref)) or self._text_of(int(ref))
                self.claims.append((offset, self.name, text))

    def _text_of(self, ref: int) -> str:
        at = self.acknowledged.get(ref, 0)
        return self.log[at][1] if at in self.log else f"the ref {ref}, which was never said"

    def _take_welcome(self, line: dict[str, Any]) -> None:
        if (line["name"], line["room"]) != (self.name, ROOM):
            self._complain("ghost", f"was welcomed as {line}")
        if not self.epoch:
            self.epoch, self.position = line["epoch"], line["offset"]
        elif (line["epoch"], line["offset"]) != (self.epoch, self.position):
            self._complain("disorder", f"was at {self.position} and is welcomed at {line}")
        else:
            self.returns += 1
        self.link.welcomed = True
        self._come_back()

    def _take_event(self, line: dict[str, Any]) -> None:
        if not self._advance(line["offset"], line):
            return
        sender = line["from"]
        match line["type"]:
            case "message":
                self.log[line["offset"]] = (sender, line["text"])
                self.record.received.append(f"{sender}: {line['text']}")
            case "joined":
                self.record.received.append(f"{sender} joined the chat")
            case "left":
                self.record.received.append(f"{sender} has left the chat")

    def _take_ack(self, ref: int, offset: int) -> None:
        if ref in self.acknowledged:
            if self.acknowledged[ref] != offset:
                places = f"{self.acknowledged[ref]} and {offset}"
                self._complain("double", f"the ref {ref} was acknowledged at {places}")
            self.repeats_answered += ref in self._repeated
            self._repeated.discard(ref)
        elif ref not in self.waiting:
            self._complain("ghost", f"the ref {ref} was acknowledged and never said")
        elif self._advance(offset, {"ack": ref}):
            self.acknowledged[ref] = offset
            self.log[offset] = (self.name, self.waiting.pop(ref))

    def _advance(self, offset: int, line: dict[str, Any]) -> bool:
        """Whether this is the next offset; there are no holes, and nothing comes twice."""
        if line.get("epoch", self.epoch) != self.epoch or offset != self.position + 1:
            kind = "loss" if offset > self.position else "double"
            self._complain(kind, f"was at {self.position}, and then came {offset}: {line}")
            if offset <= self.position:
                return False
        self.position = offset
        return True

    def _complain(self, kind: Any, detail: str) -> None:
        self.complaints.append(Finding(kind, self.name, detail))


def findings(programs: Sequence[Program]) -> list[Finding]:
    """All that went wrong, once everybody has heard everything."""
    found = [complaint for program in programs for complaint in program.complaints]
    for program in programs:
        for ref in program.waiting:
            found.append(Finding("loss", program.name, f"the ref {ref} was never acknowledged"))
    found += check([program.record for program in programs])
    found += _disagreements(programs)
    return found


def _disagreements(programs: Iterable[Program]) -> Iterable[Finding]:
    """Everybody has the same text at an offset, also those who wrote it, and those left behind."""
    log: dict[int, tuple[str, str]] = {}
    for program in programs:
        for offset, said in program.log.items():
            if log.setdefault(offset, said) != said:
                detail = f"at {offset} there is {log[offset]} and {said}"
                yield Finding("disagreement", program.name, detail)
    for program in programs:
        for offset, *said in program.claims:
            if log.get(offset) != tuple(said):
                detail = f"was left behind and told {said} at {offset}, where is {log.get(offset)}"
                yield Finding("disagreement", program.name, detail)
    for said, count in Counter(log.values()).items():
        if count > 1:
            yield Finding("double", "everybody", f"{said} stands at {count} places of the log")
