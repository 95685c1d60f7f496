"""Cores apart for what is measured and for the load generator: neither waits for the other's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Half(Enum):
    """Of the cores that the bench may use."""

    SYSTEM = slice(None, None, 2)
    GENERATOR = slice(1, None, 2)


@contextmanager
def on(half: Half) -> Iterator[None]:
    """Processes that are started in the block run on these cores only, where that can be said."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        yield
        return
    os.sched_setaffinity(0, cores[half.value])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
