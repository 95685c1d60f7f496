"""A gateway that is a list in this process: the JSON front as the client must find it.

Every line of both directions is held against the schema.  Several gateways can share
one ``Log``, as they share Redis in earnest.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import gateway.fronts

SCHEMA = json.loads(Path(gateway.fronts.__file__).with_name("schema.json").read_text("utf-8"))
PROMPT = b"Enter your name: "
AT = "2026-01-02T03:04:05.678Z"


def validator(side: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{side}"}]})


FROM_CLIENT, FROM_SERVER = validator("client"), validator("server")


class Log:
    """What was said in the one room there is, and who is there."""

    def __init__(self, room: str = "lobby", epoch: str = "e1") -> None:
        self.room = room
        self.epoch = epoch
        self.events: list[tuple[str, dict[str, Any]]] = []  # of a session, as others see it
        self.said: dict[tuple[str, str], int] = {}
        self.connections: list[Connection] = []

    def add(self, session: str, type: str, sender: str, **more: Any) -> int:
        offset = len(self.events) + 1
        place = {"room": self.room, "offset": offset, "epoch": self.epoch, "at": AT}
        self.events.append((session, {"type": type, "from": sender, **more, **place}))
        for connection in list(self.connections):
            if connection.session != session:
                connection.send(self.events[-1][1])
        return offset

    def others_say(self, *texts: str) -> None:
        for text in texts:
            self.add("", "message", "bob", text=text)


class Connection:
    def __init__(self, gateway: FakeGateway, writer: asyncio.StreamWriter) -> None:
        self.gateway = gateway
        self.writer = writer
        self.name = self.session = ""
        self.lines: list[dict[str, Any]] = []

    def send(self, line: dict[str, Any]) -> None:
        FROM_SERVER.validate(line)
        if not self.gateway.mute:
            self.writer.write(json.dumps(line).encode() + b"\n")

    def greet(self, hello: dict[str, Any]) -> None:
        log = self.gateway.log
        self.name, self.session = hello["name"], hello["session"]
        self.writer.write(b"\n")
        if self.gateway.refusal:
            self.send({"type": "error", **self.gateway.refusal})
            self.writer.close()
            return
        after = hello.get("after") if hello.get("epoch") == log.epoch else None
        if (returning := "after" in hello) and after is None:
            after = len(log.events)
        if not returning:
            log.add(self.session, "joined", self.name)
        at = len(log.events) if after is None else after
        place = {"room": log.room, "offset": at, "epoch": log.epoch}
        self.send({"type": "welcome", "name": self.name, "people": 2, **place})
        for session, event in log.events[at if returning else 0 : None if returning else at]:
            if returning and session != self.session:
                self.send(event)
            elif not returning and event["type"] in ("message", "action"):
                self.send({**event, "history": True})
        if returning and hello["epoch"] != log.epoch:
            self.send({"type": "missed", "room": log.room})
        log.connections.append(self)

    def take(self, line: dict[str, Any]) -> None:
        gateway, log = self.gateway, self.gateway.log
        match line["type"]:
            case "ping":
                self.send({"type": "pong"})
            case "quit":
                self.send({"type": "notice", "text": "bye"})
                self.writer.close()
            case "who":
                self.send({"type": "people", "room": log.room, "people": ["alice", "bob"]})
            case "rooms":
                self.send({"type": "rooms", "rooms": [{"room": log.room, "people": 2}]})
            case "history":
                said = [event for _, event in log.events if "text" in event]
                lines = said[-line.get("count", 10) :]
                for event in lines:
                    self.send({**event, "history": True})
                self.send({"type": "history", "count": len(lines)})
            case "nick":
                old, self.name = self.name, line["name"]
                log.add(self.session, "renamed", old, to=self.name)
                self.send(log.events[-1][1])
            case "join" if line["room"] == "closed":
                self.send({"type": "error", "code": "room_refused", "text": "no entrance"})
            case "join":
                log.room, log.events = line["room"], []
                place = {"room": log.room, "offset": 0, "epoch": log.epoch}
                self.send({"type": "welcome", "name": self.name, "people": 1, **place})
            case "msg" if line["to"] == "nobody":
                error = {"code": "absent", "text": "nobody is not here"}
                self.send({"type": "error", **error, "ref": line["ref"]})
            case "say" | "me" | "msg":
                self.speak(line)
            case other:
                error = {"code": "unknown_type", "text": other}
                gateway.strange.append(line)
                self.send({"type": "error", **error})

    def speak(self, line: dict[str, Any]) -> None:
        gateway, log = self.gateway, self.gateway.log
        key = (self.session, line["ref"])
        if key not in log.said:
            kind = {"say": "message", "me": "action", "msg": "message"}[line["type"]]
            log.said[key] = log.add(self.session, kind, self.name, text=line["text"])
        if not gateway.no_acks:
            place = {} if line["type"] == "msg" else {"offset": log.said[key]}
            self.send({"type": "ack", "ref": line["ref"], **place})


class FakeGateway:
    """Listens on a free port of the loopback.

    ``mute``: answers nothing at all; ``silent``: does not even ask for a name; ``full``: says
    that and closes; ``resets``: does so with what came unread.
    """

    def __init__(self, log: Log | None = None) -> None:
        self.log = log or Log()
        self.mute = self.no_acks = self.silent = self.resets = False
        self.refusal: dict[str, str] | None = None
        self.full: bytes | None = None
        self.hellos: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.strange: list[dict[str, Any]] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self.port = 0

    async def start(self) -> FakeGateway:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def drop(self) -> None:
        """All connections break, without a word."""
        self.log.connections.clear()
        for writer in self._open:
            writer.transport.abort()

    async def stop(self) -> None:
        self._server.close()
        self.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, writer)
        self._open.add(writer)
        try:
            if self.resets:
                sock = writer.get_extra_info("socket")
                # socket(7), SO_LINGER: at once, and nothing that is queued is sent
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if self.full is not None:
                writer.write(self.full)
                return
            if self.silent:
                await reader.read()
                return
            writer.write(PROMPT)
            while data := await reader.readline():
                line = json.loads(data)
                FROM_CLIENT.validate(line)
                if not connection.session:
                    self.hellos.append(line)
                    connection.greet(line)
                else:
                    self.lines.append(line)
                    connection.take(line)
        except ConnectionError:
            pass
        finally:
            self._open.discard(writer)
            if connection in self.log.connections:
                self.log.connections.remove(connection)
            writer.close()
