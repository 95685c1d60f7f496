"""The subscription: what Redis publishes on the channels this gateway listens to.

One connection, read by ``hiredis`` straight from the socket: all that Redis
has sent is handed on at once, in order.  Nothing is assumed about a connection
that merely looks open: it is given up if nothing, not even the gateway's own
probes, comes through it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis

from gateway.broker.backoff import Backoff
from gateway.broker.dial import handshake, open_link
from gateway.config import Config
from gateway.ops.logs import get_logger

log = get_logger(__name__)

_LEAST_PAUSE_S = 0.001
"""The loop's timers are no finer."""

Deliver = Callable[[str, bytes], None]
"""``(channel, payload)`` of one published message."""


class _Link(asyncio.Protocol):
    """One connection to Redis that carries nothing but a subscription.

    After each read it pauses: what comes soon after is read together, and goes out to each
    member in one write.  A pause ends early when much has come.
    """

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.lost = self._loop.create_future()
        self._pause: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._subscriber.heard()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._subscriber.received(reply)
        except hiredis.ProtocolError as error:
            self.give_up(f"not the Redis protocol: {error}")
        pause_s = self._subscriber.caught_up()
        if pause_s >= _LEAST_PAUSE_S and not self.lost.done():
            if self._pause:
                self._pause.cancel()
            else:
                self._wake_at(self._subscriber.enough_bytes)
            self._pause = self._loop.call_later(pause_s, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._wake_at(1)

    def _wake_at(self, size_bytes: int) -> None:
        """Be called when so much has come.

        The kernel counts (socket(7), SO_RCVLOWAT), which costs less than to stop reading:
        for that, ours would have to look.
        """
        sock = self._transport and self._transport.get_extra_info("socket")
        if sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(str(error) if error else "closed by Redis")

    def hold(self, hold: bool) -> None:
        if self._transport and not self._transport.is_closing():
            (self._transport.pause_reading if hold else self._transport.resume_reading)()

    def send(self, *command: str) -> None:
        if self._transport and not self._transport.is_closing():
            packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # wrong stub
            self._transport.write(packed)

    def give_up(self, reason: str) -> None:
        if self._pause:
            self._pause.cancel()
            self._pause = None
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._transport:
            self._transport.abort()


class Subscriber:
    """Keeps the wanted channels subscribed, over as many connections as it takes.

    ``on_message`` gets every published message; ``on_batch`` is called when
    all that had arrived has been handed on, and returns how many events other
    gateways had published: after some, and not many, the next read waits,
    the longer the more ``people()`` there are.
    ``on_subscribed`` is called for each channel, every time it is (again)
    confirmed: what was published before may have been missed.
    """

    def __init__(
        self,
        config: Config,
        *,
        on_message: Deliver,
        on_batch: Callable[[], int],
        on_subscribed: Callable[[str], None],
        people: Callable[[], int] = lambda: 0,
    ) -> None:
        self._config = config
        self._on_message = on_message
        self._on_batch = on_batch
        self._on_subscribed = on_subscribed
        self._wanted: dict[bytes, str] = {}
        self._link: _Link | None = None
        self._heard_at = 0.0
        self._held = False
        self._people = people
        self.enough_bytes = config.listen_enough_bytes
        self.rebuilt = 0
        self.holds = 0

    def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to ``channels`` until ``unsubscribe``; ``on_subscribed`` tells when."""
        new = list(channels)
        for channel in new:
            self._wanted[channel.encode()] = channel
        if self._link and new:
            self._link.send("SUBSCRIBE", *new)

    def unsubscribe(self, channel: str) -> None:
        if self._wanted.pop(channel.encode(), None) and self._link:
            self._link.send("UNSUBSCRIBE", channel)

    def heard(self) -> None:
        """Something came: the connection lives."""
        self._heard_at = time.monotonic()

    def received(self, reply: Any) -> None:
        """Take one reply of the server."""
        match reply:
            case [b"message", channel, payload]:
                wanted = self._wanted.get(channel)
                if wanted is not None:
                    self._on_message(wanted, payload)
            case [b"subscribe", channel, _]:
                wanted = self._wanted.get(channel)
                if wanted is not None:
                    self._on_subscribed(wanted)
            case hiredis.ReplyError():
                if self._link:
                    self._link.give_up(str(reply))

    def caught_up(self) -> float:
        """All that had come was handed on.  Returns how long to wait before the next read."""
        events, config = self._on_batch(), self._config
        if not 0 < events < config.listen_enough:
            return 0.0
        return min(config.listen_pause_s, self._people() * config.listen_pause_person_s)

    def hold(self, hold: bool) -> None:
        """Take nothing for a while: what was taken is to be delivered first.

        If that lasts, Redis cuts the connection, and what it held is read from the logs.
        """
        self._held = hold
        self.holds += hold
        self._heard_at = time.monotonic()
        if self._link:
            self._link.hold(hold)

    def rebuild(self, reason: str) -> None:
        """Give the connection up and make another one."""
        if self._link:
            self._link.give_up(reason)

    async def run_forever(self) -> None:
        """Stay subscribed, as long as the task lives."""
        backoff = Backoff()
        while True:
            try:
                reason = await self._run_once(backoff)
            except (OSError, TimeoutError, ssl.SSLError) as error:
                reason = str(error) or type(error).__name__
            self.rebuilt += 1
            log.debug("subscription lost", reason=reason)
            await asyncio.sleep(backoff.next_s())

    async def _run_once(self, backoff: Backoff) -> str:
        """One connection, from its making to its loss.  Returns why it was lost."""
        limit_s = self._config.probe_timeout_s
        async with asyncio.timeout(self._config.connect_timeout_s):
            link = await open_link(self._config, lambda: _Link(self))
        self._link = link
        link.hold(self._held)
        try:
            for command in handshake(self._config):
                link.send(*command)
            link.send("SUBSCRIBE", *self._wanted.values())
            self._heard_at = since = time.monotonic()
            while True:
                silent_s = time.monotonic() - self._heard_at
                if self._heard_at - since > limit_s:
                    backoff.reset()
                if silent_s >= limit_s and not self._held:
                    return f"nothing heard for {silent_s:.1f} s"
                wait_s = limit_s if self._held else limit_s - silent_s
                done, _ = await asyncio.wait((link.lost,), timeout=wait_s)
                if done:
                    return str(link.lost.result())
        finally:
            self._link = None
            link.give_up("closed")
