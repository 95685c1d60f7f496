"""The workers that load one system, as one: starts them, asks them, adds their answers up."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from gateway.processes import end, lines, spawn
from gateway.tools.bench.checks import Faults
from gateway.tools.bench.cores import Half, on
from gateway.tools.bench.histogram import Histogram
from gateway.tools.bench.systems import BenchError, System, cost
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
    Request,
    Said,
    Say,
    Shape,
    decode_answer,
    encode,
)

_READ_LIMIT_BYTES = 2**26
_WATCHED_PER_S = 8_000
"""Deliveries a second that a worker can read in full besides its other work."""
_WATCHED_LEAST, _WATCHED_MOST = 8, 100
_CLOSED_LOOP_PER_S = 10_000
"""Messages a second that a closed loop may reach."""
_GRACE_S = 5.0

Wanted = TypeVar("Wanted", Entered, Listening, Said, Judged)


class Worker:
    """One process, and the socket on which it is asked."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, to: asyncio.StreamWriter):
        self.last_words = ""
        self._process = process
        self._reader = reader
        self._to = to
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            command = ("-m", f"{__package__}.worker", str(theirs.fileno()))
            with on(Half.GENERATOR):
                process = await spawn([sys.executable, *command], pass_fds=[theirs.fileno()])
        return cls(process, *await asyncio.open_connection(sock=ours, limit=_READ_LIMIT_BYTES))

    async def _listen(self) -> None:
        async for line in lines(self._process):
            self.last_words = line or self.last_words

    def ask(self, request: Request) -> None:
        self._to.write(encode(request) + b"\n")

    async def answer(self, wanted: type[Wanted]) -> Wanted:
        """The next answer.  Raises ``BenchError`` if there is none, or another one."""
        line = await self._reader.readline()
        answer: Answer = decode_answer(line) if line else Failed(self.last_words)
        if isinstance(answer, Failed):
            raise BenchError(f"the load generator failed: {answer.why or 'it ended'}")
        assert isinstance(answer, wanted)
        return answer

    @property
    def cpu_s(self) -> float:
        return cost([self._process.pid]).cpu_s

    async def stop(self) -> None:
        self._to.close()
        await end(self._process, _GRACE_S)
        await self._listening


class Crew:
    """Everybody who is on one system."""

    def __init__(self, workers: list[Worker], system: System, shape: Shape) -> None:
        self.shape = shape
        self._workers = workers
        self._system = system
        self._tag = f"b{secrets.token_hex(3)}"

    async def come_in(self, per_second: float, told: Callable[[int], None]) -> None:
        """Connect everybody at that rate; ``told`` hears how many are there."""
        workers, here = self._workers, [0] * len(self._workers)
        parts = [self._part(index) for index in range(len(workers))]

        async def enter(index: int, worker: Worker) -> None:
            enter = Enter(
                self._system.kind,
                self._system.targets,
                self.shape,
                self._tag,
                index,
                len(workers),
                per_second * parts[index] / sum(parts),
            )
            worker.ask(enter)
            while here[index] < parts[index]:
                here[index] = (await worker.answer(Entered)).people
                told(sum(here))

        await asyncio.gather(*(enter(*each) for each in enumerate(workers)))

    def _part(self, index: int) -> int:
        """How many people one worker has; the first has all senders."""
        senders, clients = self.shape.senders, self.shape.clients
        others = range(senders, senders + clients)
        own = sum(1 for number in others if number % len(self._workers) == index)
        return own + (senders if index == 0 else 0)

    def cpu_s(self) -> list[float]:
        """What each worker used so far."""
        return [worker.cpu_s for worker in self._workers]

    async def listen(self, load: Load) -> None:
        """Everybody is silent, then counts anew.  Few are watched where much is said."""
        per_s = _CLOSED_LOOP_PER_S if load.in_flight else load.rate / self.shape.rooms
        watched = min(max(_WATCHED_LEAST, int(_WATCHED_PER_S / per_s)), _WATCHED_MOST)
        for worker in self._workers:
            worker.ask(Listen(watched))
        for worker in self._workers:
            await worker.answer(Listening)

    async def say(self, load: Load, seconds: float) -> Said:
        self._workers[0].ask(Say(load, seconds))
        return await self._workers[0].answer(Said)

    async def finish(self, said: Said) -> tuple[Judged, Histogram]:
        """What all workers' people heard, and how late."""
        for worker in self._workers:
            worker.ask(Finish(said))
        judged = [await worker.answer(Judged) for worker in self._workers]
        faults, latency = Faults(), Histogram()
        for each in judged:
            faults.add(each.faults)
            latency.merge(Histogram(each.latency, each.largest_us))
        deliveries = sum(each.deliveries for each in judged)
        ended_us = max(each.ended_us for each in judged)
        return Judged(deliveries, faults, {}, latency.largest, ended_us), latency


@contextlib.asynccontextmanager
async def crew(system: System, shape: Shape, processes: int) -> AsyncIterator[Crew]:
    """Workers for one system; nobody is connected yet."""
    workers = await asyncio.gather(*(Worker.start() for _ in range(processes)))
    try:
        yield Crew(list(workers), system, shape)
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))
