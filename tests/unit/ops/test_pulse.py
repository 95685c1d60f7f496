"""The loop's pulse, and what systemd is told of it: a real datagram socket in systemd's place."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest

from gateway.ops.pulse import Pulse, Systemd


@pytest.fixture
def journal(tmp_path):
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


@pytest.fixture
def systemd(journal):
    made = []

    def make(**environment):
        made.append(Systemd({"NOTIFY_SOCKET": journal.getsockname(), **environment}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def told(journal):
    found = []
    while True:
        try:
            found.append(journal.recv(4096).decode())
        except BlockingIOError:
            return found


def test_systemd_is_told_of_the_beginning_and_the_end(systemd, journal):
    here = systemd()
    here.doing("waiting for Redis")
    here.ready()
    here.stopping()
    assert told(journal) == [
        "STATUS=waiting for Redis",
        "READY=1\nSTATUS=ready",
        "STOPPING=1\nSTATUS=draining",
    ]


def test_the_watchdog_is_fed_three_times_in_its_time(systemd, journal):
    here = systemd(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    for tenths in range(31):
        here.alive(1000 + tenths / 10)
    assert told(journal) == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}],
    ids=str,
)
def test_no_watchdog_that_does_not_wait_for_us_is_fed(systemd, journal, environment):
    systemd(**environment).alive(1000)
    assert told(journal) == []


def test_without_systemd_nothing_happens(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}):
        here = Systemd(environment)
        here.ready()
        here.alive(0)
        here.close()


async def test_a_loop_that_is_held_up_shows(systemd):
    pulse = Pulse(systemd())
    task = asyncio.create_task(pulse.run_forever())
    await asyncio.sleep(0)  # it has begun
    time.sleep(0.4)  # noqa: ASYNC251  the fault
    deadline = time.monotonic() + 5
    while not sum(pulse.lag_s.counts):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    task.cancel()
    assert 0.2 < pulse.max_lag_s < 5
