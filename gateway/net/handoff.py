"""Accepted connections, handed from the process that listens to those that serve.

The two talk over a Unix stream socket pair, one byte a message (the receiver's side is
``Adopter``, the sender's ``Handoff``; ``Dealer`` listens and deals them out in turn):

    > with a descriptor (SCM_RIGHTS)   here is a connection
    + and -                            I take connections, I don't
    . and <                            it is mine now, it is yours again

At most one descriptor is on its way to a gateway, and the sender keeps its own until
the answer: a stopped gateway holds up one client, and if it dies, or gives it back, that
client goes to another gateway.  The answer is given before a byte is sent to the
client, so nobody is greeted twice.  While the gateway lives and does not answer,
the descriptor stays with it: two gateways on one connection would be worse.

Knows nothing about what a gateway does with a connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

HERE, READY, NOT_READY, ADOPTED, RETURNED = b">", b"+", b"-", b".", b"<"

REST_S = 1.0  # out of descriptors: not to spin on what can't be taken
BACKLOG = 4096


class Adopter:
    """A gateway's end: calls ``adopt`` with each connection that is handed over.

    ``on_end`` is called once, when the sender is gone.
    """

    def __init__(
        self,
        channel: socket.socket,
        adopt: Callable[[socket.socket], None],
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        channel.setblocking(False)
        channel.set_inheritable(False)
        self._channel = channel
        self._adopt = adopt
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsent = bytearray()
        self._resting: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take connections; says so to the sender."""
        self._loop = loop
        loop.add_reader(self._channel, self._readable)
        self._tell(READY)

    def close(self) -> None:
        """Take no more, for ever; what is on its way stays the sender's.  Idempotent."""
        if self._resting:
            self._resting.cancel()
        if self._loop and self._channel.fileno() != -1:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
        self._channel.close()

    def _readable(self) -> None:
        try:
            byte, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except BlockingIOError:
            return
        except OSError:  # reset: the sender died with our answer unread
            byte, descriptors = b"", []
        if not byte:
            self.close()
            self._on_end()
        elif not descriptors:  # cut off by the kernel: our descriptors are used up
            self._tell(RETURNED)
            self._rest()
        elif self._resting:
            os.close(descriptors[0])
            self._tell(RETURNED)
        else:
            os.set_inheritable(descriptors[0], False)
            self._tell(ADOPTED)
            self._adopt(socket.socket(fileno=descriptors[0]))

    def _rest(self) -> None:
        if self._resting or not self._loop:
            return
        self._tell(NOT_READY)
        self._resting = self._loop.call_later(REST_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._tell(READY)

    def _tell(self, byte: bytes) -> None:
        if not self._loop or self._channel.fileno() == -1:
            return
        # While nobody reads, the last state is enough: so this stays short.
        if byte in (READY, NOT_READY) and self._unsent[-1:] in (READY, NOT_READY):
            del self._unsent[-1]
        self._unsent += byte
        self._flush()

    def _flush(self) -> None:
        assert self._loop
        try:
            del self._unsent[: self._channel.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._channel, self._flush)
            return
        except OSError:  # the sender is gone; reading notices it
            self._unsent.clear()
        self._loop.remove_writer(self._channel)


class Handoff:
    """The sender's end of the channel to one gateway.

    ``on_change`` is called when the gateway may have become able to take a connection,
    or has ended; ``on_return`` with a connection that it gave back or died over.
    """

    def __init__(
        self,
        channel: socket.socket,
        *,
        on_change: Callable[[], None],
        on_return: Callable[[socket.socket], None],
    ) -> None:
        channel.setblocking(False)
        self.ready = False
        self.ended = False
        self._channel = channel
        self._on_change = on_change
        self._on_return = on_return
        self._underway: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._readable)

    @property
    def free(self) -> bool:
        """Would ``offer`` take a connection now?"""
        return self.ready and self._underway is None

    def offer(self, connection: socket.socket) -> bool:
        """Hand ``connection`` over, which is this object's then; False if it is not.

        Never blocks.
        """
        if not self.free:
            return False
        try:
            socket.send_fds(self._channel, [HERE], [connection.fileno()])
        except OSError:  # it has just died; reading notices it
            self.ready = False
            return False
        self._underway = connection
        return True

    def close(self) -> None:
        """Hand over nothing more; what is on its way comes back.  Idempotent."""
        if self.ended:
            return
        self.ended, self.ready = True, False
        self._loop.remove_reader(self._channel)
        self._channel.close()
        self._settle(returned=True)
        self._on_change()

    def _readable(self) -> None:
        try:
            answers = self._channel.recv(64)
        except BlockingIOError:
            return
        except OSError:  # reset: it died with a descriptor unread
            answers = b""
        for byte in answers:
            match bytes((byte,)):
                case b"+":
                    self.ready = True
                case b"-":
                    self.ready = False
                case b"." | b"<" as answer:
                    self._settle(returned=answer == RETURNED)
        if answers:
            self._on_change()
        else:
            self.close()

    def _settle(self, *, returned: bool) -> None:
        connection, self._underway = self._underway, None
        if connection and returned:
            self._on_return(connection)
        elif connection:
            connection.close()


class Dealer:
    """Accepts on ``listener`` and hands each connection to the next free gateway in turn.

    It accepts only while a gateway is free: otherwise clients wait in the listener's
    queue.  At most one connection per gateway is ever held here.
    """

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._turn: deque[Handoff] = deque()
        self._returned: deque[socket.socket] = deque()
        self._closed = False

    def add(self, channel: socket.socket, on_change: Callable[[], None]) -> Handoff:
        """Deal to the gateway at the other end of ``channel``, from its first ``+`` on.

        ``on_change`` is called whenever the handoff's state may have changed.
        """

        def changed() -> None:
            self._deal()
            on_change()

        handoff = Handoff(channel, on_change=changed, on_return=self._take_back)
        self._turn.append(handoff)
        return handoff

    def close(self) -> None:
        """Accept no more; connections that no gateway has are closed.  Idempotent."""
        self._closed = True
        if self._listener.fileno() != -1:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        while self._returned:
            self._returned.popleft().close()

    def _take_back(self, connection: socket.socket) -> None:
        if self._closed:
            connection.close()
        else:
            self._returned.append(connection)

    def _deal(self) -> None:
        if self._closed:
            return
        self._turn = deque(handoff for handoff in self._turn if not handoff.ended)
        while handoff := next((each for each in self._turn if each.free), None):
            connection = self._returned.popleft() if self._returned else self._accept()
            if connection is None:
                return
            if handoff.offer(connection):
                self._turn.remove(handoff)
                self._turn.append(handoff)
            else:
                self._returned.append(connection)
        self._loop.remove_reader(self._listener)

    def _accept(self) -> socket.socket | None:
        """The next client, or None; then ``_deal`` is called again when there is one."""
        self._loop.add_reader(self._listener, self._deal)
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            pass
        except OSError:  # out of descriptors or memory
            self._loop.remove_reader(self._listener)
            self._loop.call_later(REST_S, self._deal)
        return None


def listen(host: str, port: int) -> socket.socket:
    """A listener on ``host`` (a name or an address of either family) and ``port``.

    Raises ``OSError``, also for a name that is not known.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)
