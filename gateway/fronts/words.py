"""The sentences that people read, wherever they read them: the texts of the line front.

Knows no line ends and no stars, and cleans nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MISSED = "some messages were missed"


def message(name: str, text: str) -> str:
    return f"{name}: {text}"


def action(name: str, text: str) -> str:
    return f"** {name} {text}"


def joined(name: str) -> str:
    return f"{name} joined the chat"


def left(name: str) -> str:
    return f"{name} has left the chat"


def renamed(name: str, new_name: str) -> str:
    return f"{name} is now known as {new_name}"


def own_name(name: str) -> str:
    return f"you are now known as {name}"


def private(name: str, text: str) -> str:
    return f"{name} (private): {text}"


def delivered(to: str, text: str) -> str:
    return f"to {to}: {text}"


def summary(joined: int, left: int) -> str:
    """Comings and goings in a room of many people: always both numbers."""
    return f"{joined} joined, {left} left"


def last(count: int) -> str:
    """The heading of so many lines of history."""
    if not count:
        return "nothing was said here"
    return f"last {count} lines:" if count > 1 else "last line:"


def here(people: int, names: Sequence[str] = ()) -> str:
    """How many are in one's own room, oneself included; and who, if ``names`` are known."""
    if people <= 1:
        return "you are alone here"
    return f"{people} people are here" + (f": {', '.join(names)}" if names else "")


def people(room: str, names: Sequence[str]) -> str:
    """Who is in a room that was asked for."""
    return f"{len(names)} in {room}: {', '.join(names)}" if names else f"nobody is in {room}"


def rooms(counts: Iterable[tuple[str, int]]) -> list[str]:
    """A heading, and a line for each room."""
    return ["rooms, biggest first:", *(f"{people:>5} in {room}" for room, people in counts)]
