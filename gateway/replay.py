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
from gateway.chat.events import Missed, decode_envelope
from gateway.hub import Member
from gateway.inquiries import Inquiries
from gateway.relay import Relay

_AGAIN_S = 0.1


class Reader(Member, Protocol):
    """A member that can fall behind."""

    @property
    def stalled(self) -> bool:
        """Whether it has not taken yet what it was sent."""
        ...


class Replay:
    """One member's way back.  Ends with ``done()``, or when ``wanted()`` says no more."""

    def __init__(
        self,
        inquiries: Inquiries,
        room: str,
        relay: Relay,
        member: Reader,
        *,
        epoch: str,
        after: int,
        wanted: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        self._inquiries = inquiries
        self._room = room
        self._relay = relay
        self._member = member
        self._epoch = epoch
        self._at = after
        self._wanted = wanted
        self._done = done

    def go_on(self) -> None:
        """Take the next step; calls itself again until it has caught up."""
        if not self._wanted():
            return
        if self._epoch != self._relay.epoch or self._at > self._relay.offset:
            self._miss()  # that log is gone
        elif self._at == self._relay.offset:
            self._done()
        elif self._member.stalled:
            self._later()
        else:
            question = Question(self._room, self._epoch, self._at)
            self._inquiries.ask(question, self._read)

    def _read(self, snapshot: Snapshot | None) -> None:
        if not self._wanted():
            return
        if snapshot is None:
            self._later()
            return
        if snapshot.epoch != self._epoch:
            self._later()  # the relay will learn of it, too
            return
        encoding, chosen = self._member.encoding, []
        for line in snapshot.lines:
            envelope = decode_envelope(line)
            if envelope.offset > self._relay.offset:
                break  # comes through the hub
            if envelope.offset != self._at + 1:
                chosen.append(encoding.encode(Missed(), self._room))
            own = envelope.event is not None and envelope.event.session == self._member.session_id
            encode = encoding.encode_own if own else encoding.encode
            chosen.append(encode(envelope, self._room))
            self._at = envelope.offset
        if not chosen and snapshot.offset >= self._relay.offset > self._at:
            self._miss()  # the log does not hold it any more
            return
        self._member.send(b"".join(chosen))
        self.go_on()

    def _miss(self) -> None:
        self._member.send(self._member.encoding.encode(Missed(), self._room))
        self._done()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, self.go_on)
