"""Who is here, as far as this client knows, and what the Tab key makes of a word.

Knows no screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from gateway.chat.commands import TABLE
from gateway.chat.text import fold_name
from gateway.client import Action, Event, Joined, Left, Message, People, Private, Renamed, Welcome

_MOST_NAMES = 5000


class Roster:
    """The names in the room.  ``count`` may be more: those that nobody has told us yet."""

    def __init__(self) -> None:
        self.me = ""
        self.count = 0
        self.rooms: set[str] = set()
        self._names: dict[str, str] = {}  # folded: as written; who spoke last stands last
        self._others: dict[str, str] = {}  # spoke to us from elsewhere

    @property
    def names(self) -> list[str]:
        """Those who spoke last come first."""
        return [*reversed((self._others | self._names).values())]

    def hear(self, event: Event) -> None:
        match event:
            case Welcome():
                self._names.clear()
                self.me = event.name
                self.count = event.people
                self.rooms.add(event.room)
            case Joined():
                self.count += 1
                self._add(event.sender)
            case Left():
                self.count = max(self.count - 1, 1)
                self._names.pop(fold_name(event.sender), None)
            case Renamed():
                if event.sender == self.me:
                    self.me = event.to
                self._names.pop(fold_name(event.sender), None)
                self._add(event.to)
            case Message() | Action() if not event.history:
                self._names.pop(fold_name(event.sender), None)
                self._add(event.sender)
            case Private():
                self._others[fold_name(event.sender)] = event.sender

    def told(self, people: People) -> None:
        """The answer to ``who`` for this room."""
        self._names = {fold_name(name): name for name in people.people[:_MOST_NAMES]}
        self.count = len(people.people)

    def _add(self, name: str) -> None:
        if len(self._names) < _MOST_NAMES:
            self._names[fold_name(name)] = name


class Words(Completer):
    """Commands at the start of a line; names, and rooms after ``/join``, elsewhere."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        before = document.text_before_cursor
        start = before.rfind(" ") + 1
        word = before[start:]
        for candidate, end in self._candidates(before[:start], word):
            if fold_name(candidate).startswith(fold_name(word)):
                yield Completion(candidate + end, start_position=-len(word), display=candidate)

    def _candidates(self, before: str, word: str) -> Iterator[tuple[str, str]]:
        first = before.split(" ", 1)[0].lower()
        if not before and word.startswith("/"):
            yield from ((f"/{row.word}", " " if row.usage else "") for row in TABLE)
        elif first in ("/join", "/who"):
            yield from ((room, "") for room in sorted(self._roster.rooms))
        elif first == "/help":
            yield from ((row.word, "") for row in TABLE)
        elif first == "/nick":
            pass  # whoever is here has that name
        elif first == "/msg":
            yield from ((name, " ") for name in self._roster.names if name != self._roster.me)
        else:
            # Said to somebody: "bob: ".
            end = ": " if not before else " "
            yield from ((name, end) for name in self._roster.names)
