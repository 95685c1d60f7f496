"""How long a gateway's event loop is busy without a pause, as seen from outside.

Refuses to give a proper name, over and over: each answer waits for nothing but the loop.  So
the slowest answer bounds the loop's longest iteration (the machine's scheduler adds to it).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_EVERY_S = 0.005
_TIMEOUT_S = 10.0
_PROMPT = b"Enter your name: "


class Probe:
    """Asks from a thread of its own until the block ends; ``longest_ms`` is its figure."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.longest_ms = 0.0
        self.answers = 0
        self._target = target
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe")

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(ConnectionError), self._connect() as sock:
                self._hear(sock)
                while not self._ending.wait(_EVERY_S):
                    asked = time.monotonic()
                    sock.sendall(b"!\n")
                    answered = self._hear(sock)
                    self.longest_ms = max(self.longest_ms, (time.monotonic() - asked) * 1e3)
                    if not answered:
                        break
                    self.answers += 1

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._target, _TIMEOUT_S)

    def _hear(self, sock: socket.socket) -> bool:
        heard = b""
        with contextlib.suppress(TimeoutError):
            while not heard.endswith(_PROMPT):
                data = sock.recv(4096)
                if not data:
                    return False
                heard += data
        return True
