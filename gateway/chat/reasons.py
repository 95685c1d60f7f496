"""Why a connection ended or never began: every reason in one place, counted under its name."""

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
    UNFLUSHED = "unflushed"
    """It was to be closed, and had not taken what waited for it when the time for that was over."""
    REFUSED = "refused"
    """A program's name or room was refused; it was told why."""
    REPLACED = "replaced"
    """The same session went on elsewhere."""
    DRAINED = "drained"
    """The gateway left service."""
    FAILED = "failed"
    """A bug; its traceback is in the log."""


class Refusal(enum.Enum):
    """Why a connection never came to have a session."""

    FULL = "full"
    """As many as allowed were there."""
    UNTRUSTED = "untrusted"
    """With ``--proxy-protocol``, it did not come from a trusted proxy."""
    PROXY_HEADER = "proxy_header"
    """Its PROXY header was broken, or something else."""
    PROXY_TIMEOUT = "proxy_timeout"
    TLS_HANDSHAKE = "tls_handshake"
    """It failed, or took too long."""
    GONE = "gone"
    """The client was gone before it was here."""
    DRAINED = "drained"
    """The gateway left service before it was here."""
