"""Signals: what ends a gateway, and what has it read again what can be read again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

from gateway.ops.logs import get_logger

log = get_logger(__name__)


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the process at once, with 1."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    come = 0

    # Not the loop's own: also when the loop hangs, two signals are to end the process.
    # Python runs this between two instructions, wherever its main thread is.
    def signalled(_number: int, _frame: object) -> None:
        nonlocal come
        come += 1
        if come > 1:
            os._exit(1)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signalled)
    return stop


def on_hang_up(reload: Callable[[], None], stop: asyncio.Event, *, reloads: bool) -> None:
    """Have SIGHUP call ``reload``, or log that nothing ``reloads`` here.

    It also means that a terminal was closed: that ends a gateway in which nothing does.
    """
    if reloads:
        hung_up = reload
    elif sys.stderr is not None and sys.stderr.isatty():
        hung_up = stop.set
    else:
        hung_up = partial(log.info, "nothing to reload")
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
