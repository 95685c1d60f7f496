"""Gateways killed and stopped under programs that never stop talking, at random.

    python tests/system/json_soak.py --seconds 300 --seed 7

prints the schedule that the seed makes, and exits with 1 if any program lost,
doubled or reordered a line, disagreed with another one, or was said to have left.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import soaking
from checker import Finding
from cluster import Cluster
from crowd import RATES
from processes import GatewayProcess, eventually, fault_lasts
from programs import Program, findings

GATEWAYS = 3
PROGRAMS = 20
GOES_ON_WITHIN_S = 20.0
SETTLES_WITHIN_S = 30.0
SHORT_STOP_S, STOP_S = (0.2, 1.0), (3.0, 6.0)
LONG_STOP_S = (10.5, 13.0)
"""For so long that the others take it for dead."""
RESTART_S = 1.0


class Fault(NamedTuple):
    """All is well for ``calm_s``; then a gateway is stopped for ``fault_s``, or killed."""

    calm_s: float
    fault_s: float
    victim: int


class Schedule(NamedTuple):
    """Two rows of faults, at the same time.  One gateway of three is always spared."""

    stops: Sequence[Fault]
    kills: Sequence[Fault]

    def __str__(self) -> str:
        lines = [
            f"after {f.calm_s:4} s stopped for {f.fault_s:4} s: {f.victim}" for f in self.stops
        ]
        lines += [f"after {f.calm_s:4} s killed: {f.victim}" for f in self.kills]
        return "\n".join(lines)


def schedule(seconds: float, seed: int) -> Schedule:
    """The same for a seed.  One stop at least is a long one."""
    chance = random.Random(seed)

    def between(least: float, most: float) -> float:
        return round(chance.uniform(least, most), 1)

    stops, kills = [], []
    length, left_s = LONG_STOP_S, seconds
    while left_s > 0:
        stops.append(Fault(between(0.5, 3), between(*length), chance.randrange(100)))
        left_s -= stops[-1].calm_s + stops[-1].fault_s
        length = chance.choice((SHORT_STOP_S, STOP_S, LONG_STOP_S))
    left_s = seconds
    while left_s > 0:
        kills.append(Fault(between(1, 5), 0, chance.randrange(100)))
        left_s -= kills[-1].calm_s + RESTART_S
    return Schedule(stops, kills)


class JsonStorm:
    """Gateways on one Redis, and programs that find them by trying one after the other."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.programs = [
            Program(f"bot{number}", self._ports, random.Random(f"{seed} {number}"))
            for number in range(PROGRAMS)
        ]
        self.stopped: set[GatewayProcess] = set()
        self._breaking = asyncio.Lock()

    @classmethod
    async def start(cls, seed: int = 0) -> JsonStorm:
        storm = cls(await Cluster.start(GATEWAYS, *RATES), seed)
        try:
            for program in storm.programs:
                await program.start()
        except BaseException:
            await storm.close()
            raise
        return storm

    async def close(self) -> None:
        for program in self.programs:
            await program.close()
        await self.cluster.close()

    def _ports(self) -> list[int]:
        """Of all that accept, or did when they were stopped."""
        return [gateway.port for gateway in self._running()]

    def _running(self) -> list[GatewayProcess]:
        return [gateway for gateway in self.cluster.gateways if gateway.running and gateway.address]

    def of(self, gateway: GatewayProcess) -> list[Program]:
        return [program for program in self.programs if program.link.port == gateway.port]

    async def all_there(self) -> None:
        await eventually(
            lambda: all(program.there for program in self.programs),
            GOES_ON_WITHIN_S,
            "all programs are welcomed; not",
            lambda: [program.name for program in self.programs if not program.there],
        )

    async def run(self, planned: Schedule) -> None:
        """Talk, break everything by the plan, mend it, and hear the rest."""
        for program in self.programs:
            program.talk()
        async with asyncio.TaskGroup() as rows:
            rows.create_task(self._stops(planned.stops))
            rows.create_task(self._kills(planned.kills))
        await self.settle()

    async def _stops(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await fault_lasts(fault.calm_s)
            await self.stop(fault.victim, fault.fault_s)

    async def stop(self, choice: int, seconds: float) -> None:
        """Stop a gateway; if for long, wake it when all its sessions went on elsewhere."""
        async with self._breaking:
            # A gateway that is stopped with a newcomer's first line unread takes it for new later.
            await self.all_there()
            victim = self._victim(choice)
            self.stopped.add(victim)
            hit = self.of(victim)
            victim.stop()
        await fault_lasts(seconds)
        if seconds > SHORT_STOP_S[1]:
            await eventually(
                lambda: all(program.there and program not in self.of(victim) for program in hit),
                GOES_ON_WITHIN_S,
                "all sessions of the stopped gateway went on elsewhere",
            )
        victim.cont()
        self.stopped.discard(victim)
        # It must find out by itself that they are not its sessions any more.
        await eventually(
            lambda: all(self._let_go(program, victim) for program in hit),
            GOES_ON_WITHIN_S,
            f"{victim.label} lets those go who went on elsewhere; still holds",
            lambda: [program.name for program in hit if not self._let_go(program, victim)],
        )

    def _let_go(self, program: Program, gateway: GatewayProcess) -> bool:
        return all(link.hung_up for link in program.left_behind if link.port == gateway.port)

    async def _kills(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await fault_lasts(fault.calm_s)
            await self.kill(fault.victim)

    async def kill(self, choice: int) -> None:
        """Kill a gateway, and start another one in its place."""
        async with self._breaking:
            self._victim(choice).kill()
            fresh = self.cluster.launch()
        await fresh.wait_ready()

    def _victim(self, choice: int) -> GatewayProcess:
        running = [gateway for gateway in self._running() if gateway not in self.stopped]
        assert len(running) > 1, "nobody would be left"
        return running[choice % len(running)]

    async def settle(self) -> None:
        """Nothing new is said; wait until everybody has heard everything.

        Says nothing of who has not; ``findings`` will.
        """
        for program in self.programs:
            program.hush()
        try:
            await eventually(self._at_rest, SETTLES_WITHIN_S, "everybody has heard everything")
        except AssertionError:
            return

    def _at_rest(self) -> bool:
        return (
            all(program.there and not program.waiting for program in self.programs)
            and len({program.position for program in self.programs}) == 1
        )

    def findings(self) -> list[Finding]:
        return findings(self.programs)


async def soak(seconds: float, seed: int) -> bool:
    """Whether nothing was found."""
    planned = schedule(seconds, seed)
    print(planned, flush=True)
    storm = await JsonStorm.start(seed)
    began = time.monotonic()
    try:
        with soaking.judged() as verdict:
            await storm.run(planned)
            said = sum(len(program.record.sent) for program in storm.programs)
            returns = sum(program.returns for program in storm.programs)
            seconds = time.monotonic() - began
            summary = f"seed {seed}: {said} lines said, {returns} returns, {seconds:.0f} s"
            verdict.tell(summary, storm.findings(), storm.cluster.blemishes())
    finally:
        await storm.close()
    return verdict.good


if __name__ == "__main__":
    sys.exit(soaking.main(soak, __doc__, seconds=300))
