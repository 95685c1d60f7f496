"""Signals that come while a command is still being imported: nothing has begun, so it just ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest


def run(tmp_path, package: str, number: signal.Signals, *args: str) -> tuple[int, str]:
    """``gateway ARGS``, signalled while it imports ``package``: its exit code and its stderr."""
    # Short ones: Python hears of a signal that comes just before a sleep only after it.
    stand_in = "import time\nprint('importing', flush=True)\nwhile True: time.sleep(0.02)\n"
    (tmp_path / f"{package}.py").write_text(stand_in)
    clean = {name: value for name, value in os.environ.items() if name[:8] != "GATEWAY_"}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean | {"PYTHONPATH": str(tmp_path)},
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "importing\n"
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("serve", "click"),
        ("serve", "redis"),
        ("serve", "uvloop"),
        ("cluster", "click"),
        ("cluster", "uvloop"),
    ],
)
def test_a_gateway_or_a_cluster_ends_cleanly(tmp_path, command, package, number):
    """DESIGN 4: exit code 0 after a signal and a full drain."""
    assert run(tmp_path, package, number, command) == (0, "")


@pytest.mark.parametrize("package", ["click", "redis", "uvloop"])
def test_ctrl_c_ends_another_command_without_a_traceback(tmp_path, package):
    code, err = run(tmp_path, package, signal.SIGINT, "status", "--redis-url", "")
    assert code == 1
    assert err in ("", "\ngateway status: interrupted\n")
