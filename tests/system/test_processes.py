"""Child processes that end with their parent, however it ends."""

from __future__ import annotations

import os
import sys

import psutil
import pytest
from processes import Process, alive, eventually

from gateway import processes


@pytest.mark.parametrize("runner", ["asyncio.run", "uvloop.run"])
async def test_where_the_kernel_does_not_help_the_parent_is_watched(parent, runner):
    """What macOS does, on whatever this is."""
    pid = await parent.run(f"""
        import asyncio, uvloop
        from gateway.processes import spawn
        async def main():
            process = await spawn(["sleep", "600"], by_kernel=False)
            while not (await asyncio.to_thread(state, process.pid)).startswith("sleep"):
                pass
            print(process.pid, flush=True)
            await process.wait()
        def state(pid):
            import psutil
            return psutil.Process(pid).name()
        {runner}(main())
    """)
    (watcher,) = psutil.Process(pid).children()
    parent.kill()
    await eventually(lambda: not alive(pid), 5, "the program is gone")
    await eventually(lambda: not alive(watcher.pid), 5, "the watcher is gone")


async def test_the_watcher_ends_with_what_it_watches():
    process = await processes.spawn(["sleep", "600"], by_kernel=False)
    child = psutil.Process(process.pid)
    (watcher,) = await eventually(child.children, 5, "it is watched")
    assert await processes.end(process, 5)
    assert [line async for line in processes.lines(process)] == []
    await eventually(lambda: not alive(watcher.pid), 5, "the watcher is gone")


async def test_a_program_whose_parent_died_before_its_start_does_not_run():
    """The race: prctl comes after the parent's death, and would wait for ever."""
    not_its_parent = str(os.getppid())
    late = Process("late")
    try:
        shim = (sys.executable, "-c", processes._TETHER, "kernel", not_its_parent, "")
        late.spawn(*shim, "echo", "never")
        assert await late.ended() == 1
        assert late.output == ""
    finally:
        late.close()


async def test_a_program_inherits_nothing_but_what_is_passed():
    """uvloop leaves descriptors open in its children."""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    process = await processes.spawn(
        ["sh", "-c", "for fd in /dev/fd/*; do echo ${fd##*/}; done"], pass_fds=[writing]
    )
    os.close(reading)
    os.close(writing)
    listed = {int(line) async for line in processes.lines(process) if line.isdigit()}
    await process.wait()
    assert {0, 1, 2, writing} <= listed
    assert reading not in listed


async def test_a_long_line_is_cut_and_the_last_one_needs_no_end(monkeypatch):
    monkeypatch.setattr(processes, "LINE_BYTES", 10)
    process = await processes.spawn(["printf", "a%0100000d\nshort\nend", "0"])
    assert [line async for line in processes.lines(process)] == ["a000000000", "short", "end"]
    await process.wait()
