"""How promptly the event loop runs, and a word to systemd that it does.

Knows nothing of what the loop does.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from gateway.ops.histogram import Histogram, RecentMax

_BEAT_S = 0.2


class Pulse:
    """Runs a timer all the time, and sees how late it is."""

    def __init__(self, systemd: Systemd) -> None:
        self.lag_s = Histogram()
        self._highest_s = RecentMax()
        self._systemd = systemd

    @property
    def max_lag_s(self) -> float:
        """The longest delay of about the last minute."""
        return self._highest_s.value(time.monotonic())

    async def run_forever(self) -> None:
        """Beat, as long as the task lives."""
        while True:
            # The loop's own clock stands still while the loop is held up.
            due = time.monotonic() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            now = time.monotonic()
            late_s = max(0.0, now - due)
            self.lag_s.observe(late_s)
            self._highest_s.observe(late_s, now)
            self._systemd.alive(now)


class Systemd:
    """Tells systemd how it goes, where systemd asked for it; elsewhere does nothing.

    Source: sd_notify(3), "Standalone Implementations".
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\\0" + address[1:] if address.startswith("@") else address
        limit_us = environment.get("WATCHDOG_USEC", "") if _is_for_us(environment) else ""
        self._interval_s = int(limit_us) / 3e6 if limit_us.isdecimal() else 0.0
        self._due_at = 0.0 if self._interval_s else float("inf")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def ready(self) -> None:
        self._tell("READY=1\nSTATUS=ready")

    def doing(self, what: str) -> None:
        """What is going on, in a few words, for ``systemctl status``."""
        self._tell(f"STATUS={what}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=draining")

    def alive(self, now: float) -> None:
        """Feed the watchdog, three times in the time that it waits."""
        if now >= self._due_at:
            self._due_at = now + self._interval_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A systemd that does not listen must not stop a gateway.
        with suppress(OSError):
            self._socket.sendto(state.encode(), self._address)


def _is_for_us(environment: Mapping[str, str]) -> bool:
    return environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
