"""Brings one member that comes back up to its room: what followed its last offset, then live.

Pages through the log as the member takes them, and makes it a member of the
hub at the very offset at which it has caught up, so that nothing is left out
and nothing comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.broker.reader import Question, Snapshot
from gateway.chat.events import Missed
from gateway.rooms.fan_out import Member
from gateway.rooms.inquiries import Inquiries
from gateway.rooms.relay import Relay

_AGAIN_S = 0.1
_UNREADABLE_S = 0.5
"""Until a log is asked again that Redis did not tell of."""


class Follower(Member, Protocol):
    """A member that can fall behind."""

    @property
    def stalled(self) -> bool:
        """Whether it has not taken yet what it was sent."""
        ...


class Replay:
    """One member's way back.

    ``wanted()`` says whether it still is one; ``look()`` has the room's log read for
    the relay.  ``welcome(offset)`` is called once, when it is known from where the
    member goes on, and ``done()`` at the end.
    """

    def __init__(
        self,
        inquiries: Inquiries,
        room: str,
        relay: Relay,
        member: Follower,
        *,
        epoch: str,
        after: int,
        page_bytes: int,
        wanted: Callable[[], bool],
        look: Callable[[], None],
        welcome: Callable[[int], None],
        done: Callable[[], None],
    ) -> None:
        self._inquiries = inquiries
        self._room = room
        self._relay = relay
        self._member = member
        self._epoch = epoch
        self._at = after
        self._page_bytes = page_bytes
        self._wanted = wanted
        self._look = look
        self._welcome = welcome
        self._welcomed = False
        self._done = done

    def begin(self) -> None:
        """Take the first step; the others follow by themselves."""
        self._ask()

    def _ask(self) -> None:
        if self._wanted():
            self._inquiries.ask(Question(self._room, self._epoch, self._at), self._read)

    def _read(self, snapshot: Snapshot | None) -> None:
        """The log's answer to where it stands, and what follows."""
        if not self._wanted():
            return
        if snapshot is None:
            self._later(_UNREADABLE_S)
        elif snapshot.epoch != self._epoch or snapshot.offset < self._at:
            self._miss()  # that log is gone
        elif self._relay.epoch != self._epoch or self._relay.offset < self._at:
            # The member knows more than this gateway: what it has must not come again.
            self._look()
            self._later()
        else:
            if not self._welcomed:
                self._welcomed = True
                self._welcome(self._at)
            self._send_page(snapshot)

    def _send_page(self, snapshot: Snapshot) -> None:
        encoding, page, size = self._member.encoding, [], 0
        for envelope in snapshot.events:
            if envelope.offset > self._relay.offset or size >= self._page_bytes:
                break  # what is later than the relay comes through the hub
            if envelope.offset != self._at + 1:
                page.append(encoding.encode(Missed(), self._room))
            own = envelope.event is not None and envelope.event.session == self._member.session_id
            encode = encoding.encode_own if own else encoding.encode
            page.append(encode(envelope, self._room))
            size += len(page[-1])
            self._at = envelope.offset
        if page:
            self._member.send(b"".join(page))
        if self._at == self._relay.offset:
            self._done()
        elif not page and snapshot.offset >= self._relay.offset:
            self._miss()  # the log does not hold it any more
        elif self._member.stalled:
            self._later()
        else:
            self._ask()

    def _miss(self) -> None:
        if not self._welcomed:
            self._welcome(self._relay.offset)
        self._member.send(self._member.encoding.encode(Missed(), self._room))
        self._done()

    def _later(self, wait_s: float = _AGAIN_S) -> None:
        asyncio.get_running_loop().call_later(wait_s, self._go_on_if_it_reads)

    def _go_on_if_it_reads(self) -> None:
        if self._wanted() and self._member.stalled:
            self._later()
        else:
            self._ask()
