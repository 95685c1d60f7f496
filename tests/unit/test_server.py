"""A gateway's first step, and its last: a place to listen, and the end of its tasks."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.config import SettingsError
from gateway.server import _bind, _end


def test_a_name_that_nobody_has_is_a_bad_setting_but_not_one_that_can_t_be_asked_for_now(
    monkeypatch,
):
    """DESIGN 4: exit code 2 for bad settings, which systemd does not try again; else 1."""

    def getaddrinfo(host, _port, **_more):
        raise socket.gaierror(getattr(socket, host), "not to be had")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(SettingsError, match="--host: EAI_NONAME: not to be had"):
        _bind("--host", "EAI_NONAME", 0)
    assert _bind("--host", "EAI_AGAIN", 0) is None


async def test_a_task_that_loses_a_cancel_is_ended_all_the_same():
    """As asyncio.wait_for does on Python 3.11 (python/cpython#86296)."""
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    async def obedient() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(obedient())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await _end(*tasks)
    assert lost == 2
    assert all(task.cancelled() for task in tasks)
    await _end(*tasks)
    await _end()
