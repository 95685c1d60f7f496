"""The end of a gateway's tasks: also of those that forget that they were told to."""

from __future__ import annotations

import asyncio

from gateway.server import _end


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
