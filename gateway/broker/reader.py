"""Reads rooms' logs: where they stand, what follows, who is there, what was said."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from gateway.broker.calls import SYNC, Call, Caller
from gateway.broker.keys import Keys
from gateway.broker.outbox import Holder
from gateway.chat.events import Envelope, GatewayId, SessionId, decode_envelope
from gateway.config import Config
from gateway.ops.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one room.  ``epoch`` '' and ``offset`` 0 if nothing is known.

    ``create`` makes the room's log if there is none; else its snapshot's epoch is ''.
    """

    room: str
    epoch: str = ""
    offset: int = 0
    members: bool = False
    history: int = 0
    create: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """A membership as Redis holds it."""

    holder: Holder
    name: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ``scripts/sync.lua`` answers.  Events are oldest first.

    ``members`` is None where they were not asked for and nothing made them necessary.
    ``at_last`` is the line at ``offset``, b'' if the log does not have it (any more).
    """

    epoch: str
    offset: int
    people: int
    at_known: bytes
    events: Sequence[Envelope]
    members: Mapping[SessionId, Membership] | None
    history: Sequence[Envelope]
    at_last: bytes = b""

    @property
    def said(self) -> list[Envelope]:
        """The history, but for what a newer gateway's people can say and nobody here can show."""
        return [envelope for envelope in self.history if envelope.event]


class Reader:
    """Asks for snapshots of rooms; nothing is repeated here."""

    def __init__(self, caller: Caller, keys: Keys, config: Config) -> None:
        self._caller = caller
        self._keys = keys
        self._config = config

    async def read(self, questions: Sequence[Question]) -> list[Snapshot | RedisError]:
        """One answer a question.  Raises one of ``Unreachable`` if none came in time."""
        replies = await self._caller.call([self._call(question) for question in questions])
        return [
            reply if isinstance(reply, RedisError) else _snapshot(reply, question)
            for question, reply in zip(questions, replies, strict=True)
        ]

    def _call(self, question: Question) -> Call:
        config = self._config
        args = (
            question.epoch,
            question.offset,
            config.replay_events,
            question.history,
            config.retention_s,
            secrets.token_hex(4) if question.create else "",
            "1" if question.members else "0",
        )
        return Call(SYNC, self._keys.room(question.room), args)


def _snapshot(reply: list, question: Question) -> Snapshot | RedisError:  # type: ignore[type-arg]
    epoch, offset, people, at_known, lines, flat, history, at_last = reply
    room, members = question.room, None
    if question.members or (question.create and question.epoch != epoch.decode()):
        try:
            members = {
                SessionId(session.decode()): parse_membership(SessionId(session.decode()), record)
                for session, record in zip(flat[::2], flat[1::2], strict=True)
            }
        except ValueError:
            return ResponseError("somebody else has written among its members")
    events, said = decode_envelopes(lines, room), decode_envelopes(history, room)
    return Snapshot(epoch.decode(), offset, people, at_known, events, members, said, at_last)


def decode_envelopes(lines: Sequence[bytes], room: str) -> list[Envelope]:
    """Lines of a room's log.  What is none, since somebody else wrote it, is left out."""
    try:
        return list(map(decode_envelope, lines))
    except ValueError:
        return list(_decodable(lines, room))


def _decodable(lines: Iterable[bytes], room: str) -> Iterable[Envelope]:
    for line in lines:
        try:
            yield decode_envelope(line)
        except ValueError:
            log.warning("not an envelope", room=room, line=line[:80].decode(errors="replace"))


def parse_membership(session: SessionId, record: bytes) -> Membership:
    """A membership's record: ``GATEWAY GENERATION NAME``."""
    gateway, generation, name = record.decode().split(" ")
    return Membership(Holder(GatewayId(gateway), session, int(generation)), name)
