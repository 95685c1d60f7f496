"""A real HAProxy in front of the local cluster, with the configuration of production.

It has the face of ``Dealer``, which it stands in for.  Knows nothing of how the gateways run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gateway.net.handoff import Handoff, listen
from gateway.processes import end, lines, spawn

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
MOST_GATEWAYS = 9
"""As many places as the configuration has."""
FLAGS = ("--proxy-protocol", "--drain-delay", "2")
"""What a gateway behind it needs, besides ``--admin-port``."""
STATES = ("is DOWN", "is UP", "has no server")
STOP_TIMEOUT_S = 5.0
BACKOFF_S = 1.0


class BalancerError(Exception):
    """HAProxy can't be used here; one line why."""


class Balancer:
    """HAProxy, accepting on ``listener``, as an async context manager.

    ``gateways`` are the port and the admin port of each, on the loopback.  What HAProxy says of
    them is given to ``say``.  Raises ``BalancerError`` if there is no HAProxy to be had.
    """

    def __init__(
        self,
        listener: socket.socket,
        gateways: Sequence[tuple[int, int]],
        say: Callable[[str], None],
    ) -> None:
        self._program = shutil.which("haproxy")
        if self._program is None:
            raise BalancerError("no haproxy on the PATH (Debian, Ubuntu: apt-get install haproxy)")
        if not CONFIGURATION.is_file():
            raise BalancerError("deploy/haproxy/haproxy.cfg is not here: run it from a checkout")
        if len(gateways) > MOST_GATEWAYS:
            raise BalancerError(f"haproxy.cfg has places for {MOST_GATEWAYS} gateways")
        self._listener = listener
        self._page = listen("127.0.0.1", 0)
        self._gateways = gateways
        self._say = say
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._closed = False
        self._handoffs: list[Handoff] = []
        self._complete = asyncio.Event()

    @property
    def page(self) -> str:
        """Where HAProxy shows what it thinks of the gateways."""
        return f"http://127.0.0.1:{self._page.getsockname()[1]}"

    async def __aenter__(self) -> Balancer:
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self._process:
            await end(self._process, STOP_TIMEOUT_S)
        self._page.close()

    def add(self, channel: socket.socket, on_change: Callable[[], None]) -> Handoff:
        """A gateway's channel, for its ``ready``: connections come to it by themselves."""

        def changed() -> None:
            if sum(each.ready for each in self._handoffs) == len(self._gateways):
                self._complete.set()
            on_change()

        handoff = Handoff(channel, on_change=changed, on_return=socket.socket.close)
        self._handoffs = [each for each in self._handoffs if not each.ended] + [handoff]
        return handoff

    def close(self) -> None:
        """Accept no more; those who are connected stay.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._listener.close()
            if self._process and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGUSR1)

    async def _start(self) -> Process:
        assert self._program
        # The listening sockets are ours: they stay when HAProxy is started again.
        sockets = [self._listener.fileno(), self._page.fileno()]
        self._process = await spawn(
            [self._program, "-db", "-f", str(CONFIGURATION)],
            pass_fds=sockets,
            # Without what another shell may have set: every server that is set is used.
            # What is a gateway's own, a password perhaps, is none of its business.
            env={k: v for k, v in os.environ.items() if not k.startswith(("SERVER_", "GATEWAY_"))}
            | dict(self._environment()),
        )
        return self._process

    def _environment(self) -> Iterator[tuple[str, str]]:
        yield "CHAT_BIND", f"fd@{self._listener.fileno()}"
        yield "STATS_BIND", f"fd@{self._page.fileno()}"
        for place, (port, admin) in enumerate(self._gateways, 1):
            yield f"SERVER_{place}", f"127.0.0.1:{port}"
            yield f"SERVER_{place}_ADMIN", str(admin)

    async def _keep(self) -> None:
        """Tell what it says, and start it again whenever it ends unasked."""
        # Sooner, it would find one gateway after the other down.
        await self._complete.wait()
        while not self._closed:
            process = await self._start()
            async for line in lines(process):
                if not self._closed and _is_noteworthy(line):
                    self._say(f"HAProxy: {line}")
            await process.wait()
            if not self._closed:
                self._say("HAProxy ended; starting it again")
                await asyncio.sleep(BACKOFF_S)


def _is_noteworthy(line: str) -> bool:
    """States come twice: in its log, and on stderr after a ``[LEVEL]``, where the rest is, too."""
    return line.startswith(("[ALERT]", "[WARNING]")) != any(state in line for state in STATES)
