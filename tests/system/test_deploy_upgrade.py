"""``deploy/README.md``, "Upgrading": a gateway beside one of a later version."""

from __future__ import annotations

import json

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
    names = (*keys.room("lobby"), keys.batch("lobby", "later"))
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
