"""Promise 5: a slow, silent or hostile client costs the others nothing.

While somebody does harm, a crowd on the same gateway talks all the time and is
compared with itself a moment before.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import hostile
import psutil
import pytest
import pytest_asyncio
from checker import report
from crowd import RATES, Crowd
from processes import POLL_S, GatewayProcess, Process, RealRedis, eventually, fault_lasts

from gateway.config import Config

pytestmark = pytest.mark.undisturbed

PEOPLE = int(os.environ.get("ALONE_PEOPLE", "40"))
WINDOWS, WINDOW_S = 5, 0.5
SLOWER_AT_MOST, NOISE_S = 2.0, 0.05
BAD_TRIES = 3
"""So many comparisons must go wrong, and outnumber the good ones: a busy machine spoils some."""
GROWS_AT_MOST = 1.2
RECOVERS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Attack:
    """What is done to the gateway, which has these flags."""

    kind: str
    flags: tuple[str, ...] = ()
    may_hold_bytes: int = 0
    """What the gateway may need for it while it lasts."""


ATTACKS = [
    Attack("silent"),
    Attack("dribbling"),
    # Read at the default rate, 100 MB would take 40 minutes and be no work at all.
    Attack("endless_line", ("--rate", "8000", "--burst", "8000")),
    Attack("flooding"),
    # The kernel takes megabytes before a SendQ even begins to fill.
    Attack("deaf", RATES, may_hold_bytes=2 * hostile.DEAF * Config().sendq),
    Attack("resetting"),
]


class Victim:
    """One gateway, and the well-behaved people on it."""

    def __init__(self, gateway: GatewayProcess, redis: RealRedis) -> None:
        self.gateway = gateway
        self.redis = redis
        self.crowd = Crowd(PEOPLE)
        self.peak_bytes = 0
        self._process = psutil.Process(gateway.pid)

    @property
    def memory_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    @property
    def descriptors(self) -> int:
        """Those to Redis excepted: one more is opened when more is asked at once, and kept."""
        to_redis = [
            each
            for each in self._process.net_connections("inet")
            if each.raddr and each.raddr.port == self.redis.port
        ]
        return self._process.num_fds() - len(to_redis)

    async def watch_memory(self) -> None:
        """Keep its peak, for ever."""
        self.peak_bytes = 0
        while True:
            self.peak_bytes = max(self.peak_bytes, self.memory_bytes)
            await asyncio.sleep(POLL_S)

    async def shrinks_to(self, memory_bytes: int, descriptors: int) -> None:
        """Wait until nothing is left of what there was more than this."""
        await eventually(
            lambda: self.descriptors == descriptors,
            RECOVERS_WITHIN_S,
            f"{descriptors} descriptors as before;",
            lambda: self.descriptors,
        )
        await eventually(
            lambda: self.memory_bytes <= GROWS_AT_MOST * memory_bytes,
            RECOVERS_WITHIN_S,
            f"{memory_bytes} bytes of memory as before, or a fifth more;",
            lambda: self.memory_bytes,
        )

    async def p99_s(self) -> float:
        """How late the latest hundredth of all lines is heard: the median of a few windows."""
        begins = []
        for _ in range(WINDOWS):
            begins.append(time.monotonic())
            await fault_lasts(WINDOW_S)
        late_s = [[0.0] for _ in begins]
        now = time.monotonic()
        sent_at = {
            f"{talker.record.name}: {text}": at
            for talker in self.crowd.talkers
            for at, text in talker.record.sent
            if begins[0] <= at
        }
        for talker in self.crowd.talkers:
            person, own = talker.person, f"{talker.record.name}: "
            heard_at = dict(zip(person.lines, person.heard_at, strict=True))
            for line, at in sent_at.items():
                if not line.startswith(own):
                    window = min(int((at - begins[0]) / WINDOW_S), WINDOWS - 1)
                    late_s[window].append(heard_at.get(line, now) - at)
        return statistics.median(statistics.quantiles(late, n=100)[98] for late in late_s)


class Hostile(Process):
    """The program ``hostile.py`` at its work."""

    def begin(self, attack: Attack, gateway: GatewayProcess) -> Hostile:
        self.spawn(sys.executable, str(Path(hostile.__file__)), attack.kind, str(gateway.port))
        return self

    async def says(self, word: str) -> None:
        await eventually(
            lambda: word in self.output.split() or not self.running,
            30,
            f"{self.label} is {word};",
            lambda: self.output,
        )
        assert self.running, self.output


@pytest_asyncio.fixture
async def victim(start_cluster, attack: Attack) -> AsyncIterator[Victim]:
    asyncio.get_running_loop().set_debug(False)  # it would be measured, too
    cluster = await start_cluster(1, *attack.flags)
    victim = Victim(cluster.gateways[0], cluster.redis)
    await victim.crowd.gather(victim.gateway)
    yield victim
    await victim.crowd.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.kind for attack in ATTACKS])
async def test_well_behaved_people_notice_nothing_of_one_who_is(victim: Victim, attack: Attack):
    """Promise 5: no line lost, nobody cut off, no wait; and nothing stays behind."""
    compared: list[tuple[float, float]] = []
    bad = 0
    while len(compared) <= 2 * bad and bad < BAD_TRIES:
        quiet_s = await victim.p99_s()
        memory_bytes, descriptors = victim.memory_bytes, victim.descriptors
        attacked_s, peak_bytes = await under_attack(victim, attack)
        assert peak_bytes <= GROWS_AT_MOST * memory_bytes + attack.may_hold_bytes
        await victim.shrinks_to(memory_bytes, descriptors)
        compared.append((quiet_s, attacked_s))
        bad += attacked_s > max(SLOWER_AT_MOST * quiet_s, quiet_s + NOISE_S)
    assert bad < BAD_TRIES, f"p99 in s, quiet and attacked: {compared}"
    await victim.crowd.settle()
    assert_all_is_well(victim)


async def under_attack(victim: Victim, attack: Attack) -> tuple[float, int]:
    """The p99 while the attack lasts, and the most memory; it was carried out on return."""
    attacker = Hostile(attack.kind).begin(attack, victim.gateway)
    watching = asyncio.create_task(victim.watch_memory())
    try:
        await attacker.says("there")
        p99_s = await victim.p99_s()
        await attacker.says("done")
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
        attacker.close()
    return p99_s, victim.peak_bytes


def assert_all_is_well(victim: Victim) -> None:
    for talker in victim.crowd.talkers:
        # Some of the hostile have names, and are heard: that is their right.
        talker.person.lines[:] = [
            line for line in talker.person.lines if not line.startswith(hostile.NAME)
        ]
    findings = victim.crowd.findings()
    assert not findings, report(findings)
