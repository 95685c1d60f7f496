"""``python -m gateway`` and the console script ``gateway``, which are the same."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    # While the rest is imported there is nothing yet to drain, and an end is a clean one.
    # As soon as there is something, each of these two has its own way with signals.
    if sys.argv[1:2] in (["serve"], ["cluster"]):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(0))
    try:
        from gateway.cli import main as run
    except KeyboardInterrupt:
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
