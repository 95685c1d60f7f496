"""What goes on between a screen and a ``Chat``: lines to post, events to show.

Knows no terminal: it is told how to show lines.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.client import (
    Chat,
    ChatError,
    Event,
    History,
    Joined,
    Left,
    Lost,
    Notice,
    People,
    Refused,
    Rooms,
    Welcome,
)
from gateway.fronts.words import last
from gateway.tools.chat.asks import Ask
from gateway.tools.chat.look import Line, lines_of, told, waiting
from gateway.tools.chat.people import Roster
from gateway.tools.chat.words import sentences, welcome

MOST_ASKS = 1000
_SPOKEN = ("say", "me", "msg")


class Talk:
    """One person's chat, over as many names as it takes.

    ``show`` gets lines to print, ``changed`` is called when anything else looks different.
    """

    def __init__(
        self,
        dial: Callable[[str], Chat],
        show: Callable[[list[Line]], None],
        changed: Callable[[], None],
    ) -> None:
        self.roster = Roster()
        self.chat: Chat | None = None
        self._dial = dial
        self._show = show
        self._changed = changed
        self._asks: deque[Ask] = deque()
        self._asked = asyncio.Event()
        self._lost_at: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._leaving = False

    @property
    def name(self) -> str:
        return self.chat.name if self.chat else ""

    @property
    def status(self) -> str:
        """Where we are, who is there, and how the connection is."""
        chat = self.chat
        if chat is None:
            return "not connected"
        where = f"{chat.room} · " if chat.room else ""
        if not chat.connected:
            host, port = chat.address
            why = f"no connection ({chat.trouble})" if chat.trouble else "connecting"
            waiting = f" · {count} waiting" if (count := len(self.pending)) else ""
            return f"{where}{why}, trying {host}:{port}{waiting}"
        count = self.roster.count
        people = "1 person" if count == 1 else f"{count} people"
        return f"{where}{people} · {chat.name} · {_pulse(chat)}"

    @property
    def pending(self) -> list[str]:
        """What is not confirmed yet, the oldest first."""
        asked = [(each.kind, each.fields) for each in self.chat.unanswered] if self.chat else []
        asked += [(each.kind, each.fields) for each in self._asks]
        return [waiting(kind, fields, self.name) for kind, fields in asked if kind in _SPOKEN]

    def submit(self, ask: Ask) -> bool:
        """Ask for it, once connected and in turn.  False if too much waits already."""
        if len(self._asks) >= MOST_ASKS:
            return False
        self._asks.append(ask)
        self._asked.set()
        return True

    async def run(self, name: str) -> None:
        """Be in the chat as ``name`` until it is over.  Raises what ``Chat`` raises."""
        self.chat = chat = self._dial(name)
        self._changed()
        async with chat:
            posting = asyncio.create_task(self._post_forever(chat))
            try:
                async for event in chat:
                    self._hear(chat, event)
            finally:
                tasks = {task for task in (posting, self._looking) if task}
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def leave(self) -> None:
        """Say what waits, for a while, and go."""
        self._leaving = True
        if self.chat:
            await self.chat.close()

    def _hear(self, chat: Chat, event: Event) -> None:
        self.roster.hear(event)
        match event:
            case Lost():
                self._lost_at = time.monotonic()
            case Welcome():
                self._show(self._welcomed(event))
                self._look_around(chat)
            case Notice() if event.joined or event.left:
                self._show(lines_of(event, chat.name))
                self._look_around(chat)
            case Joined() | Left() if event.sender == chat.name:
                pass  # the gateway noticed that we were away, which is said elsewhere
            case _:
                self._show(lines_of(event, chat.name))
        self._changed()

    def _welcomed(self, event: Welcome) -> list[Line]:
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is None:
            return told([welcome(event)])
        seconds = time.monotonic() - lost_at
        return told([f"connected again, after {seconds:.1f} s"])

    def _look_around(self, chat: Chat) -> None:
        """Find out who is here."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(chat))

    async def _look(self, chat: Chat) -> None:
        try:
            answer = await (await chat.post("who"))
        except ChatError:
            return
        if answer.room == chat.room:
            self.roster.told(answer)
            self._changed()

    async def _post_forever(self, chat: Chat) -> None:
        while True:
            while not self._asks:
                self._asked.clear()
                await self._asked.wait()
            ask = self._asks[0]
            try:
                answer = await chat.post(ask.kind, **ask.fields)
            except ChatError:
                return  # it is over; the line stays for the next one
            self._asks.popleft()
            answer.add_done_callback(partial(self._answered, ask))
            self._changed()

    def _answered(self, ask: Ask, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        answer = error or future.result()
        if isinstance(error, Refused) or (isinstance(error, ChatError) and error.code == "closed"):
            if ask.kind in _SPOKEN:
                self._show(told([f"not confirmed: {ask.fields['text']}"]))
        elif isinstance(answer, History):
            old = [line for event in answer.lines for line in lines_of(event, self.name)]
            self._show([*told([last(len(answer.lines))]), *old])
        elif isinstance(answer, ChatError | People | Rooms):
            self._show(told(sentences(answer)))
        if isinstance(answer, Rooms):
            self.roster.rooms |= {count.room for count in answer.rooms}
        self._changed()


def _pulse(chat: Chat) -> str:
    """How a connection is."""
    if chat.no_answer_s:
        return f"no answer for {chat.no_answer_s:.0f} s"
    trip = chat.round_trip_s
    return "connected" if trip is None else f"connected, {max(round(trip * 1000), 1)} ms"
