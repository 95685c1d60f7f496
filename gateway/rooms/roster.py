"""Who is in one room, on all gateways, and whether that is known for sure.

Knows no log and no members of this gateway: it is told what was read, and what happened.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat.events import SessionId


class Roster:
    """The names of a room's people, by their sessions."""

    __slots__ = ("_by_session", "_keeping", "_newer", "_sorted", "doubted")

    def __init__(self) -> None:
        self.doubted = True
        """Whether they are to be read with the log."""
        self._by_session: dict[SessionId, str] = {}
        self._sorted: list[str] | None = None  # while nobody comes, goes or is renamed
        self._keeping = 0  # memberships of a new log that are not confirmed yet
        self._newer = False  # a membership of this gateway came after the log was asked

    def __len__(self) -> int:
        return len(self._by_session)

    def names(self) -> list[str]:
        """Everybody's name, in alphabetical order."""
        if self._sorted is None:
            self._sorted = sorted(self._by_session.values(), key=str.casefold)
        return self._sorted

    def name_of(self, session: SessionId) -> str | None:
        return self._by_session.get(session)

    def add(self, session: SessionId, name: str) -> None:
        """Somebody is there, under this name from now on."""
        self._by_session[session] = name
        self._sorted = None

    def remove(self, session: SessionId) -> None:
        """Somebody is not there any more."""
        self._by_session.pop(session, None)
        self._sorted = None

    # What is read.

    def asked(self) -> None:
        """The log is being asked."""
        self._newer = False

    def read(self, names: Mapping[SessionId, str]) -> None:
        """The log's answer: it has these."""
        self._by_session = dict(names)
        self._sorted = None
        self.doubted = False

    def counted(self, people: int) -> None:
        """The log has so many: those who are known are wrong if they are more or fewer."""
        if len(self._by_session) != people and not self._keeping:
            self.doubted = True

    # Memberships of this gateway, of which what is read may not know.

    @property
    def ahead(self) -> bool:
        """Whether what is being read may be older than a membership of this gateway."""
        return self._keeping > 0 or self._newer

    def settled(self, session: SessionId, name: str) -> None:
        """Somebody on this gateway is a member now."""
        self.add(session, name)
        self._newer = True

    def keeping(self) -> None:
        """A membership is being written into a new log."""
        self._keeping += 1

    def kept(self) -> bool:
        """One was written.  Returns whether all are; then others' may be there by now, too."""
        self._keeping -= 1
        self._newer = True
        if not self._keeping:
            self.doubted = True
        return not self._keeping
