"""What one can ask of a chat, one method for each.  Knows nothing of how it is asked."""

from __future__ import annotations

import abc
import asyncio
from typing import Any, cast

from gateway.client.events import Action, History, Message, People, RoomCount, Rooms


class Verbs(abc.ABC):
    """Each is a ``post`` and the wait for its answer."""

    @abc.abstractmethod
    async def post(self, kind: str, **fields: str | int) -> asyncio.Future[Any]:
        """Ask, without waiting for the answer: a future of the event that answers."""

    async def say(self, text: str) -> int:
        """Say it; return its offset once it stands in the room's log.

        Survives lost connections.  While 256 requests are unanswered this waits.  Raises
        ``ChatError``: ``not_delivered`` means never said, ``not_confirmed`` maybe said,
        ``bad_request`` that there is nothing to see in the text.
        """
        return int((await (await self.post("say", text=text))).offset)

    async def me(self, text: str) -> int:
        """Like ``say``: ``** NAME TEXT``."""
        return int((await (await self.post("me", text=text))).offset)

    async def msg(self, to: str, text: str) -> None:
        """Say it to one person.  Raises ``ChatError``: ``absent`` if nobody is called so."""
        await (await self.post("msg", to=to, text=text))

    async def join(self, room: str) -> None:
        """Go to another room; its ``Welcome`` is among the events."""
        await (await self.post("join", room=room))

    async def leave(self) -> None:
        """Go back to the lobby."""
        await (await self.post("leave"))

    async def nick(self, name: str) -> None:
        await (await self.post("nick", name=name))

    async def who(self, room: str = "") -> tuple[str, ...]:
        """Everybody in ``room``, or in this one."""
        answer = await (await self.post("who", **({"room": room} if room else {})))
        return cast(People, answer).people

    async def rooms(self) -> tuple[RoomCount, ...]:
        return cast(Rooms, await (await self.post("rooms"))).rooms

    async def history(self, count: int = 0) -> tuple[Message | Action, ...]:
        """The room's last lines, oldest first; without ``count`` as many as on coming in."""
        answer = await (await self.post("history", **({"count": count} if count else {})))
        return cast(History, answer).lines
