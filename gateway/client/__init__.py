"""A client of the chat, for programs::

    import asyncio
    from gateway.client import Message, connect

    async def main():
        async with connect("localhost", 8080, name="echo") as chat:
            async for event in chat:
                if isinstance(event, Message) and not event.history:
                    await chat.say(f"{event.sender} said: {event.text}")

    asyncio.run(main())

``say`` returns when the line stands in the room's log.  If the connection is lost, the
chat dials the same address again and goes on where it was: no event is lost or given
twice, nothing is said twice.  ``Conversation`` is the same without asyncio.
"""

from gateway.client.chat import Chat, connect
from gateway.client.conversation import Conversation
from gateway.client.events import (
    Ack,
    Action,
    Error,
    Event,
    History,
    Joined,
    Left,
    Lost,
    Message,
    Missed,
    Notice,
    People,
    Pong,
    Private,
    Renamed,
    RoomCount,
    RoomEvent,
    Rooms,
    Welcome,
)
from gateway.client.requests import ChatError, NoChat, Refused, Request

__all__ = [
    "Ack",
    "Action",
    "Chat",
    "ChatError",
    "Conversation",
    "Error",
    "Event",
    "History",
    "Joined",
    "Left",
    "Lost",
    "Message",
    "Missed",
    "NoChat",
    "Notice",
    "People",
    "Pong",
    "Private",
    "Refused",
    "Renamed",
    "Request",
    "RoomCount",
    "RoomEvent",
    "Rooms",
    "Welcome",
    "connect",
]
