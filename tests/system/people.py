"""People who chat: a socket that talks like ``nc``, and the programs themselves.

What a person hears is kept in ``lines``; ``expect`` takes them one after the
other, so a line too many fails a test like a line too few.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
import unicodedata
from collections.abc import Callable
from typing import Self

PROMPT = "Enter your name: "
PATIENCE_S = 10.0


class Person:
    """One client of the line front.  Made by ``connect`` or by a subclass's."""

    def __init__(self, name: str = "", *, end: str = "\n") -> None:
        self.name = name
        self.end = end
        self.raw = bytearray()
        self.lines: list[str] = []
        self.heard_at: list[float] = []
        self.hung_up = False
        self._unended = b""
        self._taken = 0
        self._news = asyncio.Event()
        self._barriers = itertools.count(1)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, port: int, name: str = "", *, end: str = "\n") -> Self:
        """Connect, and be asked for the name."""
        person = await cls.dial(port, name, end=end)
        await person.expect(PROMPT)
        return person

    @classmethod
    async def dial(cls, port: int, name: str = "", *, end: str = "\n") -> Self:
        """Connect, and wait for nothing."""
        person = cls(name, end=end)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _Ear(person), "127.0.0.1", port)
        person._transport = transport
        return person

    # What a person does.

    async def join(self, name: str | None = None) -> list[str]:
        """Answer the prompt; returns the ``* `` lines of the welcome."""
        await self.say(name or self.name)
        self.name = unicodedata.normalize("NFC", name or self.name)
        return await self.welcomed()

    async def say(self, *texts: str) -> None:
        for text in texts:
            self.send((text + self.end).encode())

    def send(self, data: bytes) -> None:
        """These bytes as they are."""
        assert self._transport is not None
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Be a client that takes nothing from its socket any more."""
        assert self._transport is not None
        self._transport.pause_reading()

    def shrink_buffer(self, limit_bytes: int) -> None:
        """Let the kernel hold little for somebody who does not read."""
        assert self._transport is not None
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limit_bytes)

    def resume_reading(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    async def leave(self) -> None:
        """``/quit``, and wait until the gateway has hung up."""
        await self.say("/quit")
        await self.ended()

    def finish(self) -> None:
        """Say nothing more but go on listening, as ``nc`` at the end of its input."""
        assert self._transport is not None
        self._transport.write_eof()

    def close(self) -> None:
        """Hang up in an orderly way."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Be gone without a word (a reset)."""
        if self._transport is not None:
            self._transport.abort()

    # What a person hears.

    @property
    def untaken(self) -> list[str]:
        """What was heard and not yet expected."""
        return self.lines[self._taken :]

    async def next_line(self, timeout: float = PATIENCE_S, wanted: str = "a line") -> str:
        await self.until(lambda: bool(self.untaken) or self.hung_up, timeout, wanted)
        assert self.untaken, f"{self.name}: hung up on, wanted {wanted}; {self._story()}"
        self._taken += 1
        return self.lines[self._taken - 1]

    async def expect(self, *wanted: str, timeout: float = PATIENCE_S) -> None:
        """The next lines are exactly these."""
        for line in wanted:
            got = await self.next_line(timeout, repr(line))
            assert got == line, f"{self.name}: got {got!r}, wanted {line!r}; {self._story()}"

    async def expect_told(self, *parts: str, timeout: float = PATIENCE_S) -> str:
        """The next line is the server's to this person alone, with ``parts`` in it."""
        line = await self.next_line(timeout, f"* …{parts}")
        assert line.startswith("* "), f"{self.name}: {line!r} is not from the server"
        for part in parts:
            assert part in line, f"{self.name}: {line!r} does not say {part!r}"
        return line

    async def hear(self, wanted: str, timeout: float = PATIENCE_S) -> list[str]:
        """Take lines until ``wanted`` comes; returns those before it."""
        before: list[str] = []
        while (line := await self.next_line(timeout, repr(wanted))) != wanted:
            before.append(line)
        return before

    async def barrier(self, timeout: float = PATIENCE_S) -> list[str]:
        """Ask something and take lines until the answer; returns those before it."""
        word = f"/barrier-{next(self._barriers)}"
        answer = f"* unknown command: {word}"
        await self.say(word)
        before: list[str] = []
        while not (line := await self.next_line(timeout, answer)).startswith(answer):
            before.append(line)
        return before

    async def expect_silence(self) -> None:
        """Nothing was heard that no ``expect`` took; proved by the answer to a question."""
        before = await self.barrier()
        assert not before, f"{self.name} heard {before}"

    async def welcomed(self) -> list[str]:
        """Take the lines of the welcome; all of them are the server's."""
        welcome = await self.barrier()
        strangers = [line for line in welcome if not line.startswith("* ")]
        assert welcome, f"{self.name} was not welcomed"
        assert not strangers, f"{self.name} heard {strangers} before being in the room"
        return welcome

    async def ended(self, timeout: float = PATIENCE_S) -> list[str]:
        """Wait until the gateway hangs up; returns what it said before."""
        await self.until(lambda: self.hung_up, timeout, "to be hung up on")
        rest, self._taken = self.untaken, len(self.lines)
        return rest

    async def until(self, condition: Callable[[], bool], timeout: float, wanted: str) -> None:
        """Wait until hearing something has made ``condition()`` true."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.name}: no {wanted} within {timeout} s; {self._story()}"
            ) from None

    def heard(self, data: bytes) -> None:
        """Bytes came: split them into prompts and lines."""
        self.raw += data
        *whole, rest = (self._unended + data).split(b"\n")
        for line in whole:
            self._keep(self._without_prompts(line).removesuffix(b"\r"))
        self._unended = self._without_prompts(rest)
        self._news.set()

    def _without_prompts(self, line: bytes) -> bytes:
        """A prompt has no line end; it counts as a line of its own."""
        while line.startswith(PROMPT.encode()):
            self._keep(PROMPT.encode())
            line = line[len(PROMPT) :]
        return line

    def _keep(self, line: bytes) -> None:
        self.lines.append(line.decode())
        self.heard_at.append(time.monotonic())

    def hangs_up(self) -> None:
        self.hung_up = True
        self._news.set()

    def _story(self) -> str:
        return f"heard last: {self.lines[-12:]!r} and then {self._unended!r}"


class _Ear(asyncio.Protocol):
    """Hands what a socket brings to its person."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def data_received(self, data: bytes) -> None:
        self._person.heard(data)

    def eof_received(self) -> bool:
        self._person.hangs_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._person.hangs_up()


class ProgramPerson(Person):
    """Somebody at a real program whose standard streams are the terminal."""

    program: tuple[str, ...] = ()
    greeting: tuple[str, ...] = ()
    """What the program itself prints before anything comes from the gateway, line by line."""

    @classmethod
    async def dial(cls, port: int, name: str = "", *, end: str = "\n") -> Self:
        person = cls(name, end=end)
        person._process = await asyncio.create_subprocess_exec(
            *cls.program,
            "127.0.0.1",
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        person._listening = asyncio.create_task(person._listen())
        for beginning in cls.greeting:
            line = await person.next_line(wanted=beginning)
            assert line.startswith(beginning), f"{cls.program[0]} said {line!r}"
        return person

    _process: asyncio.subprocess.Process
    _listening: asyncio.Task[None]

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(1024):
            self.heard(data)
        self.hangs_up()

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def gone(self) -> None:
        """End the program, if it has not ended, and take what is left of it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listening
        self.finish()


class NcPerson(ProgramPerson):
    """``nc HOST PORT``; at the end of its input it closes its half and hears on."""

    program = ("nc", "-N")


class TelnetPerson(ProgramPerson):
    """``telnet HOST PORT``, which sends CRLF."""

    program = ("telnet",)
    greeting = ("Trying", "Connected", "Escape character")


class UnendedPerson(Person):
    """The small client of old: no line ends when it sends, ``recv(1024)`` when it reads.

    Whoever uses it must see a text arrive before sending the next: the
    silence between them is all that keeps them apart.
    """

    def __init__(self, name: str = "", *, end: str = "") -> None:
        super().__init__(name, end="")

    async def join(self, name: str | None = None) -> list[str]:
        """Answer the prompt without a line end; returns the first line of the welcome."""
        self.name = name or self.name
        await self.say(self.name)
        return [await self.expect_told()]
