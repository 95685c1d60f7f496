"""One gateway's life: start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import replace

from gateway.broker import calls, dial
from gateway.broker.clock import RedisClock
from gateway.broker.embedded import EmbeddedServer, EmbeddedServerError, NoServerFound
from gateway.broker.keys import Keys, inbox
from gateway.broker.preflight import wait_for_redis
from gateway.broker.presence import Presence
from gateway.broker.publisher import Publisher
from gateway.broker.reader import Reader
from gateway.broker.reaper import Reaper
from gateway.broker.registry import Registry
from gateway.broker.subscriber import Subscriber
from gateway.chat.events import GatewayId
from gateway.chat.reasons import CloseReason
from gateway.config import Config, SettingsError
from gateway.fronts.line import LineFront
from gateway.net.address import address_of, host_port, is_unknown
from gateway.net.connection import Connection
from gateway.net.handoff import Adopter
from gateway.net.listener import Listener, bind
from gateway.net.proxy_protocol import TrustedProxies
from gateway.net.tls import Certificate
from gateway.ops import logs
from gateway.ops.admin import Admin, health, readiness
from gateway.ops.logs import get_logger
from gateway.ops.metrics import Metrics
from gateway.ops.pulse import Pulse, Systemd
from gateway.rooms.hub import Hub
from gateway.rooms.inquiries import Inquiries
from gateway.rooms.served import Rooms
from gateway.seats.answers import Answers
from gateway.seats.drain import drain
from gateway.seats.host import Cluster, Host
from gateway.seats.post import Post
from gateway.seats.seat import Seat
from gateway.seats.speakers import Speakers
from gateway.signals import on_hang_up, stop_on_signals
from gateway.vitals import Parts, Vitals

log = get_logger(__name__)

_CANCEL_AGAIN_S = 0.1


async def serve(config: Config, *, adopt_fd: int | None = None) -> int:
    """Run one gateway until a signal drains it.  Returns the process's exit code.

    ``adopt_fd`` is the inherited end of a channel over which another process
    hands accepted connections to this one.
    """
    # Sessions live long: look at the young often, at all of them seldom, at the code never.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    gateway_id = GatewayId(secrets.token_hex(4))
    logs.bind(gateway=gateway_id)
    stop = stop_on_signals()
    certificate = _checked(config)
    bound, admin_bound = _bind("--host", config.host, config.port), None
    if bound and config.admin_port is not None:
        admin_bound = _bind("--admin-host", config.admin_host, config.admin_port)
    if not bound or (config.admin_port is not None and not admin_bound):
        return 1
    async with AsyncExitStack() as stack:
        stack.callback(bound.close)
        if admin_bound:
            stack.callback(admin_bound.close)
        if not config.redis_url:
            embedded = EmbeddedServer()
            try:
                await embedded.start()
            except (NoServerFound, EmbeddedServerError) as error:
                log.error("no redis", error=str(error))
                return 1
            stack.push_async_callback(embedded.stop)
            keeping = asyncio.create_task(embedded.keep_forever(lambda said: log.warning(said)))
            stack.push_async_callback(_end, keeping)
            log.info(
                "alone: no --redis-url, so an embedded server was started", redis_url=embedded.url
            )
            config = replace(config, redis_url=embedded.url, redis_password_file="")
        gateway = Gateway(config, gateway_id, certificate)
        on_hang_up(gateway.reload, stop, reloads=certificate is not None)
        try:
            if admin_bound and not await gateway.open_admin(admin_bound):
                return 1
            return await gateway.run(bound, adopt_fd, stop)
        finally:
            await gateway.close()


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and see that they end."""
    running: Collection[asyncio.Task[None]] = tasks
    while running:
        for task in running:
            task.cancel()
        # Once is not enough: redis-py waits with asyncio.wait_for, which forgets that it was
        # cancelled if what it waits for has just come (Python 3.11, python/cpython#86296).
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)


def _bind(flag: str, host: str, port: int) -> socket.socket | None:
    """None if that can't be now; raises ``SettingsError`` if it never can."""
    try:
        return bind(host, port)
    except OSError as error:
        if is_unknown(error):
            raise SettingsError(f"{flag}: {host}: {error.strerror}") from None
        log.error("cannot listen", address=host_port(host, port), error=error.strerror)
        return None


class Gateway:
    """Everything that one gateway consists of, wired together."""

    def __init__(self, config: Config, id: GatewayId, certificate: Certificate | None) -> None:
        self.id = id
        self._config = config
        self.certificate = certificate
        self._client = dial.connect(config)
        self._caller = caller = calls.Caller(self._client)
        self._keys = keys = Keys(config.namespace, dial.database(config))
        self._own_channel = keys.probes(self.id)
        self._vitals = Vitals(config)
        self._hub = Hub(
            most_bytes=config.hub_bytes,
            on_sent=self._vitals.delivered,
            on_full=self._hold,
        )
        self._host = host = Host(config, self.id)

        def people() -> int:
            return len(host.seats)

        reader = Reader(caller, keys, config)
        self._registry = Registry(
            caller,
            keys,
            config,
            self.id,
            on_forgone=lambda ghost: self._reaper.end(ghost),
            here=host.names.generation_of,
            people=people,
        )
        self._inquiries = Inquiries(reader)
        self._rooms = Rooms(
            config,
            self.id,
            keys,
            self._hub,
            reader,
            self._registry,
            self._inquiries,
            self._host.event,
        )
        self._publisher = Publisher(
            caller,
            keys,
            config,
            self.id,
            self._rooms.other_log,
            people=people,
        )
        self._reaper = Reaper(self._client, keys, self._publisher, self._registry)
        self._subscriber = Subscriber(
            config,
            on_message=self._message,
            on_batch=self._rooms.caught_up,
            on_subscribed=self._subscribed,
            people=people,
        )
        clock = RedisClock()
        self._presence = Presence(
            caller,
            keys,
            config,
            self.id,
            clock,
            describe=self._vitals.describe,
            on_ready=self._redis_ready,
            on_away=self._redis_away,
            on_lease_anew=self._host.lease_anew,
            on_dead=self._reaper.reap,
            on_unproven=lambda: self._subscriber.rebuild("probes do not come back"),
        )
        self._rooms.publisher = self._publisher
        self._rooms.subscriber = self._subscriber
        self._host.cluster = Cluster(
            self._rooms,
            self._publisher,
            self._registry,
            self._reaper,
            Speakers(self._publisher.outbox, config.outbox_bytes, self._publisher.flood),
            Answers(config, self._rooms, self._registry, self._inquiries),
            Post(self.id, self._publisher, self._registry),
        )
        self._listener = Listener(config, self._adopt, self.certificate)
        self._systemd = Systemd()
        self._pulse = Pulse(self._systemd)
        self._vitals.parts = Parts(
            self._host,
            self._hub,
            self._rooms,
            self._publisher,
            self._subscriber,
            self._presence,
            self._listener,
            self.certificate,
            clock,
            self._pulse,
        )
        self._admin = Admin(
            {
                "/healthz": health,
                "/readyz": readiness(self._vitals.why_not_ready),
                "/metrics": Metrics(self._vitals.metrics).answer,
            }
        )
        self._beating: asyncio.Task[None]
        self._is_ready = asyncio.Event()
        self._away_since = 0.0
        self._replayed = 0

    async def run(self, bound: socket.socket, adopt_fd: int | None, stop: asyncio.Event) -> int:
        """Serve until ``stop``, then drain.  Returns the exit code."""
        self._vitals.address = address_of(bound)
        self._systemd.doing("waiting for Redis")
        if not await self._redis_is_there(stop):
            return 0
        self._subscriber.subscribe([self._own_channel])
        self._rooms.open_inbox()
        async with asyncio.TaskGroup() as tasks:
            services = {
                name: tasks.create_task(service, name=name)
                for name, service in (
                    ("subscriber", self._subscriber.run_forever()),
                    ("presence", self._presence.run_forever()),
                    ("registry", self._registry.run_forever()),
                    ("publisher", self._publisher.run_forever()),
                    ("deadlines", self._publisher.expire_forever()),
                    ("rooms", self._rooms.run_forever()),
                    ("inquiries", self._inquiries.run_forever()),
                    ("compare", self._rooms.compare_forever()),
                    ("report", self._rooms.report_forever()),
                    ("reaper", self._reaper.run_forever()),
                    ("host", self._host.watch_forever()),
                    ("pulse", self._pulse.run_forever()),
                )
            }
            self._beating = services["presence"]
            try:
                return await self._serve(bound, adopt_fd, stop)
            finally:
                await _end(*services.values())

    async def _redis_is_there(self, stop: asyncio.Event) -> bool:
        """Wait for a Redis that can be used; False if ``stop`` comes first.

        Raises ``SettingsError`` for one that can't.
        """
        waiting = asyncio.create_task(
            wait_for_redis(self._client, self._caller, self._keys, self._config)
        )
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((waiting, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if waiting.done():
            await waiting
            return True
        await _end(waiting)
        return False

    async def open_admin(self, bound: socket.socket) -> bool:
        """Answer HTTP on a bound socket; False if that can't be."""
        try:
            await self._admin.start(bound)
        except OSError as error:
            log.error("cannot listen", address=address_of(bound), error=error.strerror)
            return False
        log.info("admin", address=address_of(bound))
        return True

    def reload(self) -> None:
        """Read the certificate again, if there is one."""
        if self.certificate:
            self.certificate.reload()

    async def close(self) -> None:
        """Let go of everybody outside."""
        await self._admin.close()
        self._systemd.close()
        await self._client.aclose()

    async def _serve(self, bound: socket.socket, adopt_fd: int | None, stop: asyncio.Event) -> int:
        ready = asyncio.create_task(self._is_ready.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if stop.is_set():
            return 0
        try:
            self._listener.start(bound)
        except OSError as error:
            stopped.cancel()
            log.error("cannot listen", address=address_of(bound), error=error.strerror)
            return 1
        adopter = self._adopter(adopt_fd, stop)
        self._vitals.accepting = True
        self._systemd.ready()
        log.info("ready", address=address_of(bound))
        await stopped
        self._vitals.draining = True
        self._systemd.stopping()
        log.info("draining", connections=self._listener.connections)
        if adopter:
            adopter.close()
        await asyncio.sleep(self._config.drain_delay)
        await self._listener.stop()
        drained = await self._drain()
        unflushed = self._host.closes.get(CloseReason.UNFLUSHED, 0)
        log.info("stopped", drained=drained, unflushed=unflushed)
        return 0 if drained else 1

    def _adopter(self, adopt_fd: int | None, stop: asyncio.Event) -> Adopter | None:
        if adopt_fd is None:
            return None
        channel = socket.socket(fileno=adopt_fd)
        adopter = Adopter(channel, self._listener.take, on_end=stop.set)
        adopter.start(asyncio.get_running_loop())
        return adopter

    async def _drain(self) -> bool:
        """End all sessions; True if they were all told, flushed and freed in time."""
        try:
            async with asyncio.timeout(self._config.drain_timeout):
                await drain(self._host, within_s=self._config.drain_timeout)
                await self._publisher.drained()
                # A beat that came after the end of the lease would renew it.
                await _end(self._beating)
                await self._registry.drained()
                await self._publisher.drained()  # of sessions that the registry gave up
                await self._registry.bury(self.id)
                await self._client.unlink(*self._keys.room(inbox(self.id)))
        except (TimeoutError, *calls.Unreachable) as error:
            log.warning("drain incomplete", error=str(error) or type(error).__name__)
            return False
        return True

    def _adopt(self, connection: Connection) -> None:
        config = self._config
        front = LineFront(max_line_bytes=config.max_line, detect_unended=config.framing == "auto")
        Seat(self._host, connection, front)

    def _message(self, channel: str, payload: bytes) -> None:
        if channel == self._own_channel:
            self._presence.probe_came_back()
        else:
            self._rooms.message(channel, payload)

    def _subscribed(self, channel: str) -> None:
        if channel == self._own_channel:
            self._presence.subscribed()
        else:
            self._rooms.subscribed(channel)

    def _hold(self, hold: bool) -> None:
        """More waits for members than may, or not any more."""
        self._subscriber.hold(hold)
        self._presence.hold(hold)

    def _redis_ready(self) -> None:
        self._host.redis_back()
        if self._is_ready.is_set():
            self._systemd.doing("draining" if self._vitals.draining else "ready")
            log.info(
                "redis back",
                away_s=round(asyncio.get_running_loop().time() - self._away_since, 1),
                replayed=self._rooms.counts.filled - self._replayed,
            )
        self._is_ready.set()

    def _redis_away(self, error: str) -> None:
        self._host.redis_away()
        self._away_since = asyncio.get_running_loop().time()
        self._replayed = self._rooms.counts.filled
        self._systemd.doing("waiting for Redis")
        log.warning("redis away", error=error)


def _checked(config: Config) -> Certificate | None:
    """The certificate, after a look at what could not work, before anything is started.

    Raises ``SettingsError``.
    """
    if config.admin_port and config.admin_port == config.port:
        raise SettingsError("--admin-port: must be another one than --port")
    TrustedProxies(config.trusted_proxies)
    if config.tls_key and not config.tls_cert:
        raise SettingsError("--tls-key: there is no --tls-cert")
    return Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
