"""One person's stay: the name, the room, and what each command does.

Knows no socket and no Redis.  Asks its ``Desk`` for what it can't do itself,
and is told what came of it by the methods below ``handle``.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from gateway.chat import commands
from gateway.chat.commands import Command
from gateway.chat.events import (
    Action,
    Message,
    NamePrompt,
    Notice,
    Pong,
    Ref,
    Renamed,
    RoomEvent,
    SessionId,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.text import NameRefused, RoomRefused, check_name, check_room


def new_session_id() -> SessionId:
    """Nobody else's, and not to be guessed."""
    return SessionId(secrets.token_hex(8))


def session_id_of(secret: str) -> SessionId:
    """The id under which the cluster knows the session of ``secret``, which it does not store."""
    return SessionId(hashlib.sha256(secret.encode()).hexdigest()[:32])


class Desk(Protocol):
    """What a session asks of the gateway that hosts it.  Nothing here waits."""

    def tell(self, item: Told) -> None:
        """Send something to this person only."""

    def greet(self, hello: commands.Hello) -> None:
        """Be the session of that secret, and go on from where it was."""

    def claim(self, name: str) -> None:
        """Ask for a name.  Answered by ``granted`` or ``taken``."""

    def enter(self, room: str) -> None:
        """Ask for membership of a room.  Answered by ``joined``."""

    def move(self, room: str) -> None:
        """Leave the room, and have the name follow to another one.  Answered by ``granted``."""

    def publish(self, event: RoomEvent) -> None:
        """Say an event to the room.  A ``Renamed`` is answered by ``renamed``."""

    def post(self, to: str, text: str, ref: int) -> None:
        """Tell one person only.  Answered by ``answered`` when it is on its way, or can't be."""

    def list_people(self, room: str) -> None:
        """Tell who is in a room, on all gateways.  Answered by ``answered``."""

    def list_rooms(self) -> None:
        """Tell which rooms there are.  Answered by ``answered``."""

    def show_history(self, count: int | None) -> None:
        """Tell the room's last lines.  Answered by ``answered``."""

    def end(self, reason: CloseReason) -> None:
        """Leave the room if need be, flush and close."""


class State(enum.Enum):
    NAMING = enum.auto()
    CLAIMING = enum.auto()
    JOINING = enum.auto()
    MEMBER = enum.auto()
    RENAMING = enum.auto()
    MOVING = enum.auto()
    """The membership of the old room is being ended."""
    ASKING = enum.auto()
    """A member who waits for an answer."""
    ENDED = enum.auto()


class Session:
    """One person's stay.  ``listening`` says whether the next command can be handled."""

    __slots__ = ("_desk", "_lobby", "_ref", "id", "name", "room", "state", "wish")

    def __init__(self, id: SessionId, lobby: str, desk: Desk) -> None:
        self.id = id
        self.name = ""
        self.room = lobby
        self.state = State.NAMING
        self.wish = ""
        """The new name, while the room is being told of it."""
        self._lobby = lobby
        self._desk = desk
        self._ref: Ref = 0  # of what it waits for

    @property
    def listening(self) -> bool:
        return self.state is State.MEMBER or self.state is State.NAMING

    @property
    def present(self) -> bool:
        """Asked for membership and did not leave: the room may know of this session."""
        return self.state in (State.JOINING, State.MEMBER, State.RENAMING, State.ASKING)

    def start(self) -> None:
        self._desk.tell(NamePrompt())

    def handle(self, command: Command) -> None:
        """Do what the client asked for.  Only while ``listening``."""
        _ACTIONS[type(command)](self, command)

    # What came of it.

    def granted(self, name: str) -> None:
        """The name that was claimed is this session's."""
        if self.state is State.RENAMING:
            self.wish = name
            self._desk.publish(Renamed(self.id, self.name, name))
            return
        self.name = name
        self.state = State.JOINING
        self._desk.enter(self.room)

    def taken(self, name: str) -> None:
        """The name that was claimed is somebody else's."""
        self._refuse(f"{name} is taken, choose another name", "name_taken", self._ref)
        if self.state is State.RENAMING:
            self.state = State.MEMBER
        else:
            self._ask_again()

    def joined(self) -> None:
        """This session is a member of its room now, and was welcomed."""
        self.state = State.MEMBER

    def renamed(self, name: str) -> None:
        """The room knows the new name."""
        self.name, self.wish = name, ""
        self.state = State.MEMBER

    def answer(self, item: Told) -> Told:
        """``item`` as the answer to what was asked: what was refused has the ref of that."""
        if isinstance(item, Notice) and item.code and not item.ref:
            return Notice(item.text, item.code, self._ref)
        return item

    def answered(self) -> None:
        """What was asked for has been told."""
        if self.state is State.ASKING:
            self.state = State.MEMBER

    def evicted(self, id: SessionId) -> None:
        """The membership was ended from elsewhere: this gateway was taken for dead.

        Joins again as another session ``id``, under the same name if it is free.
        """
        # Told under the id that it had: behind all that the room said up to here.
        self._desk.tell(Notice("this gateway was cut off for a while, joining again"))
        self.id, self.wish = id, ""
        self.state = State.CLAIMING
        self._desk.claim(self.name)

    def not_delivered(self, event: RoomEvent, *, certain: bool) -> None:
        """A line is past its deadline; ``certain`` if it never reached the room."""
        word = "delivered" if certain else "confirmed"
        text, ref = getattr(event, "text", ""), getattr(event, "ref", 0)
        self._desk.tell(Notice(f"not {word}: {text}", f"not_{word}", ref))

    # What commands do.

    def _give_name(self, command: commands.GiveName) -> None:
        try:
            name = check_name(command.name)
        except NameRefused as error:
            self._refuse(str(error), "name_refused")
            self._ask_again()
            return
        self.state = State.CLAIMING
        self._desk.claim(name)

    def _hello(self, hello: commands.Hello) -> None:
        try:
            self.room = check_room(hello.room) if hello.room else self._lobby
        except RoomRefused as error:
            self._refuse(str(error), "room_refused")
            self._ask_again()
            return
        self._desk.greet(hello)
        self._give_name(commands.GiveName(hello.name))

    def _say(self, command: commands.Say) -> None:
        self._desk.publish(Message(self.id, self.name, command.text, command.ref))

    def _me(self, command: commands.Me) -> None:
        if not command.text:
            self._refuse(commands.usage("me"), "bad_request", command.ref)
            return
        self._desk.publish(Action(self.id, self.name, command.text, command.ref))

    def _msg(self, command: commands.Msg) -> None:
        if not command.to or not command.text:
            self._refuse(commands.usage("msg"), "bad_request", command.ref)
            return
        self._wait(State.ASKING, command.ref)
        self._desk.post(command.to, command.text, command.ref)

    def _join(self, command: commands.Join) -> None:
        if not command.room.strip():
            self._refuse(commands.usage("join"), "room_refused", command.ref)
            return
        try:
            room = check_room(command.room)
        except RoomRefused as error:
            self._refuse(str(error), "room_refused", command.ref)
            return
        self._go(room, command.ref)

    def _leave(self, command: commands.Leave) -> None:
        self._go(self._lobby, command.ref)

    def _go(self, room: str, ref: Ref) -> None:
        if room == self.room:
            self._refuse(f"you are in {room} already", "room_refused", ref)
            return
        self._wait(State.MOVING, ref)
        self._desk.move(room)

    def _nick(self, command: commands.Nick) -> None:
        if not command.name.strip():
            self._refuse(commands.usage("nick"), "name_refused", command.ref)
            return
        try:
            name = check_name(command.name)
        except NameRefused as error:
            self._refuse(str(error), "name_refused", command.ref)
            return
        if name == self.name:
            self._refuse(f"you are {name} already", "name_refused", command.ref)
            return
        self._wait(State.RENAMING, command.ref)
        self._desk.claim(name)

    def _who(self, command: commands.Who) -> None:
        try:
            room = check_room(command.room) if command.room else self.room
        except RoomRefused as error:
            self._refuse(str(error), "room_refused", command.ref)
            return
        self._wait(State.ASKING, command.ref)
        self._desk.list_people(room)

    def _rooms(self, command: commands.Rooms) -> None:
        self._wait(State.ASKING, command.ref)
        self._desk.list_rooms()

    def _history(self, command: commands.History) -> None:
        digits = command.count.lstrip("0")
        # Not 0 lines either: an answer without lines means that nothing was said.
        if command.count and not (digits.isascii() and digits.isdigit()):
            self._refuse(commands.usage("history"), "bad_request", command.ref)
            return
        # As many as are kept is the most that comes, however long the number.
        self._wait(State.ASKING, command.ref)
        self._desk.show_history(int(digits[:6]) if digits else None)

    def _help(self, command: commands.Help) -> None:
        self._desk.tell(Notice("\n".join(commands.help_lines(command.word))))

    def _quit(self, _command: commands.Quit) -> None:
        self._desk.tell(Notice("bye"))
        self._desk.end(CloseReason.QUIT)

    def _ping(self, _command: commands.Ping) -> None:
        self._desk.tell(Pong())

    def _unknown(self, command: commands.Unknown) -> None:
        self._desk.tell(Notice(command.text))

    def _problem(self, problem: commands.Problem) -> None:
        self._refuse(problem.text, problem.code, problem.ref)
        if self.state is State.NAMING:
            self._desk.tell(NamePrompt())

    def _refuse(self, text: str, code: str, ref: Ref = 0) -> None:
        self._desk.tell(Notice(text, code, ref))

    def _wait(self, state: State, ref: Ref) -> None:
        self.state, self._ref = state, ref

    def _ask_again(self) -> None:
        self.state = State.NAMING
        self._desk.tell(NamePrompt())


_ACTIONS: dict[type, Callable[[Session, Any], None]] = {
    commands.GiveName: Session._give_name,
    commands.Hello: Session._hello,
    commands.Say: Session._say,
    commands.Me: Session._me,
    commands.Msg: Session._msg,
    commands.Join: Session._join,
    commands.Leave: Session._leave,
    commands.Nick: Session._nick,
    commands.Who: Session._who,
    commands.Rooms: Session._rooms,
    commands.History: Session._history,
    commands.Help: Session._help,
    commands.Quit: Session._quit,
    commands.Ping: Session._ping,
    commands.Unknown: Session._unknown,
    commands.Problem: Session._problem,
}
