"""One stay in the chat, over as many connections as it takes, without I/O.

Bytes in: ``receive``.  Bytes out: ``output``.  ``begin`` and ``end`` tell that a
connection starts and is over.  Knows no sockets and no waiting; it is given a clock.

Two rules make a lost connection harmless.  What is unanswered is sent again with
the same ``ref``, which the gateways answer as they did the first time.  And what
changes the room or the name travels alone: nothing else is unanswered then, so
nothing can be said again in another room than the first time.  What was sent so long
ago that the gateways may have forgotten its ``ref`` is not sent again: it is not confirmed.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from gateway.chat.text import clean_line
from gateway.client.events import (
    Ack,
    Action,
    Error,
    Event,
    History,
    Message,
    Missed,
    People,
    Pong,
    Renamed,
    RoomEvent,
    Rooms,
    Welcome,
)
from gateway.client.incoming import Incoming
from gateway.client.requests import Answered, ChatError, Refused, Request

MOST_UNANSWERED = 256
"""Requests that may wait for their answers: what a gateway remembers of a session."""
REMEMBERED_S = 540.0
"""How long a line may be said again: gateways know a ``ref`` for 10 minutes, and a line may
wait in one for a part of that."""

# It must go on while the machine sleeps, which Linux's monotonic clock does not.
_awake_or_not = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

_SPOKEN = ("say", "me", "msg")  # have a ref
_IN_THE_LOG = ("say", "me")
_MOVES = ("join", "leave")
_ALONE = (*_MOVES, "nick")
_QUESTIONS: dict[type[Event], str] = {People: "who", Rooms: "rooms", History: "history"}
# Said of a connection, not of a request: what is unanswered goes to the next one.
_PASSING = ("draining", "replaced")
_FINAL = ("name_refused", "name_taken", "room_refused", "bad_json", "bad_request", "too_long")


class Conversation:
    """``begin``, then ``receive`` and ``output`` until ``end``; then again ``begin``."""

    def __init__(
        self, name: str, room: str = "", clock: Callable[[], float] = _awake_or_not
    ) -> None:
        self.name = name
        self.room = room
        self.epoch = ""
        self.position = 0
        """The last offset that was seen; 0 before the first welcome."""
        self.welcomed = False
        """The present connection is a member of the room."""
        self.refused: Refused | None = None
        """Set once, for good: there is no point in another connection."""
        self.farewell = ""
        """Why the server ends, or ended, the last connection, if it said so."""
        self._clock = clock
        self._session = secrets.token_hex(16)
        self._last_ref = 0
        self._waiting: deque[Request] = deque()
        self._flying: dict[Request, None] = {}  # sent on this connection, in order
        self._pings: deque[Answered] = deque()
        self._old: list[Message | Action] = []  # maybe the answer to ``history``
        self._astray = False  # some were missed: the next offset may be any
        self._ours: set[int] = set()  # our own lines' offsets after the position
        self._going = self._replaced = False  # the present connection
        self._times_replaced = 0  # one connection after the other
        self._out: list[bytes] = []
        self._incoming = Incoming()

    # Connections.

    def begin(self) -> None:
        """A connection is open: the first line to send says who is there, and since when."""
        self.farewell = ""
        self._incoming = Incoming()
        self._going = self._replaced = False
        hello: dict[str, str | int] = {"name": self.name, "session": self._session}
        if self.room:
            hello["room"] = self.room
        if self.epoch:
            hello |= {"epoch": self.epoch, "after": self.position}
        self._out = [msgspec.json.encode(hello) + b"\n"]

    def end(self) -> None:
        """The connection is over.  What is unanswered waits for the next one."""
        if not self.welcomed and not self.farewell:
            # A gateway that is full says so before it knows that we speak JSON.
            self.farewell = self._incoming.greeting
        self.welcomed = False
        self._times_replaced = self._times_replaced + 1 if self._replaced else 0
        if self._times_replaced > 1:
            # Once may be a gateway that was cut off; twice is somebody with our session.
            self.refused = Refused("replaced", self.farewell)
        self._waiting.extendleft(reversed(self._flying))
        self._flying.clear()
        self._out.clear()
        pings, self._pings = self._pings, deque()
        for answered in pings:
            answered(ChatError("lost", "the connection was lost"))

    @property
    def greeted(self) -> bool | None:
        """Whether what came first on this connection was said by a chat; None: not yet known."""
        return self._incoming.greeted

    def output(self) -> bytes:
        """What to send now; once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # Requests.

    @property
    def unanswered(self) -> list[Request]:
        """What was asked and not answered, the oldest first."""
        return [*self._flying, *self._waiting]

    def request(self, kind: str, answered: Answered, **fields: str | int) -> None:
        """Ask; ``answered`` is called once.  The caller holds ``MOST_UNANSWERED``.

        Raises ``ChatError`` if there is nothing to see in ``text``.
        """
        if "text" in fields:
            fields["text"] = clean_line(str(fields["text"]))
            if not fields["text"]:
                raise ChatError("bad_request", "the text is empty")
        ref = ""
        if kind in _SPOKEN:
            ref = str(self._last_ref + 1)
            line = msgspec.json.encode({"type": kind, **fields, "ref": ref})
            self._last_ref += 1
        else:
            line = msgspec.json.encode({"type": kind, **fields})
        self._waiting.append(Request(kind, fields, ref, line + b"\n", answered))
        self._send()

    def ping(self, answered: Answered) -> None:
        """Like ``request``, at once and for this connection only."""
        if not self.welcomed:
            answered(ChatError("lost", "not connected"))
            return
        self._pings.append(answered)
        self._out.append(b'{"type":"ping"}\n')

    def quit(self) -> None:
        self._out.append(b'{"type":"quit"}\n')

    def give_up(self, error: ChatError) -> None:
        """Nothing will be answered any more."""
        requests = self.unanswered
        self._flying.clear()
        self._waiting.clear()
        for request in requests:
            request.answered(error)

    def _send(self) -> None:
        """Send what may be sent now."""
        while self.welcomed and self._waiting:
            request = self._waiting[0]
            ahead = next(iter(self._flying), None)
            if ahead and (request.kind in _ALONE or ahead.kind in _ALONE):
                return
            self._waiting.popleft()
            now = self._clock()
            request.repeated = request.sent_at is not None
            if request.sent_at is None:
                request.sent_at = now
            elif request.kind in _SPOKEN and now - request.sent_at > REMEMBERED_S:
                text = f"not confirmed: {request.fields['text']}"
                request.answered(ChatError("not_confirmed", text))
                continue
            self._flying[request] = None
            self._out.append(request.line)

    def _answer(self, request: Request, answer: Event | ChatError) -> None:
        self._flying.pop(request, None)
        request.answered(answer)
        self._send()

    def _first(self, *kinds: str) -> Request | None:
        return next((request for request in self._flying if request.kind in kinds), None)

    # What comes.

    def receive(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes, in their order, none twice."""
        events: list[Event] = []
        for event in self._incoming.feed(data):
            # One that was skipped leaves the position where it is.
            events += [Missed()] if event is None else self._take_in_turn(event)
        return events

    def _take_in_turn(self, event: Event) -> list[Event]:
        """What ``event`` gives; old lines are kept until it is known who asked for them.

        They may be those that follow a welcome: an answer's are the last before its end.
        """
        if isinstance(event, Message | Action) and event.history and self._first("history"):
            self._old.append(event)
            return []
        old, self._old = self._old, []
        if isinstance(event, History):
            first = len(old) - min(event.count, len(old))
            event = msgspec.structs.replace(event, lines=tuple(old[first:]))
            del old[first:]
        taken = self._take(event)
        return [*old, taken] if taken is not None else [*old]

    def _take(self, event: Event) -> Event | None:
        match event:
            case Welcome():
                self._take_welcome(event)
                return event
            case RoomEvent():
                return self._take_room_event(event)
            case Ack():
                return self._take_ack(event)
            case Error():
                return self._take_error(event)
            case Pong():
                if self._pings:
                    self._pings.popleft()(event)
                return None
            case People() | Rooms() | History():
                if (asked := self._first(_QUESTIONS[type(event)])) is None:
                    return event
                self._answer(asked, event)
                return None
            case Missed():
                self._astray = True
                return event
            case _:
                return event

    def _take_welcome(self, welcome: Welcome) -> None:
        first, self.welcomed = not self.welcomed, True
        if not first or (welcome.room, welcome.epoch) != (self.room, self.epoch):
            self._at(welcome.epoch, welcome.offset)
        moved, self.room = welcome.room != self.room, welcome.room
        self.name = welcome.name
        self.farewell = ""
        if not first:
            if (move := self._first(*_MOVES)) is not None:
                self._answer(move, welcome)
        elif self._waiting and (request := self._waiting[0]).sent_at is not None:
            # Done before the last connection was lost, but for the answer?
            wish = unicodedata.normalize("NFC", str(request.fields.get("name", "")).strip())
            if (request.kind in _MOVES and moved) or (
                request.kind == "nick" and wish == welcome.name
            ):
                self._waiting.popleft()
                request.answered(welcome)
        self._send()

    def _at(self, epoch: str, position: int) -> None:
        self.epoch = epoch
        self.position = position
        self._astray = False
        self._ours.clear()

    def _take_room_event(self, event: RoomEvent) -> Event | None:
        if isinstance(event, Message | Action) and event.history:
            return event
        if event.room != self.room:
            return None
        if event.epoch != self.epoch or self._astray:
            self._at(event.epoch, 0)
        if event.offset <= self.position or event.offset in self._ours:
            return None
        self._advance(event.offset)
        if isinstance(event, Renamed) and event.sender == self.name:
            self.name = event.to
            if (nick := self._first("nick")) is not None:
                self._answer(nick, event)
        return event

    def _advance(self, offset: int) -> None:
        self.position = offset
        if self._ours:
            self._ours = {ours for ours in self._ours if ours > offset}

    def _take_ack(self, ack: Ack) -> Event | None:
        request = next((each for each in self._flying if each.ref == ack.ref), None)
        if request is None:
            return None
        if request.kind in _IN_THE_LOG and ack.offset > self.position:
            if request.repeated:
                # The answer to a repeat comes from memory, and may overtake what was said before.
                self._ours.add(ack.offset)
            else:
                self._advance(ack.offset)
        told = msgspec.structs.replace(ack, kind=request.kind, **request.fields)
        self._answer(request, told)
        return told

    def _take_error(self, error: Error) -> Event | None:
        if error.code in _PASSING:
            self.farewell = error.text
            self._going = True
            self._replaced |= error.code == "replaced"
            return None
        if self._going and error.code == "not_delivered":
            return None  # by this gateway, but it will be by the next one
        if not self.welcomed:
            if error.code in _FINAL:
                self.refused = Refused(error.code, error.text)
            self.farewell = error.text
            return None
        request = self._meant(error)
        if request is None:
            return error
        self._answer(request, ChatError(error.code, error.text))
        return None

    def _meant(self, error: Error) -> Request | None:
        """The request that an error answers."""
        if error.ref:
            return next((each for each in self._flying if each.ref == error.ref), None)
        if error.code == "too_long":
            # The server did not read as far as the ref: it was the longest.
            return max(self._flying, key=lambda request: len(request.line), default=None)
        return self._first(*_ALONE, *_QUESTIONS.values())
