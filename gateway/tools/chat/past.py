"""What was typed before: kept in a file of one's own, the newest part of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

MOST_BYTES = 262_144


def history_path(environment: Mapping[str, str]) -> Path:
    """XDG Base Directory Specification 0.8: state that need not be carried along."""
    state = environment.get("XDG_STATE_HOME", "")
    # A relative path there is to be ignored.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "chat-gateway" / "history"


def open_history(path: Path) -> History:
    """The history in ``path``; in memory only, if no file can be had there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_size > MOST_BYTES:
            _shorten(path)
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(path)


def _shorten(path: Path) -> None:
    """Keep the newest half."""
    newest = path.read_bytes()[-MOST_BYTES // 2 :]
    # An entry starts with a blank line and a comment.
    _, start, entries = newest.partition(b"\n\n# ")
    path.write_bytes(start + entries)
