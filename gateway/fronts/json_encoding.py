"""What programs are told: JSON Lines, as ``schema.json`` has them.

Knows no connection: what a room hears is encoded once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.chat.events import (
    Action,
    Delivered,
    Envelope,
    History,
    Joined,
    Left,
    Message,
    Missed,
    NamePrompt,
    Notice,
    People,
    Pong,
    Private,
    Renamed,
    Replaced,
    Returned,
    RoomList,
    Said,
    Spoken,
    Summary,
    Told,
    Welcome,
)
from gateway.fronts import words


class JsonEncoding:
    """Writes JSON Lines.  There is one: ``JSON``."""

    __slots__ = ()

    def encode(self, item: Envelope | Told, room: str = "") -> bytes:
        if type(item) is Envelope:
            return _line(_event(item, room))
        return b"".join(map(_line, _TOLD[type(item)](item, room)))

    def encode_own(self, envelope: Envelope, room: str = "") -> bytes:
        """An acknowledgement in the place of the event; one's own new name as an event."""
        event = envelope.event
        if isinstance(event, Spoken):
            if not event.ref:
                return b""
            return _line({"type": "ack", "ref": str(event.ref), "offset": envelope.offset})
        return _line(_event(envelope, room))


JSON = JsonEncoding()

_json = msgspec.json.Encoder()


def _line(members: dict[str, Any] | None) -> bytes:
    return _json.encode(members) + b"\n" if members else b""


_EVENTS: dict[type, Callable[[Any], dict[str, Any] | None]] = {
    Message: lambda e: {"type": "message", "from": e.name, "text": e.text},
    Action: lambda e: {"type": "action", "from": e.name, "text": e.text},
    Joined: lambda e: {"type": "joined", "from": e.name},
    Left: lambda e: {"type": "left", "from": e.name},
    Renamed: lambda e: {"type": "renamed", "from": e.name, "to": e.new_name},
    Private: lambda e: {"type": "private", "from": e.name, "to": e.to, "text": e.text},
    Returned: lambda _: None,
    Replaced: lambda _: None,
    type(None): lambda _: None,
}


def _event(envelope: Envelope, room: str) -> dict[str, Any] | None:
    members = _EVENTS[type(envelope.event)](envelope.event)
    if members is None:
        return None
    at = datetime.fromtimestamp(envelope.at_ms / 1000, UTC)
    if not isinstance(envelope.event, Private):
        members |= {"room": room, "offset": envelope.offset, "epoch": envelope.epoch}
    members["at"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return members


def _said(said: Said) -> dict[str, Any]:
    return (_event(said.envelope, said.room) or {}) | {"history": True}


def _notice(notice: Notice, _room: str) -> list[dict[str, Any]]:
    if not notice.code:
        return [{"type": "notice", "text": notice.text}]
    error = {"type": "error", "code": notice.code, "text": notice.text}
    return [error | {"ref": str(notice.ref)} if notice.ref else error]


def _welcome(welcome: Welcome, _room: str) -> list[dict[str, Any]]:
    told = {
        "type": "welcome",
        "name": welcome.name,
        "room": welcome.room,
        "offset": welcome.offset,
        "epoch": welcome.epoch,
        "people": welcome.people,
    }
    return [told, *map(_said, welcome.history)]


def _summary(summary: Summary, _room: str) -> list[dict[str, Any]]:
    text = words.summary(summary.joined, summary.left)
    return [{"type": "notice", "text": text, "joined": summary.joined, "left": summary.left}]


def _history(found: History, _room: str) -> list[dict[str, Any]]:
    return [*map(_said, found.lines), {"type": "history", "count": len(found.lines)}]


def _delivered(done: Delivered, _room: str) -> list[dict[str, Any]]:
    """Who got a private line has it in a log of their own: its offset there is theirs alone."""
    if not done.ref:
        return []
    ack = {"type": "ack", "ref": str(done.ref)}
    return [ack if done.to else ack | {"offset": done.offset}]


_TOLD: dict[type, Callable[[Any, str], list[dict[str, Any]]]] = {
    Notice: _notice,
    Welcome: _welcome,
    People: lambda p, _: [{"type": "people", "room": p.room, "people": list(p.names)}],
    RoomList: lambda r, _: [
        {"type": "rooms", "rooms": [{"room": room, "people": count} for room, count in r.rooms]}
    ],
    History: _history,
    Delivered: _delivered,
    Pong: lambda _, __: [{"type": "pong"}],
    Summary: _summary,
    Missed: lambda _, room: [{"type": "missed", "room": room}],
    NamePrompt: lambda _, __: [],
}
