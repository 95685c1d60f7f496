"""A conversation over asyncio: dials, reads, writes, pings, and dials again.

Knows sockets and time; what the bytes mean is ``Conversation``'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from ssl import SSLContext
from types import TracebackType
from typing import Any

from gateway.client.conversation import MOST_UNANSWERED, Conversation
from gateway.client.events import Event, Lost, Pong, Welcome
from gateway.client.queue import EventQueue
from gateway.client.requests import Answered, ChatError, NoChat, Request
from gateway.client.verbs import Verbs

BACKOFF_S, BACKOFF_MAX_S = 0.1, 10.0
_READ_BYTES = 65_536
_QUIT_S = 2.0
_TLS_ALERT = b"\x15\x03"  # RFC 8446, 5.1: a record of that type, and its version


class Chat(Verbs):
    """One stay in the chat.  Made by ``connect``; iterate for events, once at a time.

    Whatever happens to the connection, it dials again and goes on where it was.  The
    iteration ends after ``close()``; it raises ``Refused`` if there is no going on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        name: str,
        room: str = "",
        ssl: SSLContext | bool = False,
        connect_timeout_s: float = 5.0,
        ping_s: float = 5.0,
        silence_s: float = 15.0,
        close_timeout_s: float = 5.0,
    ) -> None:
        self.address = (host, port)
        self.round_trip_s: float | None = None
        """How long the last ping took, if connected."""
        self.trouble = ""
        """Why there is no connection, if there is none."""
        self._conversation = Conversation(name, room)
        # asyncio takes None for no TLS, and True for the authorities that the system trusts.
        self._ssl = ssl or None
        self._connect_timeout_s = connect_timeout_s
        self._ping_s = ping_s
        self._silence_s = silence_s
        self._close_timeout_s = close_timeout_s
        self._events = EventQueue()
        self._answered = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_UNANSWERED)
        self._entered: asyncio.Future[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing = False
        self._pinging = 0
        self._heard_at = 0.0
        self._pinged_at: float | None = None  # the oldest unanswered ping

    # Who and where.

    @property
    def name(self) -> str:
        return self._conversation.name

    @property
    def room(self) -> str:
        return self._conversation.room

    @property
    def connected(self) -> bool:
        """A gateway has welcomed us on the present connection."""
        return self._conversation.welcomed

    @property
    def no_answer_s(self) -> float:
        """How long nothing has come, once a ping has been missed; 0 while all is well."""
        now = asyncio.get_running_loop().time()
        if self._pinged_at is None or now - self._pinged_at < self._ping_s:
            return 0.0
        return now - self._heard_at

    @property
    def unanswered(self) -> list[Request]:
        """What was asked and not answered yet, the oldest first."""
        return self._conversation.unanswered

    # What to do; more of it is in Verbs.

    async def ping(self) -> float:
        """Seconds to the gateway and back.  Raises ``ChatError`` if the connection is lost."""
        future, answered = self._future()
        self._ping(answered)
        self._pinging += 1
        self._events.nudge()
        try:
            await future
        finally:
            self._pinging -= 1
        assert self.round_trip_s is not None
        return self.round_trip_s

    async def post(self, kind: str, **fields: str | int) -> asyncio.Future[Any]:
        """Ask, without waiting for the answer: a future of the event that answers.

        Asked in the order of the calls.  Waits while 256 requests are unanswered.  Raises
        ``ChatError`` if it can't be asked at all.
        """
        await self._room.acquire()
        if self._running is None or self._running.done():
            self._room.release()
            raise ChatError("closed", "the chat is closed")
        future, settle = self._future()

        def answered(answer: Event | ChatError) -> None:
            self._room.release()
            self._answered.set()
            settle(answer)

        try:
            self._conversation.request(kind, answered, **fields)
        except ChatError:
            self._room.release()
            raise
        self._flush()
        self._events.nudge()
        return future

    @staticmethod
    def _future() -> tuple[asyncio.Future[Any], Answered]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(answer: Event | ChatError) -> None:
            if future.done():
                return
            if isinstance(answer, ChatError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        return future, settle

    # Events.

    def __aiter__(self) -> Chat:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            if self._running and not self._running.cancelled():
                self._running.result()  # raises what ended it
            raise StopAsyncIteration
        return event

    # Begin and end.

    async def __aenter__(self) -> Chat:
        """Return when a gateway has welcomed us.

        Raises ``Refused``, or ``OSError`` if there is nobody at that address: ``NoChat`` if
        there is somebody else.
        """
        self._entered = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run_forever(), name="chat")
        self._running.add_done_callback(self._ended)
        try:
            await asyncio.wait({self._running, self._entered}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.abort()
            raise
        if self._running.done():
            self._running.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await (self.close() if error is None else self.abort())

    async def close(self) -> None:
        """Wait for what is unanswered, for a while, then leave and end.  Idempotent."""
        if self._running is None or self._closing:
            return
        try:
            async with asyncio.timeout(self._close_timeout_s):
                while self.unanswered and not self._running.done():
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            pass
        self._closing = True
        if self.connected:
            self._conversation.quit()
            self._flush()
            self._events.nudge()
            await asyncio.wait({self._running}, timeout=_QUIT_S)
        await self.abort()

    async def abort(self) -> None:
        """End at once.  The gateway says that we have left.  Idempotent."""
        self._closing = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        gone = error if isinstance(error, ChatError) else ChatError("closed", "the chat is closed")
        self._conversation.give_up(gone)
        self._events.end()
        self._answered.set()

    # Connections.

    async def _run_forever(self) -> None:
        """Connect again and again.  Raises ``Refused``; ``OSError`` only the first time."""
        backoff_s = BACKOFF_S
        first = True
        while True:
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(*self.address, ssl=self._ssl), self._connect_timeout_s
                )
            except OSError as error:
                self.trouble = str(error) or "no answer"
                if first:
                    raise
            else:
                if await self._run_once(reader, writer, first=first):
                    backoff_s = BACKOFF_S
                first = False
            if self._closing:
                return
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _run_once(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, first: bool
    ) -> bool:
        """Talk over one connection until it ends.  Returns whether we were welcomed on it.

        Raises ``NoChat`` if it is the first one and no chat is at its other end.
        """
        conversation = self._conversation
        self._writer = writer
        conversation.begin()
        self._flush()
        why = "the server closed the connection"
        try:
            if first:
                await self._meet(reader)
            await self._read(reader)
        except NoChat:
            raise
        except OSError as error:
            why = str(error) or type(error).__name__
        finally:
            self._writer = None
            self.round_trip_s = self._pinged_at = None
            welcomed = conversation.welcomed
            conversation.end()
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self.trouble = conversation.farewell or why
        if conversation.refused:
            raise conversation.refused
        if welcomed and not self._closing:
            self._events.put(Lost(self.trouble))
        return welcomed

    async def _meet(self, reader: asyncio.StreamReader) -> None:
        """Read until a chat has said something.  Raises ``NoChat`` if none does.

        A chat that we know may keep silent for a while, as a gateway that hangs; but who
        got the address wrong is to be told.
        """
        first = b""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                while self._conversation.greeted is None:
                    if not (data := await reader.read(_READ_BYTES)):
                        raise ConnectionResetError
                    first += data
                    self._take(data)
        except TimeoutError:
            raise NoChat("what listens there says nothing") from None
        except ConnectionError:  # or the kernel's, if what we said was not read
            # So do many that wait for TLS.
            hint = "" if self._ssl else " (is it TLS?)"
            raise NoChat(f"what listens there closes without a word{hint}") from None
        if not self._conversation.greeted:
            tls = first.startswith(_TLS_ALERT)
            raise NoChat("it speaks TLS there" if tls else "what answers there is no chat")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Read until the connection ends.  ``TimeoutError`` after too long a silence."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        pinged = self._heard_at - self._ping_s
        while True:
            data = None
            try:
                async with asyncio.timeout(self._ping_s) as quiet:
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                if not quiet.expired():
                    raise  # the kernel's
                if loop.time() - self._heard_at >= self._silence_s:
                    raise TimeoutError(f"no answer for {self._silence_s:g} s") from None
            if data == b"":
                return
            if data:
                self._take(data)
                while self._events.full and not self._awaited():
                    await self._events.taken()
                self._heard_at = loop.time()
            if loop.time() - pinged >= self._ping_s and self.connected:
                pinged = loop.time()
                self._ping(lambda _: None)
            self._flush()

    def _take(self, data: bytes) -> None:
        for event in self._conversation.receive(data):
            self._events.put(event)
            if isinstance(event, Welcome):
                self._welcomed()
        self._flush()

    def _awaited(self) -> bool:
        """Whether somebody waits for what only reading on can bring."""
        return bool(self.unanswered or self._pinging or self._closing)

    def _welcomed(self) -> None:
        self.trouble = ""
        if self._entered and not self._entered.done():
            self._entered.set_result(None)

    def _ping(self, answered: Answered) -> None:
        loop = asyncio.get_running_loop()
        sent = loop.time()

        if self._pinged_at is None:
            self._pinged_at = sent

        def measured(answer: Event | ChatError) -> None:
            self._pinged_at = None
            if isinstance(answer, Pong):
                self.round_trip_s = loop.time() - sent
            answered(answer)

        self._conversation.ping(measured)
        self._flush()

    def _flush(self) -> None:
        if self._writer is not None and (data := self._conversation.output()):
            self._writer.write(data)


def connect(
    host: str,
    port: int,
    *,
    name: str,
    room: str = "",
    ssl: SSLContext | bool = False,
    **more: float,
) -> Chat:
    """``async with connect("localhost", 8080, name="bot") as chat: …``

    ``room`` '' is the lobby.  ``ssl`` True trusts the authorities that the system does; a
    context says whom else.  ``more`` is as for ``Chat``: ``connect_timeout_s``, ``ping_s``
    (how often the connection is tried), ``silence_s`` (after which it counts as dead),
    ``close_timeout_s``.
    """
    return Chat(host, port, name=name, room=room, ssl=ssl, **more)
