"""HTTP for operators: answered by this loop, to real HTTP clients, and to those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import time

import pytest

from gateway.net.listener import bind
from gateway.ops import admin
from gateway.ops.admin import Admin, Answer, health, readiness

BIG = b"x" * 3_000_000


class Desk:
    def __init__(self):
        self.reasons = []
        self.accepted = []
        self.admin = Admin(
            {
                "/healthz": health,
                "/readyz": readiness(lambda: self.reasons),
                "/big": lambda _: Answer(BIG),
                "/accept": self._accept,
                "/broken": lambda _: 1 / 0,
            }
        )

    def _accept(self, accept):
        self.accepted.append(accept)
        return Answer(b"", "application/x-thing")

    async def get(self, path, method="GET", **more):
        return await asyncio.to_thread(self._get, path, method, **more)

    def _get(self, path, method, **more):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request(method, path, **more)
            answer = client.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            client.close()

    async def raw(self, data):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.fixture
async def desk():
    desk = Desk()
    bound = bind("127.0.0.1", 0)
    desk.port = bound.getsockname()[1]
    await desk.admin.start(bound)
    yield desk
    await desk.admin.close()


async def test_health_is_an_answer(desk):
    status, body, headers = await desk.get("/healthz")
    assert (status, body) == (200, b"ok\n")
    assert headers["Cache-Control"] == "no-store"


async def test_readiness_says_why_not(desk):
    assert (await desk.get("/readyz"))[:2] == (200, b"ready\n")
    desk.reasons = ["draining", "full: 3 connections"]
    status, body, _ = await desk.get("/readyz?verbose=1")
    assert (status, body) == (503, b"not ready: draining\nnot ready: full: 3 connections\n")


async def test_head_has_no_body(desk):
    status, body, headers = await desk.get("/healthz", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "3")


async def test_other_methods_and_paths_are_refused(desk):
    status, _, headers = await desk.get("/healthz", "POST", body=b"x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, body, _ = await desk.get("/")
    assert (status, body.split()[-1]) == (404, b"/broken")


async def test_a_large_answer_arrives_whole(desk):
    assert (await desk.get("/big"))[1] == BIG


async def test_what_a_client_accepts_is_handed_on(desk):
    _, _, headers = await desk.get("/accept", headers={"Accept": "text/plain;version=0.0.4"})
    assert headers["Content-Type"] == "application/x-thing"
    assert desk.accepted == ["text/plain;version=0.0.4"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"alice\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 200_000, b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n", b"400"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_no_http_gets_an_error_or_nothing(desk, sent, status):
    answer = await desk.raw(sent)
    assert not answer or answer.startswith(b"HTTP/1.1 " + status)


async def test_http_1_0_without_a_host_is_understood(desk):
    """HAProxy's and many other simple checks."""
    answer = await desk.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok\n")


async def test_a_mistake_here_is_logged_and_hurts_nobody_else(desk, caplog):
    with pytest.raises(http.client.RemoteDisconnected):
        await desk.get("/broken")
    assert "admin request failed" in caplog.text
    assert (await desk.get("/healthz"))[0] == 200


async def test_who_says_nothing_is_not_waited_for(desk, monkeypatch):
    monkeypatch.setattr(admin, "_REQUEST_S", 0.05)
    assert await desk.raw(b"GET /healthz") == b""


async def test_those_who_say_nothing_keep_nobody_out(desk):
    """A health check that got no answer would have a gateway restarted."""
    async with contextlib.AsyncExitStack() as stack:
        idle = []
        for _ in range(70):
            reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
            stack.callback(writer.close)
            idle.append(reader)
        assert (await desk.get("/healthz"))[0] == 200
        # The oldest went for the newer ones.
        assert await asyncio.wait_for(idle[0].read(), 10) == b""
        assert not idle[-1].at_eof()


async def test_an_answer_that_is_not_taken_is_not_waited_for(desk, monkeypatch):
    monkeypatch.setattr(admin, "_ANSWER_S", 0.05)
    with socket.create_connection(("127.0.0.1", desk.port)) as client:
        client.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        deadline = time.monotonic() + 10
        while desk.admin._connections or time.monotonic() < deadline - 9.9:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_closing_ends_what_is_open(desk):
    with socket.create_connection(("127.0.0.1", desk.port), 10) as client:
        client.sendall(b"GET /hea")
        assert (await desk.get("/healthz"))[0] == 200  # so the one before was accepted
        await desk.admin.close()
        await desk.admin.close()
        assert await asyncio.to_thread(client.recv, 1) == b""
