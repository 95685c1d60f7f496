"""Where there is no terminal: lines of stdin are said, stdout gets lines as ``nc`` would.

``gateway chat --name bot < lines.txt`` ends when everything is said and confirmed.  What
was not, and how the connection is, stands on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from functools import partial
from typing import Any

from gateway.chat.text import clean_line
from gateway.client import Ack, Chat, ChatError, Lost, Renamed, Welcome
from gateway.tools.chat.asks import Ask, Asked, Leave, Refuse, Tell, understand
from gateway.tools.chat.words import plain, sentences, starred

_LINES_AHEAD = 64
_READ_BYTES = 65_536
_PATIENCE_S = 5.0
"""After which it is told that nobody has let us in yet."""


def complain(text: str) -> None:
    """One line on stderr, if anybody reads it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"gateway chat: {clean_line(text)}", file=sys.stderr, flush=True)


class Plain:
    """Says what it reads and writes what it hears, until one of them ends."""

    def __init__(self, chat: Chat, source: int) -> None:
        self._chat = chat
        self._source = source
        self._name = ""  # as of what was heard: the chat itself is ahead of that
        self._lost = False
        self._refused = 0
        self._unread = asyncio.Event()

    async def run(self) -> int:
        """The exit code: 1 if a line was refused, 0 if none was or nobody listens any more.

        Raises what ``Chat`` raises.
        """
        # What is told before the welcome is to be read, too.
        hearing = asyncio.create_task(self._hear())
        tasks: set[asyncio.Task[Any]] = {hearing}
        late = asyncio.get_running_loop().call_later(_PATIENCE_S, self._not_in_yet)
        try:
            async with self._chat:
                late.cancel()
                saying = asyncio.create_task(self._say())
                tasks |= {saying, asyncio.create_task(self._unread.wait())}
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if saying.done():
                    saying.result()
                    # What is heard until the end is written, too.
                    await self._chat.close()
                    await hearing
                    return 1 if self._refused else 0
                if hearing.done():
                    hearing.result()
                return 0
        finally:
            late.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        async for event in self._chat:
            if isinstance(event, Welcome):
                self._name = event.name
            elif isinstance(event, Renamed) and event.sender == self._name:
                self._name = event.to
            if isinstance(event, Lost):
                self._lost = True
                complain(f"the connection is lost ({event.why}), trying again")
            elif isinstance(event, Welcome) and self._lost:
                self._lost = False
                complain(f"connected again, in {event.room} as {event.name}")
            else:
                self._write(plain(event, self._name))

    async def _say(self) -> None:
        """Say all lines and wait for what comes of them."""
        answers: set[asyncio.Future[Any]] = set()
        lines = _lines(self._source)
        number = 0
        while (line := await lines.get()) is not None:
            number += 1
            match _understand(line):
                case Ask(kind, fields):
                    answer = await self._chat.post(kind, **fields)
                    answers.add(answer)
                    answer.add_done_callback(answers.discard)
                    answer.add_done_callback(partial(self._answered, number))
                case Tell(words):
                    self._write(starred(words))
                case Refuse(why):
                    self._refuse(number, why)
                case Leave():
                    break
        while answers:
            await asyncio.wait(answers)

    def _answered(self, number: int, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if isinstance(error, ChatError):
            self._refuse(number, error.text)
        elif not isinstance(answer.result(), Ack):
            self._write(starred(sentences(answer.result())))

    def _refuse(self, number: int, why: str) -> None:
        self._refused += 1
        complain(f"line {number}: {why}")

    def _not_in_yet(self) -> None:
        why = self._chat.trouble or "the gateway lets nobody in yet"
        complain(f"not in the chat yet ({why}), waiting")

    def _write(self, lines: list[str]) -> None:
        if self._unread.is_set() or sys.stdout is None:
            return
        try:
            for line in lines:
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except OSError:
            self._unread.set()
            # Or the flush at exit would fail, too.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _understand(line: bytes) -> Asked | None:
    try:
        return understand(line.decode())
    except UnicodeDecodeError:
        return Refuse("that line was not UTF-8, not sent")


def _lines(source: int) -> asyncio.Queue[bytes | None]:
    """The lines of a descriptor of whatever kind, then None.

    Read by a thread: asyncio can't wait for a regular file.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_LINES_AHEAD)

    def put(line: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()

    def read() -> None:
        rest = b""
        try:
            while data := os.read(source, _READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    put(line)
            put(rest)
            put(None)
        except (RuntimeError, asyncio.CancelledError, OSError):
            pass  # it is over; nobody waits for the rest

    # A daemon, since a read may never end; not of sys.stdin, whose lock the interpreter
    # would wait for at its end.
    threading.Thread(target=read, name="stdin", daemon=True).start()
    return queue
