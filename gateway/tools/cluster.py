"""A local cluster in the foreground: Redis, some gateways, one port in front of them.

The parent listens once and hands each connection to the next gateway in turn; it tells
who came and went from what the gateways log.  Whatever ends unasked is started again.
Ctrl-C drains the gateways, then ends Redis; a second one ends everything at once, as
does the parent's death.  Knows nothing of what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

from gateway.broker.backoff import Backoff
from gateway.broker.embedded import EmbeddedServer, EmbeddedServerError, NoServerFound
from gateway.config import Config, SettingsError
from gateway.net.address import host_port, is_unknown
from gateway.net.handoff import Dealer, listen
from gateway.ops.logs import redacted
from gateway.processes import end, lines, spawn
from gateway.redis_url import has_password
from gateway.tools.balancer import FLAGS, Balancer, BalancerError

_AGAIN_S, _AGAIN_AT_MOST_S = 0.2, 10.0
_STEADY_S = 10.0  # what ran this long has recovered
LOGGED_ALWAYS = {"time", "level", "event", "gateway"}


class ClusterError(Exception):
    """The cluster can't be run: one line why, and the exit code."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


async def run_cluster(
    *,
    gateways: int,
    host: str,
    port: int,
    redis_url: str = "",
    redis_password_file: str = "",
    balancer: str = "",
) -> int:
    """Run the cluster until SIGINT, SIGTERM or SIGHUP; return the exit code.

    The front is on ``port`` (0: a free one) and the gateways on those after it (0: free
    ones); an empty ``redis_url`` means an embedded server, which has no password.  With
    ``balancer`` "haproxy" that one is the front, and the gateways get admin ports.
    """
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    stop = asyncio.Event()
    hurried = False

    def signalled() -> None:
        nonlocal hurried
        if stop.is_set():
            hurried = True
            this.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signalled)
    watching = asyncio.create_task(_end_with(os.getppid(), stop)) if _made() else None
    try:
        cluster = _Cluster(gateways, host, port, balancer, redis_password_file)
        return await cluster.run(redis_url, stop)
    except (ClusterError, BalancerError, EmbeddedServerError, NoServerFound) as error:
        _say(f"gateway cluster: {error}", sys.stderr)
        return error.code if isinstance(error, ClusterError) else 1
    except asyncio.CancelledError:
        if not hurried:
            raise
        return 1
    finally:
        if watching:
            watching.cancel()


def _made() -> bool:
    """Whether ``make`` runs this: then what it began ends with it, however it ends."""
    return "MAKELEVEL" in os.environ


async def _end_with(parent: int, stop: asyncio.Event) -> None:
    # Nothing tells a process that its parent is gone, everywhere: it has to look.
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    stop.set()


class _Cluster:
    def __init__(
        self, gateways: int, host: str, port: int, balancer: str, password_file: str
    ) -> None:
        self._front_host = host
        # Past a balancer the gateways take nobody: nobody else need reach them.
        self._host = "127.0.0.1" if balancer else host
        self._listener = _listen(host, port)
        self._admin_ports: list[int] = []
        try:
            self._ports = [port and port + 1 + i for i in range(gateways)]
            for each in filter(None, self._ports):
                # Seen here, before anything is started, it is one clear line.
                _listen(host, each).close()
            if balancer:
                # A balancer must know them beforehand.
                self._ports = [each or _free_port(self._host) for each in self._ports]
                self._admin_ports = [_free_port("127.0.0.1") for _ in self._ports]
        except ClusterError:
            self._listener.close()
            raise
        self._here: set[tuple[int, str]] = set()  # gateway and session
        self._password_file = password_file

    async def run(self, redis_url: str, stop: asyncio.Event) -> int:
        async with contextlib.AsyncExitStack() as stack:
            dealer: Dealer | Balancer
            if self._admin_ports:
                places = list(zip(self._ports, self._admin_ports, strict=True))
                dealer = Balancer(self._listener, places, _say)
                await stack.enter_async_context(dealer)
            else:
                dealer = stack.enter_context(contextlib.closing(Dealer(self._listener)))
            if redis_url:
                return await self._run_gateways(redis_url, dealer, stop)
            redis = EmbeddedServer()
            await redis.start()
            keeping = asyncio.create_task(redis.keep_forever(_say))
            try:
                return await self._run_gateways(redis.url, dealer, stop)
            finally:
                keeping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeping
                await redis.stop()

    async def _run_gateways(
        self, redis_url: str, dealer: Dealer | Balancer, stop: asyncio.Event
    ) -> int:
        environment = _environment(redis_url, self._password_file)
        members = [
            _Gateway(
                number, self._host, port, environment, dealer, self._here, *self._flags(number)
            )
            for number, port in enumerate(self._ports, 1)
        ]
        tasks = {asyncio.create_task(member.run_forever()) for member in members}
        stopping = asyncio.create_task(stop.wait())
        page = dealer.page if isinstance(dealer, Balancer) else ""
        telling = asyncio.create_task(self._tell_when_up(members, redis_url, page))
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                _say("draining the gateways; Ctrl-C again ends at once")
        finally:
            dealer.close()
            for task in {stopping, telling, *tasks}:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception):
                raise error
        return 0 if all(member.drained for member in members) else 1

    def _flags(self, number: int) -> list[str]:
        if not self._admin_ports:
            return []
        return [*FLAGS, "--admin-port", str(self._admin_ports[number - 1])]

    async def _tell_when_up(self, members: list[_Gateway], redis_url: str, page: str) -> None:
        for member in members:
            await member.started.wait()
        for member in members:
            _say(f"gateway {member.number} on {host_port(self._host, member.port)}")
        _say(f"Redis on {redacted(redis_url)}")
        _say(f"to see how it is: {_status_command(redis_url, self._password_file)}")
        if page:
            _say(f"HAProxy on {page}; past it the gateways take nobody")
        host = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "localhost"}
        port = self._listener.getsockname()[1]
        _say(f"chat is up: nc {host.get(self._front_host, self._front_host)} {port}")


class _Gateway:
    """One gateway process of the cluster, started again on its port whenever it ends.

    ``started`` is set when it is ready for the first time.
    """

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        environment: dict[str, str],
        dealer: Dealer | Balancer,
        here: set[tuple[int, str]],
        *flags: str,
    ) -> None:
        self.number = number
        self.port = port
        self.started = asyncio.Event()
        self.drained = True
        self._host = host
        self._environment = environment
        self._dealer = dealer
        self._here = here
        self._flags = flags
        self._ready = False
        self._last = "it said nothing"

    def __str__(self) -> str:
        return f"gateway {self.number} ({self.port})" if self.port else f"gateway {self.number}"

    async def run_forever(self) -> None:
        """Run it until cancelled, which drains it; cancelled again, it is killed.

        Raises ``ClusterError`` if it ends before it was ever ready.
        """
        backoff = Backoff(_AGAIN_S, _AGAIN_AT_MOST_S)
        while True:
            begun = asyncio.get_running_loop().time()
            code = await self._run_once()
            if not self.started.is_set():
                raise ClusterError(f"{self} did not start: {self._last}", 2 if code == 2 else 1)
            lost = {each for each in self._here if each[0] == self.number}
            self._here -= lost
            self.drained = True  # there is nothing left to drain
            _say(f"{self} {_ended(code)}, {len(lost)} cut off; starting it again")
            if asyncio.get_running_loop().time() - begun > _STEADY_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _run_once(self) -> int:
        self._ready = False
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as unless_spawned, theirs:
            unless_spawned.enter_context(ours)
            command = f"""-m gateway serve --host {self._host} --port {self.port}
                --log-format json --adopt-fd {theirs.fileno()}"""
            process = await spawn(
                [sys.executable, *command.split(), *self._flags],
                pass_fds=[theirs.fileno()],
                # Not on the command line, which everybody on the machine can read.
                env=self._environment,
            )
            unless_spawned.pop_all()
        handoff = self._dealer.add(ours, lambda: self._changed(handoff.ready))
        reading = asyncio.create_task(self._read(process))
        try:
            return await process.wait()
        finally:
            try:
                in_time = await end(process, _kill_after_s())
                # One that had not come so far as to handle the signal drained, too.
                fine = (0,) if self._ready else (0, -signal.SIGTERM)
                self.drained = in_time and process.returncode in fine
            finally:
                handoff.close()
                await reading

    def _changed(self, ready: bool) -> None:
        if ready and not self._ready:
            self._ready = True
            self._check_started()

    def _check_started(self) -> None:
        if not (self._ready and self.port):
            return
        if self.started.is_set():
            _say(f"{self} is back")
        self.started.set()

    async def _read(self, process: Process) -> None:
        async for line in lines(process):
            entry: Any = None
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
            if isinstance(entry, dict):
                self._hear(entry)
            elif line:
                self._last = line
                if self.started.is_set():
                    _say(f"{self}: {line}")

    def _hear(self, entry: dict[str, Any]) -> None:
        event, level = entry.get("event"), entry.get("level")
        if event == "ready" and not self.port:
            self.port = int(str(entry.get("address")).rpartition(":")[2])
            self._check_started()
        elif event in ("joined", "left"):
            change = self._here.add if event == "joined" else self._here.discard
            change((self.number, str(entry.get("session"))))
            where = "" if entry.get("room") == Config().lobby else f" {entry.get('room')}"
            _say(f"{entry.get('name')} {event}{where} on {self} — {len(self._here)} here")
        if level in ("warning", "error", "critical"):
            fields = [f"{key}={entry[key]}" for key in entry.keys() - LOGGED_ALWAYS]
            self._last = " ".join([str(event), *sorted(fields)])
            _say(f"{self} {level}: {self._last}")


def _environment(redis_url: str, password_file: str) -> dict[str, str]:
    """What a gateway here inherits: not what only one of them could have, nor what the front is."""
    ours = {f"GATEWAY_{name}" for name in ("ADMIN_HOST", "ADMIN_PORT", "PROXY_PROTOCOL")}
    ours.add("GATEWAY_TRUSTED_PROXIES")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    redis = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_REDIS_PASSWORD_FILE": password_file}
    return inherited | redis


def _status_command(redis_url: str, password_file: str) -> str:
    """What to type, as this process was started: it shows no password."""
    if Path(sys.argv[0]).name != "gateway":
        words = [sys.orig_argv[0], "-m", "gateway"]
    else:
        words = ["gateway" if shutil.which("gateway") == sys.argv[0] else sys.argv[0]]
    if has_password(redis_url):
        return f"{shlex.join([*words, 'status'])}, with the same GATEWAY_REDIS_URL"
    words += ["status", "--redis-url", redis_url]
    return shlex.join([*words, "--redis-password-file", password_file] if password_file else words)


def _kill_after_s() -> float:
    """More than a gateway takes to drain, as the environment tells it."""
    config, allowed_s = Config(), 5.0
    for name in ("drain_delay", "drain_timeout"):
        with contextlib.suppress(ValueError):  # with that one no gateway starts
            allowed_s += float(os.environ.get(f"GATEWAY_{name.upper()}") or getattr(config, name))
    return allowed_s


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        if is_unknown(error):
            raise SettingsError(f"--host: {host}: {error.strerror}") from None
        # Without what create_server adds to it.
        named = isinstance(error, socket.gaierror)
        why = error.strerror if named else os.strerror(error.errno or 0)
        raise ClusterError(f"cannot listen on {host_port(host, port)}: {why}") from None


def _free_port(host: str) -> int:
    with _listen(host, 0) as probe:
        return int(probe.getsockname()[1])


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _say(line: str, file: Any = None) -> None:
    """Print ``line``; no terminal acts on what is in it, and a closed one ends nothing."""
    file = file or sys.stdout
    try:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        print(shown, file=file, flush=True)
    except OSError:
        # Or the flush at exit would fail, too, and change the exit code.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())
