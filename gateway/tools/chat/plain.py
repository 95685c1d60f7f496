"""Where there is no terminal: lines of stdin are said, stdout gets lines as ``nc`` would.

``gateway chat --name bot < lines.txt`` ends when everything is said and confirmed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

from gateway.client import Ack, Chat, ChatError, Lost, Welcome
from gateway.tools.chat.asks import Ask, Leave, Tell, understand
from gateway.tools.chat.words import plain, sentences, starred

_LINES_AHEAD = 64
_READ_BYTES = 65_536


class Plain:
    """Says what it reads and writes what it hears, until one of them ends."""

    def __init__(self, chat: Chat, source: int) -> None:
        self._chat = chat
        self._source = source
        self._lost = False
        self._unread = asyncio.Event()

    async def run(self) -> int:
        """The exit code: 0 if everything was said, or nobody listens any more.

        Raises what ``Chat`` raises.
        """
        async with self._chat:
            hearing = asyncio.create_task(self._hear())
            saying = asyncio.create_task(self._say())
            unread = asyncio.create_task(self._unread.wait())
            tasks = {hearing, saying, unread}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                code = saying.result() if saying.done() else 0
                if saying.done():
                    # What is heard until the end is written, too.
                    await self._chat.close()
                    await hearing
                elif hearing.done():
                    hearing.result()
                return code
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _hear(self) -> None:
        async for event in self._chat:
            if isinstance(event, Lost):
                self._lost = True
            elif isinstance(event, Welcome) and self._lost:
                self._lost = False
                self._write(starred([f"connected again, in {event.room} as {event.name}"]))
            else:
                self._write(plain(event))

    async def _say(self) -> int:
        """Say all lines and wait for what comes of them."""
        answers: set[asyncio.Future[Any]] = set()
        failed = 0

        def told(answer: asyncio.Future[Any]) -> None:
            nonlocal failed
            answers.discard(answer)
            if answer.cancelled():
                return
            error = answer.exception()
            failed += error is not None
            result = error if isinstance(error, ChatError) else answer.result()
            if not isinstance(result, Ack):
                self._write(starred(sentences(result)))

        lines = _lines(self._source)
        while (line := await lines.get()) is not None:
            match understand(line.decode(errors="replace")):
                case Ask(kind, fields):
                    try:
                        answer = await self._chat.post(kind, **fields)
                    except ChatError as error:
                        self._write(starred([error.text]))
                        continue
                    answers.add(answer)
                    answer.add_done_callback(told)
                case Tell(words):
                    self._write(starred(words))
                case Leave():
                    break
        while answers:
            await asyncio.wait(answers)
        return 1 if failed else 0

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
