"""What SIGINT and SIGTERM do: the first one asks, the second one ends, whatever the loop is at."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import time, uvloop
from gateway.signals import stop_on_signals

async def main():
    stop = stop_on_signals()
    print("there", flush=True)
    {0}
    print("stopped", flush=True)

uvloop.run(main())
"""
BOTH = (signal.SIGINT, signal.SIGTERM)


def run(what: str, *numbers: signal.Signals) -> tuple[int, str]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(what)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "there\n"
            for number in numbers:
                process.send_signal(number)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, said


@pytest.mark.parametrize("number", BOTH)
def test_the_first_one_asks_to_stop(number):
    assert run("await stop.wait()", number) == (0, "stopped\n")


@pytest.mark.parametrize("numbers", [*itertools.permutations(BOTH)])
@pytest.mark.parametrize("what", ["await __import__('asyncio').Event().wait()", "time.sleep(60)"])
def test_two_end_it_with_1_also_when_the_loop_hangs(what, numbers):
    """DESIGN 4, exit codes: 1 for anything but a full drain and bad usage."""
    assert run(what, *numbers) == (1, "")


HANG_UP = """
import asyncio, uvloop
from gateway.ops import logs
from gateway.signals import on_hang_up, stop_on_signals

async def main():
    logs.setup("text")
    stop = stop_on_signals()
    on_hang_up(lambda: print("read again", flush=True), stop, reloads={0})
    print("there", flush=True)
    await stop.wait()

uvloop.run(main())
"""


@pytest.mark.parametrize(
    ("reloads", "said"), [(True, "read again\n"), (False, " info nothing to reload\n")]
)
def test_a_hang_up_is_answered_and_ends_nothing(reloads, said):
    with subprocess.Popen(
        [sys.executable, "-c", HANG_UP.format(reloads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "there\n"
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline().endswith(said)
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "")
