"""Child processes that end with this one, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence

LINE_BYTES = 65536

# Becomes the program itself (exec), after making sure that it ends with its parent: the
# kernel's signal on the parent's death where there is one (prctl(2); it is the death of
# the *thread* that forked), otherwise a small child that sees the parent's end of stdin
# close.  A preexec_fn is not safe beside threads.
_TETHER = """
import os, select, signal, sys
way, parent, keep, *argv = sys.argv[1:]
kept = {0, 1, 2, *map(int, keep.split())}
for fd in {*map(int, os.listdir("/dev/fd"))} - kept:  # uvloop leaves some open
    try: os.close(fd)
    except OSError: pass
def kernel_will_kill():
    import ctypes
    PR_SET_PDEATHSIG, zero = 1, ctypes.c_ulong(0)
    prctl = ctypes.CDLL(None).prctl
    return prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), zero, zero, zero) == 0
if way == "kernel" and kernel_will_kill():
    if os.getppid() != int(parent):  # it died before the call
        sys.exit(1)
else:
    program = os.getpid()
    if os.fork() == 0:
        for fd in kept - {0}:  # others wait for the program to close these
            os.close(fd)
        while os.getppid() == program:
            if select.select([0], [], [], 1)[0]:
                os.kill(program, signal.SIGKILL)
                break
        os._exit(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    sys.exit(f"{argv[0]}: {error.strerror}")
"""


async def spawn(
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    by_kernel: bool = sys.platform == "linux",
) -> Process:
    """Start ``argv`` so that it is killed when this process ends, however it ends.

    It gets a session of its own (a terminal's Ctrl-C is not for it) and one pipe for
    stdout and stderr, to be read with ``lines``; ``pid`` is its own.  To be called in a
    thread that lives as long as this process.
    """
    way = "kernel" if by_kernel else "pipe"
    tether = ("-I", "-S", "-c", _TETHER, way, str(os.getpid()), " ".join(map(str, pass_fds)))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *tether, *argv),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        pass_fds=pass_fds,
        env=env,
        start_new_session=True,
    )


async def lines(process: Process) -> AsyncIterator[str]:
    """What ``process`` writes, line by line, until it ends; a long line is cut."""
    assert process.stdout is not None
    rest = b""
    while chunk := await process.stdout.read(65536):
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line[:LINE_BYTES].decode(errors="replace").rstrip()
        rest = rest[:LINE_BYTES]
    if rest:
        yield rest.decode(errors="replace").rstrip()


async def end(process: Process, grace_s: float) -> bool:
    """SIGTERM, then SIGKILL after ``grace_s`` or when cancelled.  Was SIGTERM enough?"""
    try:
        async with asyncio.timeout(grace_s):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
        return True
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
