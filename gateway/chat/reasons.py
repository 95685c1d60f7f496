"""Why a connection ended: every reason in one place, each counted under its name."""

from __future__ import annotations

import enum


class CloseReason(enum.Enum):
    """``value`` is the name in logs and metrics."""

    QUIT = "quit"
    HUNG_UP = "hung_up"
    """The client closed its side, or its connection broke."""
    NAME_TIMEOUT = "name_timeout"
    SENDQ_FULL = "sendq_full"
    """More bytes waited for the client than its SendQ may hold."""
    SENDQ_STALLED = "sendq_stalled"
    """Bytes waited too long without any progress."""
    REPLACED = "replaced"
    """The same session went on elsewhere."""
    DRAINED = "drained"
    """The gateway left service."""
    FAILED = "failed"
    """A bug; its traceback is in the log."""
