"""Sessions that never stay, at random.

Several connections each, to all gateways at once, that say, move, take other names, and end in
every way there is.

    python tests/system/restless.py --seconds 60 --seed 7

exits with 1 if somebody came, went, spoke or was renamed who can't have, if the witnesses of a
room disagree, if a line was acknowledged and is not there once, or if anything stays behind.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import soaking
from checker import Finding
from cluster import Cluster
from crowd import RATES
from people import PROMPT
from processes import eventually
from programs import Link

from gateway.broker.keys import Keys

GATEWAYS, SESSIONS = 3, 20
ROOMS = ("lobby", "tea", "den")
NAMES_EACH, CONNECTIONS_EACH = 3, 3
WELCOME_S = (0.002, 0.005, 0.02, 3.0)
"""For how long a session waits for a welcome, before it does something else all the same."""
PAUSE_S = (0.0, 0.0, 0.001, 0.003, 0.01, 0.03)
SETTLES_WITHIN_S = 15.0
KEYS = Keys("chat")

Event = dict[str, Any]


class Witness(Link):
    """A program that only listens in one room; the room's events by their offsets."""

    def __init__(self, name: str = "", *, end: str = "\n") -> None:
        super().__init__(name, end=end)
        self.events: dict[int, Event] = {}
        self.last = 0
        """Of their offsets."""
        self.complaints: list[Finding] = []
        self.told = lambda _link, line: self._take(line)

    async def enter(self, room: str) -> None:
        await self.expect(PROMPT)
        self.tell(name=self.name, room=room)
        await self.until(lambda: self.welcomed, 10, "a welcome")

    def _take(self, line: Event) -> None:
        if line["type"] == "welcome":
            self.welcomed = True
        elif line["type"] in ("missed", "error"):
            self.complaints.append(Finding("missed", self.name, str(line)))
        elif "offset" in line and not line.get("history"):
            offset = line["offset"]
            if self.last and offset != self.last + 1:
                kind = "loss" if offset > self.last else "double"
                self.complaints.append(Finding(kind, self.name, f"after {self.last} came {line}"))
            self.events[offset] = line
            self.last = max(self.last, offset)


class Restless:
    """One session."""

    def __init__(self, number: int, ports: Sequence[int], seed: int) -> None:
        self.number = number
        self.names = [f"p{number}.{each}" for each in range(NAMES_EACH)]
        self.said: set[str] = set()
        """What was acknowledged."""
        self._ports = ports
        self._chance = random.Random(f"{seed} {number}")
        self._session = secrets.token_hex(16)
        self._links: list[Link] = []
        self._hello: Event = {"name": self.names[0], "session": self._session}
        self._ref = 0

    async def run(self, seconds: float) -> None:
        """Be restless for so long, and then gone without a word."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._links = [link for link in self._links if not link.hung_up]
            if not self._links or (
                self._chance.random() < 0.15 and len(self._links) < CONNECTIONS_EACH
            ):
                await self._come()
            else:
                self._do_something(self._chance.choice(self._links))
            await asyncio.sleep(self._chance.choice(PAUSE_S))
        for link in self._links:
            link.abort()

    async def _come(self) -> None:
        link = await Link.dial(self._chance.choice(self._ports), f"p{self.number}")
        link.told = self._told
        self._links.append(link)
        hello = dict(self._hello)
        if self._chance.random() < 0.3:
            hello.pop("after", None)
        link.tell(**hello)
        if self._chance.random() < 0.7:
            done = asyncio.create_task(self._welcomed(link))
            await asyncio.wait((done,), timeout=self._chance.choice(WELCOME_S))
            done.cancel()

    async def _welcomed(self, link: Link) -> None:
        await link.until(lambda: link.welcomed or link.hung_up, 10, "a welcome")

    def _do_something(self, link: Link) -> None:
        chance = self._chance.random()
        if chance < 0.45:
            self._ref += 1
            link.tell(type="say", text=f"{self._ref} by p{self.number}", ref=str(self._ref))
        elif chance < 0.60:
            link.tell(type="nick", name=self._chance.choice(self.names))
        elif chance < 0.75:
            link.tell(type="join", room=self._chance.choice(ROOMS))
        elif chance < 0.81:
            link.tell(type="quit")
        else:
            self._links.remove(link)
            self._chance.choice((link.abort, link.finish, link.close))()

    def _told(self, link: Link, line: Event) -> None:
        if line["type"] == "welcome":
            link.welcomed = True
            self._hello |= {key: line[key] for key in ("name", "room", "epoch")}
            self._hello["after"] = line["offset"]
        elif line["type"] == "ack":
            self.said.add(f"{line['ref']} by p{self.number}")


class Unrest:
    """A cluster, witnesses on each gateway in each room, and the restless."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.witnesses: dict[str, list[Witness]] = {room: [] for room in ROOMS}
        self.ports = [gateway.port for gateway in cluster.gateways]
        self.restless = [Restless(number, self.ports, seed) for number in range(SESSIONS)]

    @classmethod
    async def start(cls, cluster: Cluster, seed: int) -> Unrest:
        unrest = cls(cluster, seed)
        for room, witnesses in unrest.witnesses.items():
            for place, port in enumerate(unrest.ports):
                witness = await Witness.dial(port, f"w{place}-{room}")
                cluster.people.append(witness)
                await witness.enter(room)
                witnesses.append(witness)
        return unrest

    async def run(self, seconds: float) -> None:
        """Returns when nothing is left of the restless, or nothing has changed for long."""
        await asyncio.gather(*(one.run(seconds) for one in self.restless))
        try:
            await eventually(self._at_rest, SETTLES_WITHIN_S, "nothing left behind")
        except AssertionError:
            return  # ``findings`` will say so

    def _at_rest(self) -> bool:
        if self._left_behind():
            return False
        ends = {
            room: self.cluster.redis.cli("hget", KEYS.room(room)[0], "offset") for room in ROOMS
        }
        return all(
            witness.last == int(ends[room])
            for room, witnesses in self.witnesses.items()
            for witness in witnesses
        )

    def _left_behind(self) -> list[str]:
        """Names and memberships that Redis still has."""
        left = [f"the name {name}" for name in self.cluster.redis.cli("hkeys", KEYS.names)]
        for room in ROOMS:
            records = self.cluster.redis.cli("hvals", KEYS.room(room)[3])
            left += [f"in {room}: {record.split(' ')[2]}" for record in records]
        return [what for what in left if " p" in what]

    def findings(self) -> list[Finding]:
        found = [Finding("ghost", "Redis", what) for what in self._left_behind()]
        texts: Counter[str] = Counter()
        for room, witnesses in self.witnesses.items():
            log: dict[int, Event] = {}
            for witness in witnesses:
                found += witness.complaints
                for offset, event in witness.events.items():
                    if log.setdefault(offset, event) != event:
                        what = f"{log[offset]} or {event}"
                        found.append(Finding("disagreement", witness.name, what))
            found += _presence(room, [log[offset] for offset in sorted(log)])
            texts.update(event["text"] for event in log.values() if event["type"] == "message")
        said = {text for one in self.restless for text in one.said}
        found += [Finding("loss", "everybody", text) for text in said if not texts[text]]
        found += [Finding("double", "everybody", t) for t, times in texts.items() if times > 1]
        return found


def _presence(room: str, events: Sequence[Event]) -> Iterator[Finding]:
    """Who does something must be there, who comes must not; in the end nobody is."""
    here: set[str] = set()
    for event in events:
        kind, name = event["type"], event["from"]
        if name.startswith("w"):
            continue
        if (name in here) == (kind == "joined"):
            yield Finding("ghost", room, f"{event} with {sorted(here)} there")
        if kind == "joined":
            here.add(name)
        elif kind in ("left", "renamed"):
            here.discard(name)
        if kind == "renamed":
            if event["to"] in here:
                yield Finding("ghost", room, f"{event} with {sorted(here)} there")
            here.add(event["to"])
    if here:
        yield Finding("ghost", room, f"{sorted(here)} never left")


async def soak(seconds: float, seed: int) -> bool:
    """Whether nothing was found."""
    cluster = await Cluster.start(GATEWAYS, *RATES)
    try:
        with soaking.judged() as verdict:
            unrest = await Unrest.start(cluster, seed)
            await unrest.run(seconds)
            said = sum(len(one.said) for one in unrest.restless)
            summary = f"seed {seed}: {said} lines acknowledged, {seconds:.0f} s"
            verdict.tell(summary, unrest.findings(), cluster.blemishes())
    finally:
        await cluster.close()
    return verdict.good


if __name__ == "__main__":
    sys.exit(soaking.main(soak, __doc__, seconds=60))
