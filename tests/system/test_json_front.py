"""What a program says and is told on a real gateway (DESIGN 4, the JSON front)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cluster import Cluster
from people import PROMPT, Person


class Bot(Person):
    """A program: says and hears JSON, one line after the other."""

    async def begun(self) -> dict[str, Any]:
        """The answer to the first line."""
        await self.expect("")  # the prompt's line is ended
        return await self.told()

    async def told(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(await self.next_line())
        return line

    async def ask(self, **line: Any) -> dict[str, Any]:
        self.send(json.dumps(line).encode() + b"\n")
        return await self.told()

    async def refusal(self, **line: Any) -> tuple[str, str | None]:
        """The code and the ref of the error that answers."""
        error = await self.ask(**line)
        assert error["type"] == "error", error
        return error["code"], error.get("ref")


async def bot(gateway: Cluster, name: str = "bot") -> Bot:
    bot = await gateway.newcomer(Bot)
    bot.send(json.dumps({"name": name}).encode() + b"\n")
    assert (await bot.begun())["type"] == "welcome"
    bot.name = name
    return bot


HELLO = b'{"name":"bot"}\n'
NEGOTIATION = b"\xff\xfd\x03\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0"


@pytest.mark.parametrize(
    "reads",
    [
        [HELLO],
        [b'{"name":"bot"}\r\n'],
        [b"{", HELLO[1:]],
        [b"  \t" + HELLO],
        [b" ", b"  ", HELLO[:5], HELLO[5:]],
        [NEGOTIATION + HELLO],
        [NEGOTIATION, HELLO],
        [b" " + NEGOTIATION[:1], NEGOTIATION[1:7], NEGOTIATION[7:] + b" ", HELLO],
    ],
    ids=repr,
)
async def test_who_begins_with_a_json_object_is_a_program(gateway: Cluster, reads: list[bytes]):
    """DESIGN 4: whose first line is a JSON object; blanks and telnet bytes do not count."""
    (alice,) = await gateway.join("alice")
    program = await gateway.newcomer(Bot)
    for piece in reads:
        await alice.barrier()  # the gateway has read the piece before
        program.send(piece)
    welcome = await program.begun()
    assert (welcome["type"], welcome["name"], welcome["people"]) == ("welcome", "bot", 2)
    await alice.expect("bot joined the chat")
    ack = await program.ask(type="say", text="hi", ref="1")
    assert (ack["type"], ack["ref"]) == ("ack", "1")
    await alice.expect("bot: hi")


@pytest.mark.parametrize("first", [b"\n", b" \n", b"\r\n", b"x"], ids=repr)
async def test_who_begins_otherwise_is_a_person(gateway: Cluster, first: bytes):
    """DESIGN 4: whose first line is a JSON object, and not a later one."""
    person = await gateway.newcomer()
    person.send(first + HELLO)
    for _ in range(first.count(b"\n") + 1):
        await person.expect_told("a name")
        await person.expect(PROMPT)
    await gateway.welcome(person, "bot")


async def test_each_request_that_is_refused_is_told_with_its_ref(gateway: Cluster):
    """DESIGN 4: {"type":"error","code":"…","text":"…","ref":"7"}."""
    await gateway.join("alice")
    program = await bot(gateway)
    for code, line in {
        "name_taken": {"type": "nick", "name": "ALICE"},
        "name_refused": {"type": "nick", "name": "two words"},
        "room_refused": {"type": "join", "room": "two words"},
        "absent": {"type": "msg", "to": "nobody", "text": "hi"},
        "bad_request": {"type": "me", "text": " "},
        "too_long": {"type": "say", "text": "x" * 4097},
        "unknown_type": {"type": "dance"},
    }.items():
        assert await program.refusal(**line, ref="7") == (code, "7")
        assert await program.refusal(**line) == (code, None)
    assert await program.refusal(type="who", room="two words", ref=8) == ("room_refused", "8")
    assert await program.refusal(type="history", count=0, ref="h") == ("bad_request", "h")
    assert await program.refusal(type="leave", ref="l") == ("room_refused", "l")


async def test_a_say_with_a_bad_ref_is_told_under_that_ref(gateway: Cluster):
    """DESIGN 4, ``ref``: decimal, growing."""
    (alice,) = await gateway.join("alice")
    program = await bot(gateway)
    await alice.expect("bot joined the chat")
    for ref in ("x1", "07", "-1", "1.5", "9" * 400):
        said = {"type": "say", "text": "never said", "ref": ref}
        assert await program.refusal(**said) == ("bad_request", ref[:64])
    assert await program.refusal(type="say", text="never said", ref=-1) == ("bad_request", "-1")
    for ref in (5, 9):
        ack = await program.ask(type="say", text=f"said {ref}", ref=ref)
        assert (ack["type"], ack["ref"]) == ("ack", str(ref))
        await alice.expect(f"bot: said {ref}")
    # A repeat is answered as it was; what was never said and does not grow is not.
    assert (await program.ask(type="say", text="said 5", ref="5"))["ref"] == "5"
    assert await program.refusal(type="say", text="never said", ref="7") == ("not_confirmed", "7")
    await alice.expect_silence()


async def test_a_question_without_redis_is_refused_under_its_ref(gateway: Cluster):
    program = await bot(gateway)
    gateway.redis.close()
    assert await program.refusal(type="rooms", ref="7") == ("unavailable", "7")


@pytest.mark.parametrize("last", [None, {"type": "quit"}], ids=["hangs up", "quits"])
async def test_who_goes_hears_first_that_its_lines_were_said(gateway: Cluster, last):
    """DESIGN 4: an ack in the place of its event, also for ``printf … | nc -N``."""
    program = await gateway.newcomer(Bot)
    lines = [
        {"name": "bot"},
        *({"type": "say", "text": f"line {ref}", "ref": f"{ref}"} for ref in range(1, 6)),
        *([last] if last else []),
    ]
    program.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    if last is None:
        program.finish()
    told = [json.loads(line) for line in await program.ended() if line.startswith("{")]
    assert told[0]["type"] == "welcome"
    acks = [(line["ref"], line["offset"]) for line in told if line["type"] == "ack"]
    first = told[0]["offset"] + 1
    assert acks == [(f"{ref}", first + ref - 1) for ref in range(1, 6)]
