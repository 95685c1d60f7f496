"""What people say to each other over several gateways: the line front's contract (DESIGN 4)."""

import asyncio
import re

import pytest
from checker import Record, check, report
from cluster import Cluster
from people import PROMPT, NcPerson, Person, TelnetPerson, UnendedPerson
from processes import eventually

NOW = re.compile(r"\* ([01]\d|2[0-3]):[0-5]\d ")


async def test_people_on_different_gateways_and_on_the_same_hear_each_other_once(cluster: Cluster):
    """DESIGN 4: ``NAME: TEXT`` to everybody but its sender; joins and leaves to the letter."""
    alice, bob, carol, dave = await cluster.join("alice", "bob", "carol", "dave")
    await alice.say("hi")
    for other in (bob, carol, dave):
        await other.expect("alice: hi")
    await dave.say("hello, alice")
    for other in (alice, bob, carol):
        await other.expect("dave: hello, alice")
    await dave.leave()
    for other in (alice, bob, carol):
        await other.expect("dave has left the chat")
        await other.expect_silence()


async def test_every_reader_hears_all_speakers_in_one_order(cluster: Cluster):
    """Promise 1 and 2: nine people on three gateways, all talking at once."""
    people = await cluster.join(*(f"p{number}" for number in range(9)))
    records = [Record(person.name, 0.0, 0.0) for person in people]
    for number in range(30):
        for person, record in zip(people, records, strict=True):
            record.sent.append((1.0 + number, f"{person.name} says {number}"))
            await person.say(f"{person.name} says {number}")
    for person, record in zip(people, records, strict=True):
        record.received = [await person.next_line() for _ in range(8 * 30)]
        await person.expect_silence()
    findings = check(records)
    assert not findings, report(findings)


@pytest.mark.parametrize("how", ["quit", "finish", "close", "abort"])
async def test_however_somebody_goes_the_others_hear_it_once_and_the_name_is_free(
    cluster: Cluster, how: str
):
    """Promise 6: a name and a membership end with the session."""
    alice, bob = await cluster.join("alice", "bob")
    if how == "quit":
        assert all(line.startswith("* ") for line in await _quit(bob))
    elif how == "finish":
        bob.finish()
        await bob.ended()
    else:
        getattr(bob, how)()
    await alice.expect("bob has left the chat")
    bob.abort()
    cluster.people.remove(bob)
    # First `left`, then the name: whoever is quicker than that asks again.
    held = ("hexists", "chat:{registry}:names", "bob")
    await eventually(lambda: not cluster.redis.cli(*held), 5, "the name is free")
    await cluster.join("bob", on=2)
    await alice.expect_silence()


async def _quit(person: Person) -> list[str]:
    await person.say("/quit")
    return await person.ended()


async def test_a_newcomer_is_welcomed_with_who_is_here_and_what_was_said(cluster: Cluster):
    """DESIGN 4: ``* `` lines: welcome, who is here, history as ``* HH:MM NAME: TEXT``."""
    alice, bob = await cluster.join("alice", "bob")
    for number in range(12):
        await alice.say(f"line {number}")
        await bob.expect(f"alice: line {number}")
    passers_by = await cluster.join(*(f"passer-by-{number}" for number in range(12)))
    for passer_by in passers_by:
        await passer_by.leave()
        await cluster.all_expect(f"{passer_by.name} has left the chat", but=passer_by)
    carol = await cluster.newcomer(on=2)
    welcome = await cluster.welcome(carol, "carol")
    history = [NOW.sub("", line) for line in welcome if NOW.match(line)]
    assert history == [f"alice: line {number}" for number in range(2, 12)]
    rest = " ".join(line for line in welcome if not NOW.match(line))
    assert "carol" in rest
    assert "alice" in rest
    assert "bob" in rest


async def test_history_can_be_of_another_length(start_cluster):
    cluster = await start_cluster(1, "--history", "2")
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("one", "two", "three")
    await bob.expect("alice: one", "alice: two", "alice: three")
    carol = await cluster.newcomer()
    welcome = await cluster.welcome(carol, "carol")
    assert [line[-5:] for line in welcome if NOW.match(line)] == [": two", "three"]


async def test_what_begins_with_two_slashes_is_said_with_one(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    await alice.say("//usr/bin", "/", "/  ")
    await bob.expect("alice: /usr/bin")
    await bob.expect_silence()


async def test_an_unknown_command_is_answered_to_its_sender_alone(gateway: Cluster):
    """DESIGN 4: ``* unknown command: /WORD`` and the nearest one."""
    alice, bob = await gateway.join("alice", "bob")
    await alice.say("/hepl me")
    line = await alice.expect_told()
    assert line.startswith("* unknown command: /hepl")
    assert "/help" in line
    await alice.expect_silence()
    await bob.expect_silence()


async def test_a_command_alone_that_needs_more_is_told_its_usage(gateway: Cluster):
    """Issue 2: bad input gets a clear error."""
    (alice,) = await gateway.join("alice")
    await alice.say("/join", "/NICK ", "/msg", "/msg bob", "/me", "/history 0")
    await alice.expect("* usage: /join ROOM", "* usage: /nick NAME")
    await alice.expect("* usage: /msg NAME TEXT", "* usage: /msg NAME TEXT")
    await alice.expect("* usage: /me TEXT", "* usage: /history [N]")
    await alice.expect_silence()


async def test_help_lists_every_command_and_explains_one(gateway: Cluster):
    (alice,) = await gateway.join("alice")
    await alice.say("/help")
    told = await alice.barrier()
    assert all(line.startswith("* ") for line in told)
    for word in ("/help", "/who", "/nick", "/quit"):
        assert any(word in line for line in told), word
    await alice.say("/help nick")
    await alice.expect_told("/nick")
    await alice.expect_silence()


async def test_who_lists_everybody_on_all_gateways(cluster: Cluster):
    people = await cluster.join("alice", "bob", "carol", "Иван")
    for person in people:
        await person.say("/who")
        told = await person.barrier()
        assert all(line.startswith("* ") for line in told)
        for other in people:
            assert other.name in " ".join(told)


async def test_a_new_name_is_told_to_all_and_frees_the_old_one(cluster: Cluster):
    """DESIGN 4: ``OLD is now known as NEW``; ``* …`` to oneself."""
    alice, bob, carol = await cluster.join("alice", "bob", "carol")
    await alice.say("/nick ALEX")
    await alice.expect_told("ALEX")
    alice.name = "ALEX"
    for other in (bob, carol):
        await other.expect("alice is now known as ALEX")
    await alice.say("it is me")
    for other in (bob, carol):
        await other.expect("ALEX: it is me")
    await cluster.join("Alice", on=1)
    for taken in ("Bob", "CAROL", "alice"):
        await alice.say(f"/nick {taken}")
        await alice.expect_told()
    await alice.say("/nick two words", "/nick")
    for _ in range(2):
        await alice.expect_told()
    await alice.say("still ALEX")
    for other in (bob, carol):
        await other.expect("ALEX: still ALEX")
        await other.expect_silence()


async def test_a_name_can_change_its_case(gateway: Cluster):
    alice, bob = await gateway.join("alice", "bob")
    await alice.say("/nick Alice")
    await alice.expect_told("Alice")
    await bob.expect("alice is now known as Alice")


REFUSED = [
    "",
    "   ",
    "x" * 33,
    "two words",
    "a:b",
    "*",
    "**",
    "\N{BELL}",
    "a/b",
    "p\N{CYRILLIC SMALL LETTER A}ul",
    "\N{RIGHT-TO-LEFT OVERRIDE}alice",
    "\N{GRINNING FACE}",
]


async def test_a_refused_name_says_why_and_asks_again(gateway: Cluster):
    """DESIGN 4, names: 1-32 letters, digits, marks, ``_-.`` from one script."""
    (alice,) = await gateway.join("alice")
    stranger = await gateway.newcomer()
    for name in REFUSED:
        await stranger.say(name)
        line = await stranger.expect_told()
        assert len(line) > len("* "), name
        await stranger.expect(PROMPT)
    await alice.expect_silence()
    await gateway.welcome(stranger, "x" * 32)


@pytest.mark.parametrize("name", ["Иван", "José", "李雷", "ひらがな漢字", "Zoë_7-b.c", "नमस्ते"])
async def test_a_name_of_one_script_is_fine(gateway: Cluster, name: str):
    (alice,) = await gateway.join("alice")
    other = await gateway.newcomer()
    await gateway.welcome(other, name)
    await other.say("hi")
    await alice.expect(f"{name}: hi")


async def test_names_are_unique_in_the_cluster_without_regard_to_case_or_composition(
    cluster: Cluster,
):
    """DESIGN 4, names: NFC; unique in the whole cluster without regard to case."""
    alice, jose = await cluster.join("alice", "Jose\N{COMBINING ACUTE ACCENT}", on=0)
    await jose.say("hola")
    await alice.expect("José: hola")
    stranger = await cluster.newcomer(on=1)
    for taken in ("alice", "ALICE", "José", "JOSE\N{COMBINING ACUTE ACCENT}"):
        await stranger.say(taken)
        await stranger.expect_told()
        await stranger.expect(PROMPT)
    await alice.expect_silence()
    await jose.expect_silence()


async def test_two_who_ask_for_one_name_at_once_do_not_both_get_it(cluster: Cluster):
    people = [await cluster.newcomer(on=number % 3) for number in range(9)]
    await asyncio.gather(*(person.say("eve") for person in people))
    for person in people:
        await person.until(lambda p=person: len(p.untaken) >= 2, 10, "answer and what follows it")
    winners = [person for person in people if person.untaken[1] != PROMPT]
    assert len(winners) == 1


async def test_nc_and_telnet_and_a_client_without_line_ends_talk_to_each_other(cluster: Cluster):
    """Issue 2: the real programs, and the small client that reads with ``recv(1024)``."""
    nc = await cluster.newcomer(NcPerson, on=0)
    await cluster.welcome(nc, "nora")
    telnet = await cluster.newcomer(TelnetPerson, on=1, end="\n")
    await cluster.welcome(telnet, "tess")
    unended = await cluster.newcomer(UnendedPerson, on=2)
    await cluster.welcome(unended, "ulla")
    for text in ("hi", "second"):
        await unended.say(text)
        await nc.expect(f"ulla: {text}")
        await telnet.expect(f"ulla: {text}")
    await nc.say("from nc")
    await telnet.expect("nora: from nc")
    await unended.hear("nora: from nc")
    await telnet.say("from telnet")
    await nc.expect("tess: from telnet")
    await unended.expect("tess: from telnet")
    nc.send(b"the last line has no end")
    nc.finish()
    await telnet.expect("nora: the last line has no end", "nora has left the chat")
    await unended.expect("nora: the last line has no end", "nora has left the chat")


async def test_all_that_a_pipe_says_is_said_before_it_leaves(cluster: Cluster):
    """``printf 'bot\\none\\ntwo' | nc HOST PORT``"""
    (alice,) = await cluster.join("alice")
    bot = await cluster.newcomer(NcPerson, on=1)
    bot.send(b"bot\none\n\ntwo")
    bot.finish()
    await alice.expect("bot joined the chat", "bot: one", "bot: two", "bot has left the chat")
    await bot.ended()
    await alice.expect_silence()
