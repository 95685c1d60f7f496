"""What clients may send, byte by byte, and what never reaches another terminal (DESIGN 4)."""

import asyncio
import unicodedata

import pytest
from cluster import Cluster
from people import UnendedPerson

MAX_LINE_BYTES = 4096


async def test_a_client_that_sends_crlf_gets_crlf_and_the_others_lf(gateway: Cluster):
    (alice,) = await gateway.join("alice")
    bob = await gateway.newcomer(end="\r\n")
    await gateway.welcome(bob, "bob")
    await bob.say("hi")
    await alice.expect("bob: hi")
    await alice.say("hello")
    await bob.expect("alice: hello")
    assert bob.raw.count(b"\r\n") == bob.raw.count(b"\n") > 2
    assert b"\r" not in alice.raw


async def test_lines_may_be_split_anywhere_and_come_many_at_once(gateway: Cluster):
    """DESIGN 4: lines end in LF or CRLF, also split over reads."""
    alice, bob = await gateway.join("alice", "bob")
    letter = "Ж".encode()
    for piece in (b"sp", b"lit ", letter[:1], letter[1:], b"\r", b"\n", b"one\ntwo\r\nth"):
        alice.send(piece)
        await bob.barrier()  # the gateway has read the piece
    alice.send(b"ree\n")
    await bob.hear("alice: three")
    said = [line for line in bob.lines if line.startswith("alice: ")]
    assert said == ["alice: split Ж", "alice: one", "alice: two", "alice: three"]


async def test_telnet_negotiation_is_taken_out_also_when_split(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    pieces = (
        b"\xff\xfd\x03a\xff",
        b"\xfb\x18b\xff\xfa\x18\x00xte",
        b"rm\xff",
        b"\xf0c\xff\xf1\r\n",
    )
    *pieces, last = pieces
    for piece in pieces:
        alice.send(piece)
        await bob.barrier()  # the gateway has read the piece
    alice.send(last)
    await bob.expect("alice: abc")


async def test_telnet_bytes_at_the_name_prompt_are_no_part_of_the_name(gateway: Cluster):
    (alice,) = await gateway.join("alice")
    bob = await gateway.newcomer(end="\r\n")
    bob.send(b"\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0")
    await gateway.welcome(bob, "bob")
    await alice.expect_silence()


async def test_telnet_shows_what_comes_after_ctrl_c(gateway: Cluster):
    """``telnet`` sends IAC IP, IAC DO TM, and throws away all that comes before the mark."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateways[0].port)
    writer.write(b"alice\r\n")
    await reader.readuntil(b"* you are alone here\r\n")
    writer.write(b"\xff\xf4\xff\xfd\x06/who\r\n")
    assert await reader.readuntil(b"\r\n") == b"\xff\xfb\x06* 1 in lobby: alice\r\n"
    writer.close()


async def test_a_line_that_is_too_long_is_told_to_its_sender_alone(gateway: Cluster):
    """DESIGN 4: dropped to its end and its sender told."""
    alice, bob = await gateway.join("alice", "bob")
    await alice.say("x" * MAX_LINE_BYTES)
    await bob.expect("alice: " + "x" * MAX_LINE_BYTES)
    for length in (MAX_LINE_BYTES + 1, 20 * MAX_LINE_BYTES):
        await alice.say("y" * length)
        await alice.expect_told(str(MAX_LINE_BYTES))
    await alice.say("short")
    await bob.expect("alice: short")
    await alice.expect_silence()


async def test_bytes_that_are_not_utf8_are_told_to_their_sender_alone(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    for junk in (
        b"caf\xe9\n",
        b"\xc0\xaf\n",
        b"\xed\xa0\x80\n",
        b"\xf5\x80\x80\x80\n",
        b"\xff\xfe\n",
        b"q\xff\n",
    ):
        alice.send(junk)
        await alice.expect_told("UTF-8")
    await alice.say("café")
    await bob.expect("alice: café")
    await alice.expect_silence()


async def test_empty_lines_say_nothing(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    await alice.say("", "   ", "\t", "\u200b", "something")
    await bob.expect("alice: something")
    await alice.expect_silence()


TERMINAL_TRICKS = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H",
    "bell and backspace": "a\x07b\x08\x08\x7f",
    "C1 control sequence": "\x9b31m",
    "NUL": "a\x00b",
    "bidirectional override": "abc\u202edef\u2066\u200f",
    "tags": "hidden\U000e0041\U000e0042",
    "tab": "a\tb",
}


@pytest.mark.parametrize("trick", TERMINAL_TRICKS.values(), ids=TERMINAL_TRICKS)
async def test_control_bytes_and_escapes_reach_no_other_terminal(gateway: Cluster, trick: str):
    alice, bob = await gateway.join("alice", "bob")
    await alice.say(f"start {trick} end")
    line = await bob.next_line()
    assert line.startswith("alice: start ")
    assert line.endswith(" end")
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs")]


async def test_an_escape_sequence_cut_in_two_by_reads_does_not_get_through(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    alice.send(b"x\x1b")
    await bob.barrier()
    alice.send(b"[2Jy\n")
    await bob.expect("alice: xy")
    assert b"\x1b" not in bob.raw


FORGERIES = {
    "bare CR": "x\rbob: I agree",
    "NEL": "x\u0085carol joined the chat",
    "line separator": "x\u2028bob has left the chat",
    "paragraph separator": "x\u2029* the server says",
    "vertical tab": "x\x0bbob: me too",
    "form feed": "x\x0cbob: me too",
    "server line": "* bob has been banned",
    "somebody's line": "bob: I never said that",
    "join": "carol joined the chat",
    "leave": "carol has left the chat",
    "prompt": "Enter your name: ",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_nobody_can_forge_a_line(gateway: Cluster, forgery: str):
    """DESIGN 4: what a person types can't start a line on another's terminal."""
    mallory, dave = await gateway.join("mallory", "dave")
    await mallory.say(forgery)
    line = await dave.next_line()
    assert line.startswith("mallory: ")
    assert "\r" not in line
    assert len(f"|{line}|".splitlines()) == 1
    await dave.expect_silence()


async def test_what_scripts_and_emoji_need_stays(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    for text in ("👩‍👩‍👧 ❤️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿", "می‌خواهم", "क्‍ष", "e\u0301 naïve", "שלום"):
        await alice.say(text)
        await bob.expect(f"alice: {text}")


async def test_a_client_without_line_ends_is_back_to_lines_with_its_first_one(gateway: Cluster):
    """DESIGN 4, framing: a line end at any time puts the connection back to lines for good."""
    (alice,) = await gateway.join("alice")
    ulla = await gateway.newcomer(UnendedPerson)
    await gateway.welcome(ulla, "ulla")
    await ulla.say("no end")
    await alice.expect("ulla: no end")
    ulla.send(b"an end\n")
    await alice.expect("ulla: an end")
    ulla.send(b"in two ")
    await alice.barrier()
    ulla.send(b"pieces\n")
    await alice.expect("ulla: in two pieces")
