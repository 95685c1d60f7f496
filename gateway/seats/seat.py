"""One person's seat here: a connection, how it speaks, and a session, put together.

The connection knows no chat and the session no socket; a front knows neither.
Here a client's bytes become commands at the rate it may send them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.broker.outbox import Holder, Outcome
from gateway.chat.commands import Hello, Me, Msg, Say
from gateway.chat.events import (
    Delivered,
    GatewayId,
    Message,
    NamePrompt,
    Notice,
    RoomEvent,
    SessionId,
    Spoken,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.session import Session, State, new_session_id
from gateway.fronts import Encoding, Front
from gateway.fronts.json import JsonFront
from gateway.net.connection import Connection, Hold
from gateway.seats.farewell import Farewell

if TYPE_CHECKING:
    from gateway.seats.host import Host

_OF_ITSELF = (CloseReason.QUIT, CloseReason.HUNG_UP)
_GOES_ON = Notice("this session goes on in another connection", "replaced")


class Seat:
    """The receiver of a connection, the desk of a session and the resident of a room.

    How it ends: ``end`` says ``left`` to the room and closes (quit, hung up, refused), when
    it knows what became of what it said;
    ``replaced`` does so with a word, since its session is somewhere else; ``hand_over``
    and ``close`` say nothing to others; after ``retire`` it only hears, until ``close``;
    ``closed`` comes last, by itself if the connection was lost.
    """

    __slots__ = (
        "_bytes",
        "_first",
        "_front",
        "_host",
        "_hung_up",
        "_most_outstanding",
        "_pumping",
        "_silence",
        "_tokens",
        "_tokens_at",
        "_unheard",
        "connection",
        "encoding",
        "generation",
        "held",
        "leaving",
        "name_by",
        "outstanding",
        "resumable",
        "resume_at",
        "send",
        "session",
    )

    def __init__(self, host: Host, connection: Connection, front: Front) -> None:
        self.connection = connection
        # Plain attributes, not a property and a method: a fan-out looks at them most.
        self.send = connection.send
        self.encoding: Encoding = front.encoding
        self.session = Session(new_session_id(), host.config.lobby, self)
        self.generation = 0
        self.held: tuple[tuple[str, int], ...] = ()
        """Folded names that the registry granted and that are not released, with generations."""
        self.outstanding = 0
        """Lines in the outbox."""
        self.leaving = False
        """Whether it takes no more commands; it may be told something yet."""
        self.resumable = False
        """Whether its session has a secret, with which it can go on in another connection."""
        self.resume_at: tuple[str, int] | None = None
        """The epoch and last offset of one that was here before."""
        self.name_by = 0.0
        """When the name must have been given, in the host's ready time."""
        self._host = host
        self._front = front
        self._silence: asyncio.TimerHandle | None = None
        self._tokens = float(host.config.burst)
        self._bytes = float(host.config.burst * host.config.max_line)
        self._tokens_at = time.monotonic()
        self._most_outstanding = host.config.burst
        self._hung_up = False
        self._pumping = False
        self._first = True
        # What was said, and is in the log, at offsets that the room here has not come to.
        self._unheard: tuple[tuple[int, Spoken], ...] = ()
        connection.receiver = self
        host.opened(self)

    # What rooms and hub need.

    @property
    def session_id(self) -> SessionId:
        return self.session.id

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def last_name(self) -> str:
        """The name that the room will know when what was published has been applied."""
        return self.session.wish or self.session.name

    @property
    def holder(self) -> Holder:
        return Holder(self._host.gateway, self.session.id, self.generation)

    @property
    def hears(self) -> bool:
        """Whether what it is told can still reach it."""
        return self.connection.reason is None

    @property
    def nameable(self) -> bool:
        """Whether it is a person who can be asked for a name, not a program."""
        return self._front.asks_again

    @property
    def stalled(self) -> bool:
        return self.connection.stalled_since is not None

    def joined(self, people: int) -> None:
        if not self.leaving:
            self.resume_at = None
            self._unheard = ()
            self.session.joined()
            self._host.announce("joined", self, people=people)
            self.pump()

    def took_over(self, before: GatewayId) -> None:
        self._host.tell_replaced(self, before)

    def left(self, epoch: str, offset: int) -> None:
        if not self.leaving and self.session.state is not State.MOVING:
            self._host.evicted(self, epoch, offset)

    def renamed(self, name: str) -> None:
        # Its own name is no news: the room was only told late, and it may wait for a newer one.
        if not self.leaving and name != self.session.name:
            self._host.names.release(self, keep=name)
            self.session.renamed(name)
            self.pump()

    def missed(self, lost: Callable[[int], bool]) -> None:
        gone = [event for at, event in self._unheard if lost(at)]
        self._unheard = tuple(each for each in self._unheard if not lost(each[0]))
        for event in gone:
            self.session.not_delivered(event, certain=False)

    def refused(self) -> None:
        self.replaced()

    # What the session asks for.

    def tell(self, item: Told) -> None:
        if isinstance(item, NamePrompt):
            self._front.naming = True
            if not self._front.asks_again:
                self.end(CloseReason.REFUSED)
                return
        self._host.tell(self, item)

    def greet(self, hello: Hello) -> None:
        self._host.names.greet(self, hello)

    def claim(self, name: str) -> None:
        self._host.claim(self, name)

    def enter(self, room: str) -> None:
        self._front.naming = False
        self._host.enter(self, room)

    def move(self, room: str) -> None:
        self._host.move(self, room)

    def publish(self, event: RoomEvent) -> None:
        room = self.session.room
        if not isinstance(event, Spoken):
            self._host.publish(self, event, partial(self._rename_told, self.session.wish))
            return
        self.outstanding += 1

        def told(outcome: Outcome, offset: int) -> None:
            here = self._host.offset(room)
            if outcome is Outcome.CONFIRMED or (outcome is Outcome.REPEATED and offset > here):
                self._will_hear(event, offset, here)
            elif not self.hears:
                pass
            elif outcome is Outcome.REPEATED:
                self.tell(Delivered("", event.text, event.ref, offset))
            else:
                certain = outcome is not Outcome.NOT_CONFIRMED
                self.session.not_delivered(event, certain=certain)
            self.confirmed()

        self._host.publish(self, event, told)

    def _will_hear(self, event: Spoken, offset: int, here: int) -> None:
        """It is acknowledged in its place, when the room comes there from ``here``."""
        heard_all = all(at <= here for at, _ in self._unheard)
        before = () if heard_all else self._unheard
        self._unheard = (*before, (offset, event)) if offset > here else before

    def _rename_told(self, wish: str, outcome: Outcome, offset: int) -> None:
        """Redis has the new name, and the room here when the relay has passed that place.

        By then ``renamed`` was called, but for an event that fell into a hole for ever.
        """

        def known() -> None:
            if self.session.wish == wish:
                self.renamed(wish)

        if outcome is Outcome.CONFIRMED:
            self._host.when_at(self.session.room, offset, known)

    def post(self, to: str, text: str, ref: int) -> None:
        self._host.cluster.post.send(self, to, text, ref)

    def list_people(self, room: str) -> None:
        self._host.cluster.answers.list_people(self, room)

    def list_rooms(self) -> None:
        self._host.cluster.answers.list_rooms(self)

    def show_history(self, count: int | None) -> None:
        self._host.cluster.answers.show_history(self, count)

    @property
    def redis_ready(self) -> bool:
        return self._host.ready

    def confirmed(self) -> None:
        """Something that this seat said has left the outbox."""
        self.outstanding -= 1
        self._host.cluster.speakers.go_on()
        if self.connection.held(Hold.OUTBOX):
            self.pump()

    def answer(self, item: Told) -> None:
        """What the session asked for is here."""
        if not self.leaving:
            self.tell(self.session.answer(item))
            self.session.answered()
            self.pump()

    def hand_over(self) -> None:
        """The same session goes on in another seat here; others notice nothing."""
        self.tell(_GOES_ON)
        self.close(CloseReason.REPLACED, timeout_s=self._host.config.close_timeout_s)

    def replaced(self) -> None:
        """The same session went on somewhere else."""
        if not self.leaving:
            self.tell(_GOES_ON)
            self.end(CloseReason.REPLACED)

    def end(self, reason: CloseReason) -> None:
        """Leave the room and close.  The name is freed when the room knows.

        Who goes of itself, and may still read, hears first what became of what it said.
        """
        if self.leaving:
            return
        config = self._host.config
        here = self._host.offset(self.session.room)
        owed = self.outstanding or any(at > here for at, _ in self._unheard)
        if owed and reason in _OF_ITSELF:
            now = asyncio.get_running_loop().time()
            told_by = now + config.publish_deadline + config.close_timeout_s
            close_by = told_by + config.close_timeout_s
            while self._front.next():
                pass  # what stands behind a /quit was not meant to be said
            Farewell(self._host, self, reason, hear_until=told_by, close_by=close_by).begin()
        else:
            self._host.depart(self)
            self.close(reason, timeout_s=config.close_timeout_s)

    def hear_out(self) -> None:
        """Handle what came, at once.  It may end the session."""
        self._tokens_at = float("-inf")
        self.pump()

    def retire(self) -> None:
        """Take no more commands, but go on hearing until ``close``.

        Lines that were not handled are told to be lost, and a burst of those that come yet.
        """
        self.leaving = True
        self._stop_silence()
        self._front.naming &= self.session.state is State.NAMING
        self.connection.release(Hold.RATE | Hold.BUSY | Hold.OUTBOX)
        self._tokens = math.inf
        self._give_back()
        self._tokens = float(self._host.config.burst)

    def _give_back(self) -> None:
        """Tell of lines that came too late, as many as there are tokens."""
        while self._tokens > 0 and (command := self._front.next()):
            self._tokens -= 1
            if isinstance(command, Say | Me | Msg):
                event = Message(self.session.id, self.name, command.text, command.ref)
                self.session.not_delivered(event, certain=True)

    def close(self, reason: CloseReason, *, timeout_s: float) -> None:
        """Send what it is owed, and close; others are told nothing."""
        self.leaving = True
        self._stop_silence()
        self.connection.send(self._host.owed(self))
        self.session.state = State.ENDED
        self.connection.close(reason, timeout_s=timeout_s)

    # What the connection brings.

    def received(self, data: bytes) -> None:
        if answers := self._front.feed(data):
            self.connection.send(answers)
        if self._first:
            self._recognise()
        if self.leaving:
            self._give_back()
            if self._tokens <= 0:
                self.connection.hold(Hold.RATE)  # who goes on and on is not read any more
            return
        was_listening = self.session.listening
        self._bytes -= len(data)
        self.encoding = self._front.encoding
        self.pump()
        if not was_listening:
            self.connection.hold(Hold.BUSY)
        self._watch_silence()

    def _recognise(self) -> None:
        """See by the beginning of the first line whether this is a program, once there is one.

        Blanks and telnet bytes are none: both may come before the JSON, and on their own.
        """
        unread = self._front.unread
        beginning = unread.lstrip(b" \t")[:1]
        self._first = not beginning
        if beginning == b"{":
            # The prompt's line is ended; from here on all is JSON.
            self.connection.send(b"\n")
            self._front = JsonFront(max_line_bytes=self._host.config.max_line)
            self._front.feed(unread)
            self._most_outstanding = self._host.config.refs_kept

    def hung_up(self) -> None:
        """What came before still counts; then the session ends.

        A session that can go on elsewhere, and is not here yet, does just that: it
        must not be taken from there when Redis grants its name here at last.
        """
        if self.resumable and self.session.state is State.CLAIMING:
            self.end(CloseReason.HUNG_UP)
            return
        self._front.eof()
        self._hung_up = True
        self.pump()

    def closed(self, reason: CloseReason) -> None:
        if not self.leaving:
            self.leaving = True
            self._stop_silence()
            self._host.depart(self)
            self.session.state = State.ENDED
        self._host.closed(self, reason)

    def pump(self) -> None:
        """Handle what came, as far as the client's rate, session and outbox share allow."""
        if not self._pumping:  # else what was answered at once goes on in the loop below
            self._pumping = True
            try:
                self._pump()
            finally:
                self._pumping = False

    def _pump(self) -> None:
        session, connection, front = self.session, self.connection, self._front
        speakers = self._host.cluster.speakers
        self._refill()
        while not self.leaving:
            if not session.listening:
                return
            # Bytes that leave nothing to handle (telnet's own) are to be paid for, too.
            if not front.pending and self._bytes >= 0:
                self._handled_all()
                return
            if self.outstanding >= self._most_outstanding:
                connection.hold(Hold.OUTBOX)  # until ``confirmed``
                return
            if not speakers.admits(self.outstanding):
                connection.hold(Hold.OUTBOX)
                speakers.wait(self)
                return
            if self._tokens < 1 or self._bytes < 0:
                if not connection.held(Hold.RATE):
                    connection.hold(Hold.RATE)
                    wait_s = self._until_refilled_s()
                    asyncio.get_running_loop().call_later(wait_s, self._rate_again)
                return
            command = front.next()
            if command is None:
                self._handled_all()
                return
            self._tokens -= 1
            session.handle(command)

    def _handled_all(self) -> None:
        """Nothing is left of what came but the beginning of a line."""
        self.connection.release(Hold.BUSY | Hold.OUTBOX)
        if self._hung_up:
            self.end(CloseReason.HUNG_UP)

    def _refill(self) -> None:
        """Give this client what it may send by now.

        Lines cost a token each, and bytes are bounded by as many longest lines:
        blank or over-long lines are no commands, but reading them is work.
        """
        config = self._host.config
        now = time.monotonic()
        passed = (now - self._tokens_at) * config.rate
        self._tokens_at = now
        self._tokens = min(self._tokens + passed, config.burst)
        most_bytes = float(config.burst * config.max_line)
        self._bytes = min(self._bytes + passed * config.max_line, most_bytes)

    def _until_refilled_s(self) -> float:
        """Seconds until this client may send again."""
        config = self._host.config
        return max(1 - self._tokens, -self._bytes / config.max_line) / config.rate

    def _rate_again(self) -> None:
        self.connection.release(Hold.RATE)
        self.pump()

    def _watch_silence(self) -> None:
        self._stop_silence()
        after_s = self._front.silence_s
        if after_s is not None and not self.leaving:
            self._silence = asyncio.get_running_loop().call_later(after_s, self._silent)

    def _stop_silence(self) -> None:
        if self._silence:
            self._silence.cancel()
            self._silence = None

    def _silent(self) -> None:
        self._silence = None
        self._front.silence()
        self.pump()
