"""Signals: what ends a gateway, and what has it read again what can be read again."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)
    return stop


def on_hang_up(reload: Callable[[], None], stop: asyncio.Event, *, reloads: bool) -> None:
    """Have SIGHUP call ``reload``.

    It also means that a terminal was closed: that ends a gateway in which nothing ``reloads``.
    """
    ends = not reloads and sys.stderr is not None and sys.stderr.isatty()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, stop.set if ends else reload)
