"""What ``/metrics`` shows: every metric in one table, read when somebody asks.

A gateway counts with plain integers and ``Histogram``s; turning them into
Prometheus's text happens at the scrape alone, so that the way of a line pays
nothing for it.  Knows nothing of where a number comes from.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.ops.admin import Answer
from gateway.ops.histogram import Histogram


class Kind(enum.Enum):
    GAUGE = enum.auto()
    COUNTER = enum.auto()
    """Its name ends in ``_total``."""
    HISTOGRAM = enum.auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: at most one label, so that none has more series than its table has words."""

    name: str
    kind: Kind
    help: str
    label: str = ""


G, C, H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

TABLE = (
    # The gateway.
    Row("gateway_info", G, "Always 1; the version that runs", "version"),
    Row("gateway_ready", G, "1 while /readyz answers 200"),
    Row("gateway_draining", G, "1 from the first signal on"),
    Row("gateway_loop_lag_seconds", H, "How late the event loop ran a timer"),
    Row("gateway_loop_lag_max_seconds", G, "The longest such delay of the last minute"),
    # Connections.
    Row("gateway_connections", G, "Open connections, also those that have no session yet"),
    Row("gateway_connections_limit", G, "Connections at which newcomers are refused"),
    Row("gateway_connections_accepted_total", C, "Connections that came to have a session"),
    Row(
        "gateway_connections_refused_total",
        C,
        "Connections that never came to have a session: full, untrusted (not a trusted proxy),"
        " proxy_header (none or a broken one), proxy_timeout, tls_handshake, gone, drained",
        "reason",
    ),
    Row("gateway_connections_closed_total", C, "Ended connections, see CloseReason", "reason"),
    Row("gateway_received_bytes_total", C, "Bytes from clients"),
    Row("gateway_sent_bytes_total", C, "Bytes for clients, queued or sent"),
    Row("gateway_sendq_bytes", G, "Bytes that wait in all SendQs"),
    Row("gateway_sendq_max_bytes", G, "Bytes that wait in the longest SendQ"),
    Row("gateway_tls_certificate_expiry_timestamp_seconds", G, "When the certificate in use ends"),
    Row("gateway_tls_reloads_total", C, "Reloads of the certificate: ok, failed", "result"),
    # Chat.
    Row("gateway_sessions", G, "Sessions that have a name"),
    Row("gateway_rooms", G, "Rooms with a session here"),
    Row("gateway_rooms_behind", G, "Rooms whose log is to be read before delivery goes on"),
    Row("gateway_events_in_total", C, "Events that local clients caused"),
    Row("gateway_events_out_total", C, "Events taken from logs for local members"),
    Row("gateway_deliveries_total", C, "Events times the members they were sent to"),
    Row("gateway_fan_out_bytes", G, "Of events that wait for members to be sent to"),
    Row("gateway_flush_events", H, "Events of one room in one flush"),
    Row("gateway_flush_seconds", H, "Time to send one room's flush to its members"),
    Row(
        "gateway_delivery_seconds",
        H,
        "From the moment a gateway accepted an event until it was sent to local members,"
        " in Redis's time",
    ),
    # Redis.
    Row("gateway_redis_ready", G, "1 while Redis is proven end to end"),
    Row("gateway_redis_subscriptions_lost_total", C, "Subscriptions that had to be rebuilt"),
    Row("gateway_redis_subscription_holds_total", C, "Times that too much waited for members"),
    Row("gateway_publish_seconds", H, "From an event's entry into the outbox to Redis's answer"),
    Row(
        "gateway_publish_retries_total",
        C,
        "Pipelines, and rooms' parts of them, that had to be sent again",
    ),
    Row(
        "gateway_publish_outcomes_total",
        C,
        "What became of events: confirmed, repeated, refused, not_delivered, not_confirmed",
        "outcome",
    ),
    Row("gateway_outbox_bytes", G, "Bytes that Redis has not confirmed"),
    Row("gateway_outbox_limit_bytes", G, "Bytes at which speakers have to wait"),
    Row("gateway_outbox_waiting_speakers", G, "Connections not read because of the outbox"),
    Row("gateway_floods_gathered_total", C, "Times that lines were left to come for company"),
    Row("gateway_holes_found_total", C, "Holes in what pub/sub brought"),
    Row("gateway_holes_filled_events_total", C, "Events read from logs to fill them"),
    Row("gateway_holes_unfillable_total", C, "Holes that members were told of: events were missed"),
    Row("gateway_hold_overflows_total", C, "Events dropped while a log was read, and read there"),
)
"""Besides these, ``prometheus_client``'s own ``process_*`` (CPU, memory, descriptors)."""

Value = float | Mapping[str, float] | Histogram
"""What a metric shows: with a label, a number for each of its words."""


class Metrics(Collector):
    """Text for Prometheus, made of what ``read()`` returns: a value for each name of the table.

    A metric without a value at the moment is left out.
    """

    def __init__(self, read: Callable[[], Mapping[str, Value]]) -> None:
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def answer(self, accept: str) -> Answer:
        """The answer to a scrape with this ``Accept`` header."""
        encode, content_type = choose_encoder(accept)
        return Answer(encode(self._registry), content_type)

    def describe(self) -> Iterator[Metric]:
        """The names alone; so nothing is read before the gateway is complete."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        values = self._read()
        unknown = values.keys() - {row.name for row in TABLE}
        assert not unknown, unknown
        for row in TABLE:
            if row.name in values:
                yield _family(row, values[row.name])


def _family(row: Row, value: Value) -> Metric:
    if isinstance(value, Histogram):
        bounds = [*map(str, value.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(value.counts), strict=True))
        return HistogramMetricFamily(row.name, row.help, buckets=buckets, sum_value=value.total)
    kind = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
    family: Metric = kind(row.name, row.help, labels=[row.label] if row.label else [])
    if isinstance(value, Mapping):
        for word, number in value.items():
            family.add_metric([word], number)  # type: ignore[attr-defined]
    else:
        family.add_metric([], value)  # type: ignore[attr-defined]
    return family
