"""What a gateway tells of itself: whether it is ready, its metrics, its line in Redis.

Looks at everybody's numbers when it is asked, and at what is delivered while it is:
nothing else is kept here.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway import __version__
from gateway.broker.clock import RedisClock
from gateway.broker.presence import Presence
from gateway.broker.publisher import Publisher
from gateway.broker.subscriber import Subscriber
from gateway.chat.events import Envelope
from gateway.chat.reasons import CloseReason
from gateway.chat.session import State
from gateway.config import Config
from gateway.net.listener import Listener
from gateway.net.tls import Certificate
from gateway.ops.histogram import Histogram, RecentMax
from gateway.ops.metrics import Value
from gateway.ops.pulse import Pulse
from gateway.rooms.hub import Hub
from gateway.rooms.served import Rooms
from gateway.seats.host import Host

_NAMELESS = (State.NAMING, State.CLAIMING, State.ENDED)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at."""

    host: Host
    hub: Hub
    rooms: Rooms
    publisher: Publisher
    subscriber: Subscriber
    presence: Presence
    listener: Listener
    certificate: Certificate | None
    clock: RedisClock
    pulse: Pulse


class Vitals:
    """``address``, ``accepting`` and ``draining`` are set by the gateway as its life goes on."""

    def __init__(self, config: Config) -> None:
        self.parts: Parts
        self.address = ""
        """Where it listens."""
        self.accepting = False
        self.draining = False
        self._config = config
        self._started_at = time.time()
        self._behind_since: float | None = None
        self._events_out = 0
        self._delivery_s = Histogram()
        self._delivery_max_s = RecentMax()

    def delivered(self, items: Iterable[object]) -> None:
        """What of a room was just sent to its local members."""
        now = self.parts.clock.now_s()
        latest_s = 0.0
        for item in items:
            if isinstance(item, Envelope):
                self._events_out += 1
                if now is not None:
                    # Redis's time in an envelope is cut off to the millisecond.
                    late_s = max(0.0, now - item.at_ms / 1000)
                    self._delivery_s.observe(late_s)
                    latest_s = max(latest_s, late_s)
        self._delivery_max_s.observe(latest_s, time.monotonic())

    def why_not_ready(self) -> list[str]:
        """Why no new clients should be sent here; empty if they should."""
        parts = self.parts
        reasons = []
        if self.draining:
            reasons.append("draining")
        elif not self.accepting:
            reasons.append("starting")
        if not parts.presence.ready:
            reasons.append("Redis is not proven end to end")
        if parts.listener.full:
            reasons.append(f"full: {parts.listener.connections} connections")
        return reasons

    def describe(self) -> str:
        """What others can read of this gateway in Redis; see ``gateway status``.

        Asked for with each beat: so it is known, to a beat, for how long some room was behind.
        """
        parts, now = self.parts, time.monotonic()
        if not parts.rooms.behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        return json.dumps(
            {
                "version": __version__,
                "host": socket.gethostname(),
                "address": self.address,
                "started_at": round(self._started_at),
                "connections": parts.listener.connections,
                "rooms": len(parts.rooms),
                "loop_lag_s": round(parts.pulse.max_lag_s, 4),
                "delivery_lag_s": round(self._delivery_max_s.value(now), 4),
                "rooms_behind": parts.rooms.behind,
                "behind_s": round(now - (self._behind_since or now), 1),
                "outbox_bytes": parts.publisher.outbox.size_bytes,
                "draining": self.draining,
                "why_not_ready": self.why_not_ready(),
            }
        )

    def metrics(self) -> Mapping[str, Value]:
        """A value for each name of ``gateway.ops.metrics.TABLE`` that has one."""
        return {
            "gateway_info": {__version__: 1},
            "gateway_ready": not self.why_not_ready(),
            "gateway_draining": self.draining,
            "gateway_loop_lag_seconds": self.parts.pulse.lag_s,
            "gateway_loop_lag_max_seconds": self.parts.pulse.max_lag_s,
            **self._of_connections(),
            **self._of_chat(),
            **self._of_redis(),
        }

    def _of_connections(self) -> dict[str, Value]:
        """In one pass over all seats: there may be thousands."""
        listener, host, certificate = self.parts.listener, self.parts.host, self.parts.certificate
        received, sent = listener.ended_received_bytes, listener.ended_sent_bytes
        waiting = longest = sessions = 0
        for seat in host.seats:
            connection = seat.connection
            received += connection.received_bytes
            sent += connection.sent_bytes
            if queued := connection.sendq_bytes:
                waiting, longest = waiting + queued, max(longest, queued)
            sessions += seat.session.state not in _NAMELESS
        values: dict[str, Value] = {
            "gateway_connections": listener.connections,
            "gateway_connections_limit": listener.limit,
            "gateway_connections_accepted_total": listener.accepted,
            "gateway_connections_refused_total": {
                reason.value: count for reason, count in listener.refused.items()
            },
            "gateway_connections_closed_total": {
                reason.value: host.closes.get(reason, 0) for reason in CloseReason
            },
            "gateway_received_bytes_total": received,
            "gateway_sent_bytes_total": sent,
            "gateway_sendq_bytes": waiting,
            "gateway_sendq_max_bytes": longest,
            "gateway_sessions": sessions,
        }
        if certificate:
            values["gateway_tls_reloads_total"] = dict(certificate.reloads)
            if certificate.expires_at is not None:
                values["gateway_tls_certificate_expiry_timestamp_seconds"] = certificate.expires_at
        return values

    def _of_chat(self) -> dict[str, Value]:
        parts = self.parts
        return {
            "gateway_rooms": len(parts.rooms),
            "gateway_rooms_behind": parts.rooms.behind,
            "gateway_events_in_total": parts.publisher.submitted,
            "gateway_events_out_total": self._events_out,
            "gateway_deliveries_total": parts.hub.deliveries,
            "gateway_fan_out_bytes": parts.hub.pending_bytes,
            "gateway_flush_events": parts.hub.flush_events,
            "gateway_flush_seconds": parts.hub.flush_s,
            "gateway_delivery_seconds": self._delivery_s,
        }

    def _of_redis(self) -> dict[str, Value]:
        parts, counts = self.parts, self.parts.rooms.counts
        return {
            "gateway_redis_ready": parts.presence.ready,
            "gateway_redis_subscriptions_lost_total": parts.subscriber.rebuilt,
            "gateway_redis_subscription_holds_total": parts.subscriber.holds,
            "gateway_publish_seconds": parts.publisher.answered_s,
            "gateway_publish_retries_total": parts.publisher.retries,
            "gateway_publish_outcomes_total": {
                outcome.name.lower(): count for outcome, count in parts.publisher.outcomes.items()
            },
            "gateway_outbox_bytes": parts.publisher.outbox.size_bytes,
            "gateway_outbox_limit_bytes": self._config.outbox_bytes,
            "gateway_outbox_waiting_speakers": parts.host.cluster.speakers.kept_waiting,
            "gateway_floods_gathered_total": parts.publisher.flood.gathered,
            "gateway_holes_found_total": counts.holes,
            "gateway_holes_filled_events_total": counts.filled,
            "gateway_holes_unfillable_total": counts.unfillable,
            "gateway_hold_overflows_total": counts.hold_overflows,
        }
