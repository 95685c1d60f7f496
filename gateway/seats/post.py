"""Private lines: to whatever gateway the other one is on, by the log of that gateway's inbox.

One that finds nobody there follows its addressee, or goes back to who wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.broker.keys import inbox
from gateway.broker.outbox import Holder, Operation, Outcome, whatever
from gateway.broker.publisher import Publisher
from gateway.broker.registry import Answer, Found, Registry
from gateway.chat.events import Delivered, GatewayId, Notice, Private, Returned
from gateway.chat.text import fold_name

if TYPE_CHECKING:
    from gateway.seats.seat import Seat


class Post:
    """Knows no other seat than the one that sends."""

    def __init__(self, gateway: GatewayId, publisher: Publisher, registry: Registry) -> None:
        self._gateway = gateway
        self._publisher = publisher
        self._registry = registry

    def send(self, seat: Seat, to: str, text: str, ref: int) -> None:
        """Find who is called ``to``, and put the line into the inbox of that gateway."""

        if not seat.redis_ready:
            # Whether somebody of that name is here can't be known; lines to come need not wait.
            seat.answer(Notice(f"not delivered: {text}", "not_delivered", ref))
            return

        def found(answer: Answer | None) -> None:
            if answer is None:
                seat.answer(Notice(f"not delivered: {text}", "not_delivered", ref))
            elif isinstance(answer, Found):
                self._send_to(seat, answer, text, ref)
                seat.session.answered()
                seat.pump()
            else:
                seat.answer(Notice(f"{to} is not here", "absent", ref))

        self._registry.find(fold_name(to), found)

    def _send_to(self, seat: Seat, found: Found, text: str, ref: int) -> None:
        holder, session = found.holder, seat.session
        event = Private(session.id, session.name, holder.session, found.name, text, ref)
        seat.outstanding += 1

        def told(outcome: Outcome, offset: int) -> None:
            if not seat.hears:
                pass
            elif outcome in (Outcome.CONFIRMED, Outcome.REPEATED):
                seat.tell(Delivered(found.name, text, ref, offset))
            elif outcome is Outcome.REFUSED:
                seat.tell(Notice(f"{found.name} is not here", "absent", ref))
            else:
                certain = outcome is Outcome.NOT_DELIVERED
                session.not_delivered(event, certain=certain)
            seat.confirmed()

        operation = Operation(inbox(holder.gateway), seat.holder, event, told)
        self._publisher.submit(operation)

    def forward(self, private: Private, came_from: GatewayId) -> None:
        """Send a line after a session that is not here; give it back if it is nowhere."""
        author = Holder(self._gateway, private.session, 0)
        origin = private.origin or came_from
        ref = private.said_ref or private.ref

        def give_back() -> None:
            event = Returned(private.session, private.name, private.text, ref)
            self._publisher.submit(Operation(inbox(origin), author, event, whatever))

        def told(outcome: Outcome, _offset: int) -> None:
            if outcome is Outcome.REFUSED or outcome is Outcome.NOT_DELIVERED:
                give_back()

        def found(answer: Answer | None) -> None:
            holder = answer.holder if isinstance(answer, Found) else None
            if holder and holder.session == private.to_session and holder.gateway != self._gateway:
                event = msgspec.structs.replace(private, ref=0, origin=origin, said_ref=ref)
                self._publisher.submit(Operation(inbox(holder.gateway), author, event, told))
            else:
                give_back()

        self._registry.find(fold_name(private.to), found)
