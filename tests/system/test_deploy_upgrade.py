"""``deploy/README.md``, "Upgrading": a gateway beside one of a later version."""

from __future__ import annotations

import json
import re

from gateway.broker.calls import PUBLISH
from gateway.broker.keys import Keys

LATER = {"session": "later", "name": "zoe"}


def published_by_a_later_version(cluster, number, *events):
    """Appended to the lobby's log, and published, by the script that all versions have."""
    keys = Keys("chat")
    channel, refs = keys.channel("lobby"), keys.refs("lobby")
    arguments = [number, "", channel, "later", 10_000, 200, 86_400, 3600, refs, 256, 600]
    for event in events:
        arguments += ["post", "later", "later 1 zoe", "0", 0, json.dumps(event)]
    names = keys.room("lobby")
    return cluster.redis.cli("EVALSHA", PUBLISH.sha, len(names), *names, *arguments)


async def test_what_only_a_later_version_knows_is_passed_over(cluster):
    """No hole, nothing missed, and the rest of a batch and of an event is shown."""
    alice, bob = await cluster.join("alice", "bob")
    reply = published_by_a_later_version(
        cluster,
        1,
        {"type": "waved", **LATER, "at": "alice"},
        {"type": "message", **LATER, "text": "hello", "mood": "curious"},
    )
    assert reply == "3 4"
    for person in (alice, bob):
        await person.expect("zoe: hello")
    await alice.say("hello yourself")
    await bob.expect("alice: hello yourself")
    await alice.expect_silence()


async def test_what_only_a_later_version_s_people_can_say_is_not_in_the_history(cluster):
    alice, _ = await cluster.join("alice", "bob")
    await alice.say("hello")
    history = Keys("chat").room("lobby")[2]
    later = json.dumps({"type": "sang", **LATER, "text": "la la la"}).replace(" ", "")
    cluster.redis.cli("RPUSH", history, f"4 e 0 later 1 0 {later}")
    await alice.say("/history")
    heading, *lines = await alice.barrier()
    assert heading.startswith("* ")
    assert [line.rpartition(" alice: ")[2] for line in lines] == ["hello"]
    carol = await cluster.newcomer(on=2)
    welcome = await carol.join("carol")
    assert len([line for line in welcome if re.match(r"\*\s+\d\d:\d\d", line)]) == 1
