"""A TCP proxy on the loopback that breaks what passes through it, on demand.

Knows nothing of Redis.  Bytes that a fault swallowed are gone, so such a
connection stays dark for ever, as TCP would keep it: only new ones heal.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

CHUNK_BYTES = 65_536


class FaultyProxy:
    """Listens on ``port`` and passes everything on to 127.0.0.1:``target_port``."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._listening: socket.socket | None = None
        self._links: set[_Link] = set()
        self._swallows_requests = False
        self._swallows_answers = False
        self._delay_s = 0.0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> FaultyProxy:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listening, self._accept)
        return self

    async def close(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
            await self.drop_all()

    def blackhole(self, *, requests: bool = True, answers: bool = True) -> None:
        """Swallow what comes, in old and new connections, and close nothing."""
        self._swallows_requests = requests
        self._swallows_answers = answers

    def delay_answers(self, seconds: float) -> None:
        """Pass answers on ``seconds`` after they came; requests at once."""
        self._delay_s = seconds

    def heal(self) -> None:
        """Break nothing any more."""
        self.blackhole(requests=False, answers=False)
        self.delay_answers(0)

    async def drop_all(self) -> int:
        """Close all connections, both sides; returns how many there were."""
        links = tuple(self._links)
        for link in links:
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        return len(links)

    def _accept(self) -> None:
        # Not loop.sock_accept(): cancelled at the wrong moment it forgets what it accepted.
        assert self._listening is not None
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listening.accept()
            client.setblocking(False)
            self._links.add(_Link(client, self._carry, self._links.discard))

    async def _carry(
        self, link: _Link, client: asyncio.StreamReader, answers: asyncio.StreamWriter
    ) -> None:
        """Pass bytes in both directions until one side ends."""
        async with _connection(port=self.target_port) as (upstream, requests):
            late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            directions = [
                asyncio.create_task(self._requests(link, client, requests)),
                asyncio.create_task(self._answers(link, upstream, late)),
                asyncio.create_task(_pass_late(late, answers)),
            ]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)

    async def _requests(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            link.requests_dark |= self._swallows_requests
            if not link.requests_dark:
                writer.write(data)
                await writer.drain()

    async def _answers(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        late: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        clock = asyncio.get_running_loop().time
        while data := await reader.read(CHUNK_BYTES):
            link.answers_dark |= self._swallows_answers
            if not link.answers_dark:
                late.put_nowait((clock() + self._delay_s, data))


Carry = Callable[["_Link", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Link:
    """One connection through the proxy, and which of its directions went dark."""

    requests_dark = False
    answers_dark = False

    def __init__(
        self,
        client: socket.socket,
        carry: Carry,
        on_end: Callable[[_Link], None],
    ) -> None:
        self.task = asyncio.create_task(self._run(client, carry))

        # Also of a task that was cancelled before it began.
        def ended(_task: asyncio.Task[None]) -> None:
            client.close()
            on_end(self)

        self.task.add_done_callback(ended)

    async def _run(
        self,
        client: socket.socket,
        carry: Carry,
    ) -> None:
        # A refused connection or a reset on one side is the end of the other.
        with contextlib.suppress(OSError):
            async with _connection(sock=client) as (reader, writer):
                await carry(self, reader, writer)


@contextlib.asynccontextmanager
async def _connection(
    port: int | None = None, sock: socket.socket | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Streams over ``sock``, or to a port of the loopback; aborted at the end."""
    host = "127.0.0.1" if port else None
    reader, writer = await asyncio.open_connection(host, port, sock=sock)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pass_late(
    late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
) -> None:
    """Write each piece when it is due, in the order in which they came."""
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await late.get()
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
