"""The other end of a conversation without I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.client import ChatError, Conversation, Event, Message
from tests.unit.client.fake import AT, FROM_CLIENT, FROM_SERVER, PROMPT


class Server:
    """The other end of a conversation: says lines, and reads what was said."""

    def __init__(self, name: str = "alice", room: str = "") -> None:
        self.now = 1000.0
        self.talk = Conversation(name, room, lambda: self.now)
        self.answers: list[Event | ChatError] = []
        self.epoch = "e1"

    def accept(self) -> dict[str, Any]:
        """A new connection; its first line."""
        self.talk.begin()
        (hello,) = self.read()
        assert self.talk.receive(PROMPT + b"\n") == []
        return hello

    def read(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.talk.output().splitlines()]
        for line in lines:
            FROM_CLIENT.validate(line)
        return lines

    def say(self, **line: Any) -> list[Event]:
        FROM_SERVER.validate(line)
        return self.talk.receive(json.dumps(line).encode() + b"\n")

    def welcome(self, offset: int = 0, room: str = "lobby", name: str = "alice") -> list[Event]:
        place = {"room": room, "offset": offset, "epoch": self.epoch}
        return self.say(type="welcome", name=name, people=1, **place)

    def event(
        self, offset: int, type: str = "message", sender: str = "bob", **more: Any
    ) -> list[Event]:
        if type == "message":
            more.setdefault("text", str(offset))
        place = {"room": self.talk.room, "offset": offset, "epoch": self.epoch, "at": AT}
        return self.say(**{"type": type, "from": sender, **place, **more})

    def ask(self, kind: str, **fields: str) -> None:
        self.talk.request(kind, self.answers.append, **fields)

    def refs(self) -> list[str]:
        return [line["ref"] for line in self.read()]


def texts(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]
