"""``deploy/redis/redis.conf``: real servers start with it, and it keeps what is promised."""

from __future__ import annotations

import re
import shutil

import pytest
from cluster import Cluster
from deployment import DEPLOY, missing
from processes import RealRedis, eventually, redis_binary

CONF = DEPLOY / "redis" / "redis.conf"


class ConfiguredRedis(RealRedis):
    """A server with the shipped configuration; only where it is differs."""

    def __init__(self, binary: str, *options: str) -> None:
        super().__init__()
        self.binary = binary
        self.options = options

    async def start(self, within_s: float = 10) -> ConfiguredRedis:
        where = ("--port", str(self.port), "--dir", str(self.directory))
        self.spawn(self.binary, str(CONF), *where, "--logfile", str(self._log), *self.options)
        await eventually(self._answers, within_s, "Redis answers", lambda: self.output + self.log)
        return self


@pytest.fixture(params=["embedded", "redis-server"])
def binary(request):
    """The server that comes along, and the one that Debian has."""
    if request.param == "embedded":
        return redis_binary()
    found = shutil.which("redis-server")
    if found is None:
        missing("redis-server", "apt-get install redis-server")
    return found


def wanted():
    """The settings of the file, as pairs."""
    lines = CONF.read_text().splitlines()
    pairs = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return [(name, value.strip('"')) for name, value in pairs]


UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def plain(value):
    """As ``CONFIG GET`` says it: bytes without units."""
    return re.sub(r"\b(\d+)([kmg]b)\b", lambda m: str(int(m[1]) * UNITS[m[2]]), value)


async def test_a_server_takes_each_setting(processes_end, binary):
    redis = await ConfiguredRedis(binary).start()
    differing = []
    for name, value in wanted():
        if name in ("port", "bind"):
            continue
        got = redis.cli("CONFIG", "GET", name)
        got = got if isinstance(got, dict) else dict(zip(got[::2], got[1::2], strict=True))
        if name == "client-output-buffer-limit":
            which, limits = plain(value).split(None, 1)
            # Servers say "slave" for "replica".
            word = which.replace("replica", "(?:slave|replica)")
            found = re.search(rf"{word} ([\d ]+)", got[name])
            if not found or found[1].strip() != limits:
                differing.append((name, value, got))
        elif got.get(name) != plain(value):
            differing.append((name, value, got))
    assert not differing
    # What the promises hang on, whatever else the file says.
    settings = dict(wanted())
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert "DENIED" not in redis.log
    assert "FATAL" not in redis.log.upper()


@pytest.fixture
async def gateways_on(processes_end):
    """Starts gateways on a server that a test has made."""
    clusters = []

    async def start(redis, gateways):
        clusters.append(Cluster(redis, ()))
        await clusters[-1].grow(gateways)
        return clusters[-1]

    yield start
    for cluster in clusters:
        assert cluster.blemishes() == []
        await cluster.close()


async def test_what_was_said_survives_a_killed_server(gateways_on, binary):
    """Promise 3: a Redis that restarts with its append-only file; nobody misses anything."""
    redis = await ConfiguredRedis(binary).start()
    cluster = await gateways_on(redis, 2)
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("before")
    await bob.expect("alice: before")
    await redis.restart()
    await alice.say("after")
    await bob.expect("alice: after", timeout=20)
    await bob.expect_silence()
    (carol,) = await cluster.join("carol")
    assert any("alice: before" in line for line in carol.lines)


async def test_a_gateway_lives_with_the_rights_of_the_shipped_user(gateways_on):
    """The ACL line that the file proposes is enough, and not for everything."""
    redis = await ConfiguredRedis(redis_binary()).start()
    (rule,) = re.findall(r"^# user gateway (.*)$", CONF.read_text(), re.M)
    assert redis.cli("ACL", "SETUSER", "gateway", *rule.split()) == "OK"
    admin_url = redis.url
    redis.url = f"redis://gateway:change-me@127.0.0.1:{redis.port}/0"
    cluster = await gateways_on(redis, 1)
    redis.url = admin_url
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("hello")
    await bob.expect("alice: hello")
    assert "no permissions" in redis.cli("ACL", "DRYRUN", "gateway", "FLUSHALL")
