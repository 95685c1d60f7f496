"""One process of the load generator: its part of the people, and what they say.

Takes requests from the socket whose descriptor is its only argument.  The first worker has
all senders.  Knows nothing of what the figures mean.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from math import inf

import uvloop

from gateway.net.listener import raise_file_limit
from gateway.tools.bench.checks import Faults, Watch, judge, message, now_us
from gateway.tools.bench.histogram import Histogram
from gateway.tools.bench.people import Person, Tally, come_in, places
from gateway.tools.bench.wire import (
    Answer,
    Enter,
    Entered,
    Failed,
    Finish,
    Judged,
    Listen,
    Listening,
    Load,
    Said,
    Say,
    decode_request,
    encode,
)

_GRAIN_US = 2000
"""A message this little behind its schedule is on time: the loop's timers are no finer."""
_ENTRANCE_S = 60.0
_TICK_S = 0.01
_QUIET_S = 0.3
_QUIET_AFTER_JOINS_S, _AND_OF_EACH_S = 2.5, 0.000_6
"""Longer than joins and leaves wait to be summed up: the longer the more people there are."""
_HUSH_S = 30.0
_STUCK_S = 5.0
_POLL_S = 0.002
_SETTLE_S = 0.05
"""For what comes twice to come."""


class Fleet:
    """This worker's people, and what is sent to them."""

    def __init__(self, enter: Enter) -> None:
        self._enter = enter
        self._tally = Tally()
        self._latency = Histogram()
        everybody = places(enter.shape, len(enter.targets))
        self._mine = [
            place
            for place in everybody
            if (0 if place.sender else place.number % enter.workers) == enter.worker
        ]
        self._room_of = [place.room for place in everybody if place.sender]
        self._people: list[Person] = []
        self._senders: list[Person] = []
        self._listeners: list[int] = []
        """How many here hear each sender."""
        self._sent: list[int] = []
        self._sent_bytes: list[int] = []
        self._due_bytes = 0
        together = len(everybody) / enter.shape.rooms
        self._quiet_s = max(_QUIET_AFTER_JOINS_S, together * _AND_OF_EACH_S)

    # Coming in.

    async def gather(self) -> AsyncIterator[int]:
        """Let everybody in at the rate asked for; tells how many are there now and then."""
        loop = asyncio.get_running_loop()
        began, started = loop.time(), 0
        coming: set[asyncio.Task[Person]] = set()
        while started < len(self._mine) or coming:
            allowed = int((loop.time() - began) * self._enter.per_second) + 1
            for place in self._mine[started:allowed]:
                entrance = come_in(self._enter, place, self._tally)
                coming.add(loop.create_task(asyncio.wait_for(entrance, _ENTRANCE_S)))
            started = max(started, min(allowed, len(self._mine)))
            await asyncio.sleep(_TICK_S)
            here = {task for task in coming if task.done()}
            coming -= here
            self._people += [task.result() for task in here]
            if here:
                yield len(self._people)
        self._people.sort(key=lambda person: person.place.number)
        self._senders = [person for person in self._people if person.place.sender]
        rooms = Counter(p.place.room for p in self._people if self._listens(p))
        own = self._enter.kind == "gateway" and bool(self._senders)
        self._listeners = [rooms[room] - own for room in self._room_of]
        gc.collect()
        gc.freeze()

    def _listens(self, person: Person) -> bool:
        place = person.place
        return not place.stalled and not (place.sender and self._enter.kind == "redis")

    async def listen(self, watched: int) -> None:
        """Wait until nobody says anything any more, then count anew."""
        await self._quiet()
        listening = [person for person in self._people if self._listens(person)]
        step = max(1, len(listening) // max(1, watched))
        self._latency = Histogram()
        vouchers = set()
        for index, person in enumerate(listening):
            place = person.place
            alike = not (place.sender or place.program)  # hears what its neighbours do
            first = alike and (place.room, place.target) not in vouchers
            if first:
                vouchers.add((place.room, place.target))
            last = index == len(listening) - 1
            watch = first or last or not alike or index % step == 0
            person.listen_anew(Watch(self._latency) if watch else None)
        self._tally.heard_bytes = self._tally.cut = self._due_bytes = 0
        self._sent = [0] * self._enter.shape.senders
        self._sent_bytes = [0] * self._enter.shape.senders

    async def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _HUSH_S
        while loop.time() < deadline:
            before = self._tally.heard_bytes
            await asyncio.sleep(self._quiet_s)
            if before == self._tally.heard_bytes:
                break
        self._quiet_s = _QUIET_S

    # Talking.

    async def say(self, load: Load, seconds: float) -> Said:
        began, late_us = now_us(), 0
        if load.in_flight:
            await self._say_in_a_circle(load, seconds)
        else:
            late_us = await self._say_on_schedule(load, seconds)
        return Said(self._sent, self._sent_bytes, began, late_us)

    def _say_one(self, sender: int, stamp_us: int, size_bytes: int) -> None:
        text = message(sender, self._sent[sender], stamp_us, size_bytes)
        heard_bytes = self._senders[sender].say(text)
        self._sent[sender] += 1
        self._sent_bytes[sender] += heard_bytes
        self._due_bytes += heard_bytes * self._listeners[sender]

    async def _say_on_schedule(self, load: Load, seconds: float) -> int:
        """Open loop.  A late message bears the time at which it was due: its wait counts."""
        began, step_us, late_us, number = now_us(), 1e6 / load.rate, 0, 0
        while number < load.rate * seconds:
            now = now_us()
            while (due := began + int(number * step_us)) <= now:
                behind = now - due
                late_us = max(late_us, behind)
                stamp = due if behind > _GRAIN_US else now
                self._say_one(number % len(self._senders), stamp, load.payload)
                number += 1
            await asyncio.sleep(max(0.001, (due - now_us()) / 1e6))
        return late_us

    async def _say_in_a_circle(self, load: Load, seconds: float) -> None:
        """Closed loop: as much again as has arrived at the average listener here."""
        tally, turn, spare_bytes = self._tally, 0, 0.0

        def more() -> None:
            nonlocal turn, spare_bytes
            now = now_us()
            while self._due_bytes - tally.heard_bytes <= spare_bytes or not turn:
                self._say_one(turn % len(self._senders), now, load.payload)
                turn += 1
                spare_bytes = self._due_bytes / turn * (load.in_flight - 1)
            tally.enough = self._due_bytes - spare_bytes

        tally.on_enough = more
        more()
        await asyncio.sleep(seconds)
        tally.enough = inf

    # And then.

    async def finish(self, said: Said) -> Judged:
        """Wait until everybody here heard all of it, or nothing comes any more."""
        loop, tally, latency = asyncio.get_running_loop(), self._tally, self._latency
        due_bytes = self._times_listeners(said.sent_bytes)
        heard_bytes, since = -1, loop.time()
        while tally.heard_bytes < due_bytes and loop.time() < since + _STUCK_S:
            if tally.heard_bytes > heard_bytes:
                heard_bytes, since = tally.heard_bytes, loop.time()
            await asyncio.sleep(_POLL_S)
        ended_us = now_us()
        await asyncio.sleep(_SETTLE_S)
        faults = self._judge(said.sent)
        faults.cut = tally.cut
        deliveries = self._times_listeners(said.sent) - faults.lost + faults.doubled
        return Judged(deliveries, faults, latency.buckets, latency.largest, ended_us)

    def _times_listeners(self, of_senders: list[int]) -> int:
        return sum(one * some for one, some in zip(of_senders, self._listeners, strict=True))

    def _judge(self, sent: list[int]) -> Faults:
        of_room: dict[int, dict[int, int]] = defaultdict(dict)
        for sender, room in enumerate(self._room_of):
            of_room[room][sender] = sent[sender]
        neighbours: dict[tuple[int, ...], list[tuple[Person, Mapping[int, int]]]] = defaultdict(
            list
        )
        for person in filter(self._listens, self._people):
            number, room, target, speaks, _, program = person.place
            due = {who: count for who, count in of_room[room].items() if who != number}
            alone = (number,) if speaks or program else ()
            neighbours[(room, target, *alone)].append((person, due))
        faults = Faults()
        for group in neighbours.values():
            faults.add(judge(group))
        return faults


async def work(descriptor: int) -> None:
    """Do what is asked until the other side closes."""
    raise_file_limit()
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=descriptor), limit=2**26
    )
    fleet: Fleet | None = None

    def answer(what: Answer) -> None:
        writer.write(encode(what) + b"\n")

    while line := await reader.readline():
        try:
            request = decode_request(line)
            if isinstance(request, Enter):
                fleet = Fleet(request)
                async for count in fleet.gather():
                    answer(Entered(count))
                continue
            assert fleet, "nobody is here yet"
            match request:
                case Listen(watched):
                    await fleet.listen(watched)
                    answer(Listening(watched))
                case Say(load, seconds):
                    answer(await fleet.say(load, seconds))
                case Finish(said):
                    answer(await fleet.finish(said))
        except (OSError, TimeoutError) as error:
            answer(Failed(str(error) or type(error).__name__))


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1])))
