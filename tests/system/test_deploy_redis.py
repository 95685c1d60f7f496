"""``deploy/redis/redis.conf``: real servers start with it, and it keeps what is promised."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from cluster import Cluster
from deployment import DEPLOY, REPOSITORY, missing, run
from processes import RealRedis, eventually, redis_binary
from redis.backoff import NoBackoff
from redis.retry import Retry

CONF = DEPLOY / "redis" / "redis.conf"


class ConfiguredRedis(RealRedis):
    """A server with the shipped configuration; only where it is differs."""

    def __init__(self, binary: str, conf: Path = CONF) -> None:
        super().__init__()
        self.binary = binary
        self.conf = conf

    async def start(self, within_s: float = 10) -> ConfiguredRedis:
        where = ("--port", str(self.port), "--dir", str(self.directory))
        self.spawn(self.binary, str(self.conf), *where, "--logfile", str(self._log))
        await eventually(self._answers, within_s, "Redis answers", lambda: self.output + self.log)
        return self


class GuardedRedis(ConfiguredRedis):
    """The same with the users that the file proposes, and one for the test to look with."""

    def __init__(self, binary: str) -> None:
        super().__init__(binary)
        self.conf = self.directory / "redis.conf"
        guarded, count = re.subn(r"^#(?=user )", "", CONF.read_text(), flags=re.M)
        assert count == 2
        self.conf.write_text(f"{guarded}\nuser test on >looks ~* &* +@all\n")
        self.url = f"redis://gateway:change-me@127.0.0.1:{self.port}/0"

    def cli(self, *command: str | int) -> Any:
        return self.ask("redis://test:looks@127.0.0.1", *command)

    def ask(self, url: str, *command: str | int) -> Any:
        client = redis.Redis.from_url(
            url,
            port=self.port,
            socket_timeout=5,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            return client.execute_command(*command)


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


async def goes_on_over_a_kill(cluster, restart):
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("before")
    await bob.expect("alice: before")
    await restart()
    await alice.say("after")
    await bob.expect("alice: after", timeout=20)
    await bob.expect_silence()
    (carol,) = await cluster.join("carol")
    assert any("alice: before" in line for line in carol.lines)


async def test_what_was_said_survives_a_killed_server(gateways_on, binary):
    """Promise 3: a Redis that restarts with its append-only file; nobody misses anything."""
    redis = await ConfiguredRedis(binary).start()
    await goes_on_over_a_kill(await gateways_on(redis, 2), redis.restart)


async def test_with_its_users_too_what_was_said_survives_a_killed_server(gateways_on, binary):
    """Redis reads its file as the default user: "off" alone loses all that scripts wrote."""
    redis = await GuardedRedis(binary).start()

    async def restart_and_compare():
        before = redis.cli("XRANGE", "chat:{room:lobby}:log", "-", "+")
        assert len(before) == 3
        await redis.restart()
        assert redis.cli("XRANGE", "chat:{room:lobby}:log", "-", "+")[:3] == before

    await goes_on_over_a_kill(await gateways_on(redis, 2), restart_and_compare)


async def test_with_its_users_nobody_is_let_in_without_a_password(processes_end, binary):
    guarded = await GuardedRedis(binary).start()
    for url in ("redis://127.0.0.1", "redis://:change-me@127.0.0.1", "redis://gateway@127.0.0.1"):
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            guarded.ask(url, "PING")


def scripts():
    folder = REPOSITORY / "gateway" / "broker" / "scripts"
    return "".join(path.read_text() for path in folder.glob("*.lua"))


BESIDE_SCRIPTS = {
    *("evalsha", "info", "publish", "script|load", "select"),
    *("subscribe", "unsubscribe"),
    # To reap the dead, and at the end.
    *("hgetall", "hlen", "hmget", "smembers", "unlink", "zscore"),
    # `gateway status`
    *("hget", "time", "zrange", "zrevrange"),
}


def calls_without_a_script():
    """Of redis-py's client; its pipeline is for ``gateway status``."""
    code = [*(REPOSITORY / "gateway" / "broker").glob("*.py"), REPOSITORY / "gateway" / "server.py"]
    made = {
        name for path in code for name in re.findall(r"\bclient\.(\w+)\(", path.read_text())
    } | set(re.findall(r"\bpipe\.(\w+)\(", (REPOSITORY / "gateway/tools/status.py").read_text()))
    return {name.replace("script_load", "script|load") for name in made - {"aclose", "execute"}}


def test_the_user_may_do_what_scripts_do_and_little_else():
    """Also what only a bad day needs, like reaping the dead."""
    (rule,) = re.findall(r"^#user gateway (.*)$", CONF.read_text(), re.M)
    assert rule.startswith("on >change-me ~chat:* &chat:* -@all +")
    called = {name.lower() for name in re.findall(r"redis\.call\('(\w+)'", scripts())}
    assert scripts().count("redis.call(") == len(re.findall(r"redis\.call\('\w+'", scripts()))
    assert set(re.findall(r"\+(\S+)", rule)) == called | BESIDE_SCRIPTS
    assert calls_without_a_script() <= BESIDE_SCRIPTS


async def test_gateways_live_with_the_rights_of_the_user(gateways_on, binary):
    """Nothing that they or ``gateway status`` do is refused, and nothing else is allowed."""
    redis = await GuardedRedis(binary).start()
    cluster = await gateways_on(redis, 2)
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("hello")
    await bob.expect("alice: hello")
    await alice.say("/msg bob psst")
    await bob.expect("alice (private): psst")
    for asked in ("/who", "/rooms", "/history", "/nick alicia", "/join attic", "/leave"):
        await alice.say(asked)
    await bob.expect("alice is now known as alicia", "alicia has left the chat")
    await bob.expect("alicia joined the chat")
    # Its people are reaped by the other one.
    cluster.gateways[0].kill()
    await bob.expect("alicia has left the chat", timeout=25)
    told = run(sys.executable, "-m", "gateway", "status", "--json", "--redis-url", redis.url)
    assert "lobby" in told
    # One that drains removes its inbox.
    cluster.gateways[1].terminate()
    assert await cluster.gateways[1].ended() == 0
    assert redis.cli("KEYS", "*{room:@*:log") == []
    # The client library says its name where there is a command for it (7.2), and needs no answer.
    assert {entry["object"] for entry in redis.cli("ACL", "LOG")} <= {"client|setinfo"}
    for forbidden in ("FLUSHALL", "KEYS *", "CONFIG GET *", "SHUTDOWN", "GET other"):
        assert "permission" in redis.cli("ACL", "DRYRUN", "gateway", *forbidden.split())
