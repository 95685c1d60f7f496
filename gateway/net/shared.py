"""The same bytes for one socket after the other, without a copy of them for each.

A fan-out sends a large flush to everybody.  From the second socket on its bytes are in a file
in memory, whose pages the kernel sends as they are (sendfile(2)): copies would cost as much as
all else that a send does, and the kernel would hold one for each reader who is slow.
"""

from __future__ import annotations

import os
import socket

LEAST_BYTES = 4096
"""Of fewer a copy costs less than to share them."""
_KEPT = 4
"""A flush has as many forms as its room's members have fronts."""


class Shared:
    """What was sent last, while it may be sent again."""

    __slots__ = ("_kept", "_possible")

    def __init__(self) -> None:
        self._kept: dict[int, _Sheet] = {}  # by the identity of their data
        self._possible = hasattr(os, "memfd_create")  # Linux has it

    def send(self, sock: socket.socket, data: bytes) -> int:
        """As ``sock.send(data)``."""
        sheet = self._kept.get(id(data))
        if sheet is None:
            self._keep(data)
        elif self._possible:
            try:
                file = sheet.file()
            except OSError:  # not allowed here, or too many files are open
                self._possible = False
            else:
                return os.sendfile(sock.fileno(), file, 0, len(data))
        return sock.send(data)

    def _keep(self, data: bytes) -> None:
        if len(self._kept) == _KEPT:
            self._kept.pop(next(iter(self._kept))).close()
        self._kept[id(data)] = _Sheet(data)


class _Sheet:
    __slots__ = ("_data", "_file")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._file: int | None = None

    def file(self) -> int:
        """Its descriptor.  It is written once: later its pages may be on their way."""
        if self._file is None:
            self._file = os.memfd_create("shared")
            os.write(self._file, self._data)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
