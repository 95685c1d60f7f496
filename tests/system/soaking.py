"""What the long forms of tests share: their command line, and how they tell what was found."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from checker import Finding, report
from cluster import logs
from processes import Process

Soak = Callable[[float, int], Coroutine[Any, Any, bool]]
"""``(seconds, seed)``; whether nothing was found."""


class Verdict:
    """``good`` once nothing was found."""

    good = False

    def tell(self, summary: str, findings: Sequence[Finding], blemishes: Sequence[str]) -> None:
        self.good = not findings and not blemishes
        print(summary)
        print("\n".join([report(findings), *blemishes]))


@contextlib.contextmanager
def judged() -> Iterator[Verdict]:
    """Shows what the processes wrote, unless the verdict is good."""
    verdict = Verdict()
    try:
        yield verdict
    finally:
        if not verdict.good:
            for label, text in logs():
                print(f"--- {label}\n{text}")


def main(
    soak: Callable[[float, int], Coroutine[Any, Any, bool]], about: str, *, seconds: float
) -> int:
    """Run ``soak(seconds, seed)`` as the command line says; the exit code."""
    options = argparse.ArgumentParser(description=about.splitlines()[0])
    options.add_argument("--seconds", type=float, default=seconds)
    options.add_argument("--seed", type=int, default=None)
    chosen = options.parse_args()
    seed = random.randrange(1_000_000) if chosen.seed is None else chosen.seed
    print(f"replay with: --seconds {chosen.seconds:g} --seed {seed}", flush=True)
    try:
        return 0 if asyncio.run(soak(chosen.seconds, seed)) else 1
    finally:
        Process.close_all()
