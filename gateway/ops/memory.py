"""What the C library keeps of memory that was freed, given back to the system.

Bytes that waited for slow clients leave holes among what lives on, which glibc
keeps for ever unless it is asked (malloc_trim(3)).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], int]:
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim or (lambda _keep_bytes: 0)  # musl and macOS do so by themselves


_trim = _trimmer()


def give_back() -> bool:
    """Return free memory to the system; whether there was any.  Takes some milliseconds."""
    return bool(_trim(0))
