"""``connect``: over real sockets, to a gateway that breaks connections when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from gateway.client import (
    Ack,
    Chat,
    ChatError,
    Lost,
    Message,
    Missed,
    NoChat,
    Refused,
    Welcome,
    connect,
)
from gateway.client.queue import MOST_EVENTS, READ_AHEAD_EVENTS
from tests.unit.client.fake import FakeGateway


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    gateway = await FakeGateway().start()
    yield gateway
    await gateway.stop()


@pytest_asyncio.fixture
async def alice(gateway: FakeGateway) -> AsyncIterator[Chat]:
    async with connect("127.0.0.1", gateway.port, name="alice") as chat:
        yield chat


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def take(chat: Chat, count: int, kind: type = Message) -> list[Any]:
    """The next ``count`` events of a kind."""
    taken: list[Any] = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            event = await anext(chat)
            if isinstance(event, kind):
                taken.append(event)
    return taken


async def test_entering_waits_for_the_welcome_and_leaving_says_quit(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice", room="lobby") as chat:
        assert (chat.name, chat.room, chat.connected) == ("alice", "lobby", True)
        assert isinstance(await anext(chat), Welcome)
    assert gateway.lines[-1] == {"type": "quit"}
    assert not chat.connected
    with pytest.raises(ChatError, match="closed"):
        await chat.say("hi")
    await chat.close()


async def test_the_iteration_gives_what_happens_and_ends_with_close(gateway, alice):
    gateway.log.others_say("one", "two")
    texts = []
    async for event in alice:
        if isinstance(event, Message):
            texts.append(event.text)
            if event.text == "two":
                await alice.close()
    assert texts == ["one", "two"]


async def test_say_returns_the_offset_in_the_log(gateway, alice):
    gateway.log.others_say("hi")
    assert await alice.say("ho") == 3
    assert await alice.me("waves") == 4
    await alice.msg("bob", "psst")
    assert [event.text for event in await take(alice, 3, Ack)] == ["ho", "waves", "psst"]


async def test_questions_have_answers(gateway, alice):
    assert await alice.who() == ("alice", "bob")
    assert [(room.room, room.people) for room in await alice.rooms()] == [("lobby", 2)]
    gateway.log.others_say("one", "two", "three")
    assert [line.text for line in await alice.history(2)] == ["two", "three"]
    assert 0 < await alice.ping() < 10
    await alice.nick("ann")
    assert alice.name == "ann"
    with pytest.raises(ChatError) as refused:
        await alice.msg("nobody", "hello?")
    assert refused.value.code == "absent"
    with pytest.raises(ChatError, match="no entrance"):
        await alice.join("closed")
    await alice.join("kitchen")
    assert alice.room == "kitchen"


async def test_an_empty_line_costs_nothing(gateway, alice):
    for _ in range(300):
        with pytest.raises(ChatError, match="empty") as refused:
            await alice.say(" ")
        assert refused.value.code == "bad_request"
    assert await alice.say("hi") == 2


# Lost connections


async def test_a_lost_connection_loses_and_doubles_nothing(gateway, alice):
    """DESIGN 4: a client that reconnects neither loses nor doubles a line."""
    gateway.log.others_say("one")
    assert (await take(alice, 1))[0].text == "one"
    gateway.drop()
    gateway.log.others_say("two", "three")
    assert isinstance((await take(alice, 1, Lost))[0], Lost)
    gateway.log.others_say("four")
    assert [event.text for event in await take(alice, 3)] == ["two", "three", "four"]
    assert gateway.hellos[1]["after"] == 2
    assert gateway.hellos[0]["session"] == gateway.hellos[1]["session"]


async def test_what_was_not_acknowledged_is_said_again_and_stands_once_in_the_log(gateway, alice):
    gateway.no_acks = True
    saying = [asyncio.create_task(alice.say(text)) for text in "abc"]
    await until(lambda: len(gateway.log.said) == 3)
    gateway.no_acks = False
    gateway.drop()
    assert await asyncio.gather(*saying) == [2, 3, 4]
    assert [event["text"] for _, event in gateway.log.events[1:]] == ["a", "b", "c"]


async def test_what_is_said_while_nobody_answers_is_said_when_somebody_does(gateway, alice):
    await gateway.stop()
    await until(lambda: not alice.connected)
    saying = asyncio.create_task(alice.say("still here"))
    await until(lambda: alice.unanswered)
    assert alice.trouble
    await gateway.start()
    assert await saying == 2
    assert alice.trouble == ""


async def test_a_gateway_that_answers_nothing_is_taken_for_dead(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice", ping_s=0.05, silence_s=0.2) as chat:
        gateway.mute = True
        (lost,) = await take(chat, 1, Lost)
        assert lost.why == "no answer for 0.2 s"
        gateway.mute = False
        assert len(await take(chat, 1, Welcome)) == 1


async def test_a_quiet_connection_lives(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice", ping_s=0.02, silence_s=0.2) as chat:
        await until(lambda: len(gateway.lines) >= 20)
        assert len(gateway.hellos) == 1
        assert chat.round_trip_s is not None


async def test_attempts_become_rarer_and_never_end(gateway, monkeypatch):
    waits: list[float] = []
    sleep = asyncio.sleep

    async def quick(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    async with connect("127.0.0.1", gateway.port, name="alice") as chat:
        monkeypatch.setattr("gateway.client.chat.asyncio.sleep", quick)
        await gateway.stop()
        async with asyncio.timeout(10):
            while len(waits) < 20:
                await sleep(0.005)
        monkeypatch.undo()
        await chat.abort()
    assert 0.05 <= waits[0] <= 0.1
    assert all(5 <= wait <= 10 for wait in waits[-5:])
    assert len(set(waits)) == len(waits), "jitter"


# No entrance


async def test_a_refused_name_is_raised(gateway):
    gateway.refusal = {"code": "name_taken", "text": "alice is taken"}
    with pytest.raises(Refused, match="alice is taken") as refused:
        async with connect("127.0.0.1", gateway.port, name="alice"):
            pass
    assert refused.value.code == "name_taken"


async def test_nobody_at_the_address_is_raised_at_once(gateway):
    await gateway.stop()
    with pytest.raises(OSError, match="Connect call failed"):
        async with connect("127.0.0.1", gateway.port, name="alice"):
            pass


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "what answers there is no chat"),
        (b"Enter your password: ", "what answers there is no chat"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS there"),
        (b"Enter", "closes without a word"),
        (b"", "closes without a word"),
    ],
)
async def test_somebody_else_at_the_address_is_raised_at_once(gateway, first, complaint):
    gateway.full = first
    with pytest.raises(NoChat, match=complaint):
        async with connect("127.0.0.1", gateway.port, name="alice"):
            pass
    assert not gateway._open


async def test_who_resets_the_connection_is_no_chat_either(gateway):
    gateway.resets = True
    with pytest.raises(NoChat, match="closes without a word"):
        async with connect("127.0.0.1", gateway.port, name="alice"):
            pass


async def test_a_silent_port_is_raised_and_a_silent_gateway_that_is_known_is_not(gateway):
    gateway.silent = True
    with pytest.raises(NoChat, match="says nothing"):
        async with connect("127.0.0.1", gateway.port, name="alice", connect_timeout_s=0.1):
            pass
    gateway.silent = False
    more = {"connect_timeout_s": 0.1, "ping_s": 0.05, "silence_s": 0.3}
    async with connect("127.0.0.1", gateway.port, name="alice", **more) as chat:
        gateway.silent = True
        gateway.drop()
        await take(chat, 1, Lost)
        await until(lambda: chat.trouble == "no answer for 0.3 s")
        gateway.silent = False
        await take(chat, 1, Welcome)


async def test_a_missed_ping_is_to_be_seen_before_the_connection_counts_as_dead(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice", ping_s=0.05, silence_s=30) as chat:
        await until(lambda: chat.round_trip_s)
        assert chat.no_answer_s == 0
        gateway.mute = True
        await until(lambda: chat.no_answer_s)
        assert chat.no_answer_s >= 0.05
        gateway.mute = False
        gateway.log.others_say("still here")
        await chat.ping()
        assert chat.no_answer_s == 0
        await chat.abort()


async def test_a_full_gateway_is_tried_again(gateway):
    gateway.full = b"* too many are here\n"
    chat = connect("127.0.0.1", gateway.port, name="alice")
    entering = asyncio.create_task(chat.__aenter__())
    await until(lambda: chat.trouble == "too many are here")
    gateway.full = None
    await entering
    assert chat.connected
    await chat.close()


async def test_a_name_that_is_taken_meanwhile_ends_the_iteration_and_the_answers(gateway):
    with contextlib.suppress(Refused):
        async with connect("127.0.0.1", gateway.port, name="alice") as chat:
            gateway.no_acks = True
            saying = asyncio.create_task(chat.say("hi"))
            await until(lambda: gateway.log.said)
            gateway.refusal = {"code": "name_taken", "text": "alice is taken"}
            gateway.drop()
            with pytest.raises(Refused):
                await saying
            async for _ in chat:
                pass
            pytest.fail("the iteration ended as if nothing was wrong")


async def test_who_gives_up_entering_leaves_nothing_behind(gateway):
    gateway.mute = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), connect("127.0.0.1", gateway.port, name="alice"):
            pass
    await until(lambda: not gateway._open)


# Bounds


async def test_the_257th_say_waits(gateway, alice):
    """256 unanswered at most, as many as a gateway remembers."""
    gateway.no_acks = True
    saying = [asyncio.create_task(alice.say(str(number))) for number in range(300)]
    await until(lambda: len(gateway.log.said) == 256)
    await alice.ping()
    assert len(alice.unanswered) == 256
    gateway.no_acks = False
    gateway.drop()
    assert await asyncio.gather(*saying) == list(range(2, 302))


async def test_who_does_not_read_is_not_read_from_and_loses_nothing(gateway, alice):
    count = READ_AHEAD_EVENTS * 6
    async with connect("127.0.0.1", gateway.port, name="bob") as bob:
        gateway.log.others_say(*("x" * 4000 for _ in range(count)))
        # By then alice would have read them, too.
        assert len(await take(bob, count)) == count
    assert len(await take(alice, count)) == count


async def test_who_does_not_read_can_ping(gateway, alice):
    gateway.log.others_say(*map(str, range(READ_AHEAD_EVENTS + 10)))
    await until(lambda: alice._events.full)
    gateway.log.others_say("last")
    assert await alice.ping() > 0
    assert (await take(alice, READ_AHEAD_EVENTS + 11))[-1].text == "last"


async def test_who_says_and_does_not_read_is_answered_and_told_what_it_missed(gateway, alice):
    """Or it would wait for ever for an answer behind what it does not read."""
    count = MOST_EVENTS + 1000
    gateway.log.others_say(*map(str, range(count)))
    assert await alice.say("anybody?") == count + 2
    gateway.log.others_say("last")
    got = []
    async with asyncio.timeout(10):
        while (event := await anext(alice)) and getattr(event, "text", "") != "last":
            got.append(event)
    assert sum(isinstance(event, Missed) for event in got) == 1
    offsets = [event.offset for event in got if isinstance(event, Message)]
    assert offsets == sorted(set(offsets))


async def test_close_waits_for_what_is_unanswered(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice") as chat:
        answers = [await chat.post("say", text=text) for text in "abc"]
    assert [answer.result().offset for answer in answers] == [2, 3, 4]


async def test_close_does_not_wait_for_ever(gateway):
    async with connect("127.0.0.1", gateway.port, name="alice", close_timeout_s=0.05) as chat:
        gateway.no_acks = True
        answer = await chat.post("say", text="hi")
    with pytest.raises(ChatError, match="closed"):
        answer.result()
