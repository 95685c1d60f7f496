"""One person's stay: the name, the room, and what each command does.

Knows no socket and no Redis.  Asks its ``Desk`` for what it can't do itself,
and is told what came of it by the methods below ``handle``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from gateway.chat import commands
from gateway.chat.commands import Command
from gateway.chat.events import (
    Message,
    NamePrompt,
    Notice,
    Renamed,
    RoomEvent,
    SessionId,
    Told,
)
from gateway.chat.reasons import CloseReason
from gateway.chat.text import NameRefused, check_name


class Desk(Protocol):
    """What a session asks of the gateway that hosts it.  Nothing here waits."""

    def tell(self, item: Told) -> None:
        """Send something to this person only."""

    def claim(self, name: str) -> None:
        """Ask for a name.  Answered by ``granted`` or ``taken``."""

    def enter(self, room: str) -> None:
        """Ask for membership of the session's first room.  Answered by ``joined``."""

    def publish(self, event: RoomEvent) -> None:
        """Say an event to the room.  A ``Renamed`` is answered by ``renamed``."""

    def people(self) -> list[str]:
        """Who is in the room, on all gateways."""

    def end(self, reason: CloseReason) -> None:
        """Leave the room if need be, flush and close."""


class State(enum.Enum):
    NAMING = enum.auto()
    CLAIMING = enum.auto()
    JOINING = enum.auto()
    MEMBER = enum.auto()
    RENAMING = enum.auto()
    ENDED = enum.auto()


class Session:
    """One person's stay.  ``listening`` says whether the next command can be handled."""

    __slots__ = ("_desk", "id", "name", "room", "state", "wish")

    def __init__(self, id: SessionId, room: str, desk: Desk) -> None:
        self.id = id
        self.name = ""
        self.room = room
        self.state = State.NAMING
        self.wish = ""
        """The new name, while the room is being told of it."""
        self._desk = desk

    @property
    def listening(self) -> bool:
        return self.state is State.NAMING or self.state is State.MEMBER

    @property
    def present(self) -> bool:
        """Asked for membership and did not end: others may know of this session."""
        return self.state in (State.JOINING, State.MEMBER, State.RENAMING)

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
        self._desk.tell(Notice(f"{name} is taken, choose another name"))
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

    def evicted(self, id: SessionId) -> None:
        """The membership was ended from elsewhere: this gateway was taken for dead.

        Joins again as another session ``id``, under the same name if it is free.
        """
        self.id, self.wish = id, ""
        self.state = State.CLAIMING
        self._desk.tell(Notice("this gateway was cut off for a while, joining again"))
        self._desk.claim(self.name)

    def not_delivered(self, text: str, *, certain: bool) -> None:
        """A line is past its deadline; ``certain`` if it never reached the room."""
        self._desk.tell(Notice(f"not {'delivered' if certain else 'confirmed'}: {text}"))

    # What commands do.

    def _give_name(self, command: commands.GiveName) -> None:
        try:
            name = check_name(command.name)
        except NameRefused as error:
            self._desk.tell(Notice(str(error)))
            self._ask_again()
            return
        self.state = State.CLAIMING
        self._desk.claim(name)

    def _say(self, command: commands.Say) -> None:
        self._desk.publish(Message(self.id, self.name, command.text))

    def _nick(self, command: commands.Nick) -> None:
        try:
            name = check_name(command.name)
        except NameRefused as error:
            self._desk.tell(Notice(str(error)))
            return
        if name == self.name:
            self._desk.tell(Notice(f"you are {name} already"))
            return
        self.state = State.RENAMING
        self._desk.claim(name)

    def _who(self, _command: commands.Who) -> None:
        people = self._desk.people()
        self._desk.tell(Notice(f"{len(people)} here: {', '.join(people)}"))

    def _help(self, command: commands.Help) -> None:
        self._desk.tell(Notice("\n".join(commands.help_lines(command.word))))

    def _quit(self, _command: commands.Quit) -> None:
        self._desk.tell(Notice("bye"))
        self._desk.end(CloseReason.QUIT)

    def _unknown(self, command: commands.Unknown) -> None:
        hint = f", did you mean /{command.nearest}?" if command.nearest else ""
        self._desk.tell(Notice(f"unknown command: /{command.word}{hint}"))

    def _problem(self, problem: commands.Problem) -> None:
        self._desk.tell(Notice(problem.text))
        if self.state is State.NAMING:
            self._desk.tell(NamePrompt())

    def _ask_again(self) -> None:
        self.state = State.NAMING
        self._desk.tell(NamePrompt())


_ACTIONS: dict[type, Callable[[Session, Any], None]] = {
    commands.GiveName: Session._give_name,
    commands.Say: Session._say,
    commands.Nick: Session._nick,
    commands.Who: Session._who,
    commands.Help: Session._help,
    commands.Quit: Session._quit,
    commands.Unknown: Session._unknown,
    commands.Problem: Session._problem,
}
