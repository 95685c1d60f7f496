"""Every setting, its unit and its default, in one frozen ``Config``.

The command line, the environment variables and the README's table are made
from this table.  Knows nothing of how a setting is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


class SettingsError(Exception):
    """Settings that cannot work; its text is one line for the person who gave them."""


def _flag(default: Any, help: str, **more: Any) -> Any:
    """A field that ``gateway serve`` takes as a flag and an environment variable."""
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the first of several things waits for others.

    A write costs about the same for one thing as for many, so what is saved grows with the
    people it goes to.  The first few things save the most: they wait longer for company.
    """

    window_s: float
    long_window_s: float
    """Instead of ``window_s``, as long as fewer than ``few`` wait."""
    few: int
    enough: int
    """So many wait for nothing more."""
    lull_s: float
    """If no more come for so long, those that wait go; few of them stay."""
    person_s: float
    """No longer than so much for each of the people: with few of them next to nothing."""

    def matters(self, count: int) -> bool:
        """Whether ``count`` things wait another time than one less."""
        return count in (1, self.few) or count >= self.enough

    def wait_s(self, count: int, people: int) -> float:
        """How long the first of ``count`` things waits that are for so many people."""
        if count >= self.enough:
            return 0.0
        return self.at_most(self.window_s if count >= self.few else self.long_window_s, people)

    def at_most(self, wait_s: float, people: int) -> float:
        """``wait_s``, or less for few people."""
        return min(wait_s, people * self.person_s)


_PUBLISH_PACE = Pace(0.011, 0.024, few=3, enough=64, lull_s=0.002, person_s=0.000_2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One gateway's settings.  Fields with ``help`` metadata are flags."""

    host: str = _flag("127.0.0.1", "address to listen on", metavar="ADDRESS")
    port: int = _flag(8080, "port to listen on; 0 picks a free one", min=0, max=65535)
    redis_url: str = _flag(
        "", "Redis to use; without one an embedded server is started", metavar="URL"
    )
    redis_password_file: str = _flag(
        "",
        "file with the password for Redis, so that it is in no URL; read at each connection",
        metavar="PATH",
    )
    tls_cert: str = _flag(
        "",
        "certificate (PEM, with its chain): TLS for clients; SIGHUP reads it again",
        metavar="PATH",
    )
    tls_key: str = _flag("", "key of the certificate, if it is in another file", metavar="PATH")
    proxy_protocol: bool = _flag(
        False, "clients come through a load balancer that sends a PROXY header (version 1 or 2)"
    )
    trusted_proxies: str = _flag(
        "127.0.0.0/8,::1",
        "networks that may send PROXY headers; nobody else is let in then",
        metavar="NETWORKS",
    )
    admin_host: str = _flag("127.0.0.1", "address for --admin-port", metavar="ADDRESS")
    admin_port: int | None = _flag(
        None,
        "port for HTTP: /healthz, /readyz and /metrics; 0 picks a free one",
        type=int,
        min=0,
        max=65535,
    )
    max_connections: int = _flag(
        15_000, "connections at once; more are told so and closed", unit="connections", min=1
    )
    history: int = _flag(10, "lines of history shown on joining", unit="lines", min=0, max=200)
    max_line: int = _flag(4096, "longest line accepted", unit="bytes", min=64, max=1_048_576)
    rate: float = _flag(
        10.0, "lines taken from one client; a faster one is read later", unit="lines/s", min=0.1
    )
    burst: int = _flag(40, "lines that may come at once before the rate holds", unit="lines", min=1)
    sendq: int = _flag(
        1_048_576,
        "bytes that may wait for one slow client before it is cut off",
        unit="bytes",
        min=4096,
    )
    name_timeout: float = _flag(60.0, "time to answer the name prompt", unit="s", min=0.1)
    publish_deadline: float = _flag(
        30.0, "time after which a sender is told of an unconfirmed line", unit="s", min=0.1
    )
    quiet_above: int = _flag(
        200, "people in a room above which joins and leaves are summed up", unit="people", min=1
    )
    drain_delay: float = _flag(
        0.0,
        "time after the signal in which clients are still taken, for load balancers to notice",
        unit="s",
        min=0,
    )
    drain_timeout: float = _flag(
        10.0, "time for clients to be told and flushed on shutdown", unit="s", min=0.1
    )
    framing: str = _flag(
        "auto",
        "'auto' also understands clients that send no line ends; 'line' does not",
        choices=("auto", "line"),
    )
    log_format: str = _flag("text", "how log lines look", choices=("text", "json"))

    # Not flags: what follows from the design, in one place for tests to change.
    namespace: str = "chat"
    lobby: str = "lobby"
    close_timeout_s: float = 5.0
    proxy_timeout_s: float = 5.0
    tls_timeout_s: float = 10.0
    sendq_stall_s: float = 30.0
    publish_pace: Pace = _PUBLISH_PACE
    # A flood is so many lines a second, said here, for each room that some are for.
    flood_per_s: float = 1500.0
    flood_wait_s: float = 0.1
    flood_again_s: float = 5.0
    listen_pause_s: float = 0.024
    listen_pause_person_s: float = 0.000_2
    listen_enough: int = 20
    listen_enough_bytes: int = 4096
    beat_s: float = 1.0
    silent_ticks: int = 3
    # A tick is 0.9 s or a little more.  Ten whole ones lie between that of a gateway's last beat
    # and the one at which it is dead: it was silent for about 10 s in which Redis was there.
    dead_ticks: int = 11
    retention_s: int = 86_400
    batch_memory_s: int = 3600
    rooms_listed: int = 50
    refs_kept: int = 256
    refs_s: int = 600
    log_length: int = 10_000
    history_length: int = 200
    batch_bytes: int = 262_144
    outbox_bytes: int = 16_777_216
    connect_timeout_s: float = 2.0
    reply_timeout_s: float = 3.0
    probe_timeout_s: float = 3.0
    compare_s: float = 3.0
    hold_bytes: int = 4_194_304
    hub_bytes: int = 33_554_432
    replay_events: int = 500


FLAGS = tuple(f for f in fields(Config) if "help" in f.metadata)
