"""HTTP for operators and their tools: ``/healthz``, ``/readyz``, ``/metrics``.

Answered by the gateway's own loop: that is what ``/healthz`` proves.  The protocol is
``h11``'s, a sans-I/O HTTP/1.1.  Knows nothing of what is told.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import h11

from gateway.ops.logs import get_logger

log = get_logger(__name__)

_READ_BYTES = 4096
_MOST_CONNECTIONS = 64
_REQUEST_S = 5.0
"""Until a request must be there whole."""
_ANSWER_S = 30.0
"""Until its answer must be taken."""
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told; ``body`` is text that ends in a line end."""

    body: bytes
    content_type: str = _TEXT
    status: HTTPStatus = HTTPStatus.OK


_NOT_ALLOWED = Answer(b"only GET and HEAD\n", status=HTTPStatus.METHOD_NOT_ALLOWED)

Route = Callable[[str], Answer]
"""Makes an answer for a request's ``Accept`` header."""


def health(_accept: str) -> Answer:
    """The loop lives."""
    return Answer(b"ok\n")


def readiness(why_not: Callable[[], list[str]]) -> Route:
    """503 with a line for each reason not to send new clients here."""

    def ready(_accept: str) -> Answer:
        reasons = why_not()
        if not reasons:
            return Answer(b"ready\n")
        text = "".join(f"not ready: {reason}\n" for reason in reasons)
        return Answer(text.encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)

    return ready


class Admin:
    """Answers GET and HEAD for the paths in ``routes``."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def start(self, bound: socket.socket) -> None:
        """Listen on a bound socket until ``close()``.  Raises ``OSError``."""
        self._server = await asyncio.start_server(self._serve, sock=bound, limit=_READ_BYTES)

    async def close(self) -> None:
        """End all connections, whatever they are at.  Idempotent."""
        server, self._server = self._server, None
        if server:
            server.close()
            tasks = tuple(self._connections)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections[task] = None
        if len(self._connections) > _MOST_CONNECTIONS:
            # Idle ones must not keep a health check out.
            next(iter(self._connections)).cancel()
        # So that drain() waits until the kernel has everything.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._talk(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # gone, too slow, or ended: by a newer one or by close(), which waits for this
        except Exception:
            log.exception("admin request failed")
        finally:
            self._connections.pop(task, None)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; who has another one connects again."""
        http = h11.Connection(h11.SERVER)
        try:
            async with asyncio.timeout(_REQUEST_S):
                request = await _request(http, reader)
            if request is None:
                return
            answer = self._answer(request)
        except h11.RemoteProtocolError as error:
            request = None
            answer = Answer(f"{error}\n".encode(), status=HTTPStatus(error.error_status_hint))
        body = b"" if request and request.method == b"HEAD" else answer.body
        response = h11.Response(
            status_code=answer.status,
            reason=answer.status.phrase.encode(),
            headers=[
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("Cache-Control", "no-store"),
                ("Connection", "close"),
                *((("Allow", "GET, HEAD"),) if answer is _NOT_ALLOWED else ()),
            ],
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        async with asyncio.timeout(_ANSWER_S):
            await writer.drain()

    def _answer(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        route = self._routes.get(path)
        if route is None:
            known = " ".join(self._routes)
            return Answer(f"there are: {known}\n".encode(), status=HTTPStatus.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return _NOT_ALLOWED
        accepted = [value.decode("latin-1") for name, value in request.headers if name == b"accept"]
        return route(",".join(accepted))


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request, without waiting for its body; None if the client goes instead.

    Raises ``h11.RemoteProtocolError`` for what is no HTTP.
    """
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_READ_BYTES))
    return event if isinstance(event, h11.Request) else None
