"""Three gateways behind a real HAProxy with ``deploy/haproxy/haproxy.cfg`` (issue 6, proof)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import pytest
from checker import Record, check, report
from deployment import Deployment, get
from people import PROMPT, Person, _Ear
from processes import eventually, fault_lasts

from gateway.client import Lost, Message, Missed, connect

pytestmark = pytest.mark.timeout(120)

RATES = ("--rate", "1000", "--burst", "1000")
RESTARTING = "* this gateway is restarting, please reconnect"
CALLERS = 30
TALK_EVERY_S = 0.5
READS_LATE_S = 1.0
"""How much later than it came somebody in this busy process may read a line."""


@pytest.fixture
async def deploy(processes_end):
    """Starts a deployment with the test's own flags; no gateway's log may hold a traceback."""
    made = []

    async def start(*flags):
        made.append(await Deployment.start(*flags))
        return made[-1]

    yield start
    blemishes = [blemish for deployment in made for blemish in deployment.blemishes()]
    for deployment in made:
        await deployment.close()
    assert not blemishes


class Caller:
    """Somebody who calls again whenever the line is cut, and takes up the old name.

    Each stay is a record of its own, as the checker wants it.
    """

    def __init__(self, name, port, *, talks=True):
        self.name = name
        self.port = port
        self.talks = talks
        self.person = None
        self.stays = []
        self.cut_at = []
        self.back_at = []
        self.here = asyncio.Event()
        self._quiet = asyncio.Event()
        self._numbers = itertools.count(1)
        self._life = asyncio.create_task(self._live())

    @property
    def record(self):
        return self.stays[-1][1]

    async def _live(self):
        while not self._quiet.is_set():
            await self._come()
            await self._stay()
            if not self._quiet.is_set():
                self.cut_at.append(time.monotonic())

    async def _come(self):
        record = Record(self.name, asked_at=0.0, joined_at=0.0)
        while True:
            self.person = await Person.dial(self.port, self.name)
            with contextlib.suppress(AssertionError):  # hung up on before it was in
                record.asked_at = time.monotonic()
                await self._give_name()
                break
            self.person.abort()
            await asyncio.sleep(0.1)
        record.joined_at = time.monotonic()
        self.stays.append((self.person, record))
        self.back_at.append(record.joined_at)
        self.here.set()

    async def _give_name(self):
        """Until it is welcome: a ghost of oneself may still hold the name."""
        person = self.person
        while not (line := await person.next_line(20)).startswith("* welcome"):
            if line == PROMPT:
                await asyncio.sleep(0.1)
                await person.say(self.name)
        await person.barrier(20)

    async def _stay(self):
        while not (self.person.hung_up or self._quiet.is_set()):
            if self.talks and RESTARTING not in self.person.untaken:
                await self._say()
            with contextlib.suppress(AssertionError):
                done = asyncio.create_task(self._quiet.wait())
                gone = asyncio.create_task(self.person.until(self._is_over, TALK_EVERY_S, "end"))
                await asyncio.wait({done, gone}, return_when=asyncio.FIRST_COMPLETED)
                done.cancel()
                if not gone.done():
                    gone.cancel()
                await asyncio.gather(done, gone, return_exceptions=True)
        if self.person.hung_up:
            # What it had said in the last moment may not have been taken any more.
            self.record.ended_at, self.record.ending = self._ended_at(), "died"
            self.here.clear()

    def _ended_at(self):
        """Before what ended the stay: of a gateway that drains, before it said so."""
        lines = self.person.lines
        if RESTARTING not in lines:
            return time.monotonic()
        return self.person.heard_at[lines.index(RESTARTING)] - READS_LATE_S

    def _is_over(self):
        return self.person.hung_up

    async def _say(self, more=""):
        text = f"{next(self._numbers)} by {self.name}{more}"
        self.record.sent.append((time.monotonic(), text))
        await self.person.say(text)
        return f"{self.name}: {text}"

    async def last_words(self):
        """Stop talking and calling, and say one last line."""
        self._quiet.set()
        await self._life
        return await self._say(" at last")

    def close(self):
        self._life.cancel()
        for person, _ in self.stays:
            person.abort()

    def records(self):
        for person, record in self.stays:
            record.received = [line for line in person.lines if line != PROMPT]
        return [record for _, record in self.stays]


@pytest.fixture
async def call():
    """Makes callers who talk through a deployment's balancer, and come back when cut off."""
    made = []

    async def call(deployment, count, *, talks=True):
        made.extend(Caller(f"caller{n}", deployment.port, talks=talks) for n in range(count))
        for caller in made:
            await asyncio.wait_for(caller.here.wait(), 30)
        return made

    yield call
    for caller in made:
        caller.close()


class Bot:
    """A program in a room of its own kind, which says something all the time.

    The client library brings it back; what it hears and says is to be whole all the same.
    """

    def __init__(self, name):
        self.name = name
        self.heard = []
        self.said = {}
        self.losses = 0
        self.gaps = 0
        self.talks = True
        self.here = asyncio.Event()
        self.silent = asyncio.Event()
        self.tasks = []

    async def live(self, port, others):
        async with connect("127.0.0.1", port, name=self.name, room="bots") as chat:
            self.tasks.append(asyncio.create_task(self._listen(chat)))
            self.here.set()
            for other in others:
                await other.here.wait()
            for number in itertools.count(1):
                if not self.talks:
                    break
                text = f"{number} by {self.name}"
                self.said[text] = await chat.say(text)
                await asyncio.sleep(0.05)
            self.silent.set()
            for other in others:
                await other.silent.wait()
            due = {text for other in others for text in other.said}
            await eventually(lambda: due <= set(self.heard), 20, f"{self.name} has heard all")

    async def _listen(self, chat):
        async for event in chat:
            if isinstance(event, Message):
                self.heard.append(event.text)
            self.losses += isinstance(event, Lost)
            self.gaps += isinstance(event, Missed)


async def all_said_and_heard(bots):
    """Each bot heard what all others said, in the order of the log, and nothing twice."""
    for bot in bots:
        bot.talks = False
    await asyncio.gather(*(bot.tasks[0] for bot in bots))
    offsets = [offset for bot in bots for offset in bot.said.values()]
    assert len(set(offsets)) == len(offsets) > 100
    for bot in bots:
        others = {text: at for other in bots if other is not bot for text, at in other.said.items()}
        assert bot.heard == sorted(others, key=others.__getitem__)
        assert bot.gaps == 0
        assert bot.losses > 0


async def settle(callers):
    """Everybody has heard the last line of everybody else."""
    last = {caller: await caller.last_words() for caller in callers}
    for caller in callers:
        wanted = {line for other, line in last.items() if other is not caller}
        person = caller.person
        with contextlib.suppress(AssertionError):  # the checker will say what is missing
            await person.until(lambda p=person, w=wanted: w <= set(p.lines[-500:]), 20, "the end")


def findings(callers):
    return check([record for caller in callers for record in caller.records()])


async def test_addresses_arrive_and_connections_spread(deploy):
    """The logs know the real address, and no gateway gets more than its share."""
    deployment = await deploy()
    # From one address: where somebody comes from does not decide where they go.
    talkers = [await deployment.newcomer() for _ in range(9)]
    assert deployment.connections() == [3, 3, 3]
    # Whoever has the fewest gets the next ones: in turn it would be one for each.
    for person in talkers[::3]:
        person.abort()
    await eventually(
        lambda: sorted(deployment.connections()) == [0, 3, 3], 5, "one gateway is empty"
    )
    for _ in range(3):
        await deployment.newcomer()
    assert deployment.connections() == [3, 3, 3]
    hosts = [f"127.0.0.{number}" for number in range(11, 20)]
    for host in hosts:
        person = Person(host)
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda p=person: _Ear(p), "127.0.0.1", deployment.port, local_addr=(host, 0)
        )
        person._transport = transport
        deployment.people.append(person)
        await person.expect(PROMPT)
        await person.join(f"from-{host.rpartition('.')[2]}")
    for person in deployment.people:
        person.abort()

    def logged():
        ends = [end for each in deployment.gateways.values() for end in each.logged("closed")]
        return {end["peer"].rpartition(":")[0] for end in ends if end["name"]}

    await eventually(lambda: logged() == set(hosts), 10, "the logs have each address", logged)


async def test_who_comes_past_the_balancer_is_not_let_in(deploy):
    """Issue 6: only from ``--trusted-proxies``, never guessed."""
    deployment = await deploy()
    stranger = await Person.dial(deployment.places[0].port)
    deployment.people.append(stranger)
    await stranger.say("mallory")
    await stranger.ended()
    assert PROMPT not in stranger.lines


async def test_a_killed_gateways_people_are_on_another_one_within_seconds(deploy, call):
    deployment = await deploy(*RATES)
    callers = await call(deployment, 6)
    before = {caller: len(caller.stays) for caller in callers}
    deployment.gateways[1].kill()
    killed_at = time.monotonic()
    await eventually(lambda: sum(map(len, (c.cut_at for c in callers))) == 2, 5, "two are cut off")
    await eventually(lambda: all(c.here.is_set() for c in callers), 15, "all are back")
    cut = [caller for caller in callers if caller.cut_at]
    assert [len(caller.stays) - before[caller] for caller in cut] == [1, 1]
    # Asked for the name at once; the name itself is free when two beats were missed.
    assert max(caller.stays[-1][1].asked_at for caller in cut) - killed_at < 3
    assert max(caller.back_at[-1] for caller in cut) - killed_at < 10
    assert deployment.haproxy.up() == [2, 3]
    await settle(callers)
    found = findings(callers)
    assert not found, report(found)


async def test_a_rolling_restart_under_load_loses_nothing(deploy, call):
    """All three, one after the other, while people and bots talk and newcomers come."""
    deployment = await deploy(*RATES, "--drain-delay", "2.5", "--drain-timeout", "10")
    callers = await call(deployment, CALLERS)
    bots = [Bot(f"bot{number}") for number in range(6)]
    for bot in bots:
        others = [other for other in bots if other is not bot]
        bot.tasks.append(asyncio.create_task(bot.live(deployment.port, others)))
    turned_away = []
    coming = asyncio.create_task(newcomers(deployment.port, turned_away))
    for place in deployment.places:
        gateway = deployment.gateways[place.number]
        gateway.terminate()
        assert await gateway.ended(20) == 0, gateway.output
        await deployment.launch(place).wait_ready()
        await deployment.all_up()
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    assert not turned_away
    await eventually(lambda: all(c.here.is_set() for c in callers), 15, "all are back")
    cuts = [len(caller.cut_at) for caller in callers]
    assert sum(cuts) >= CALLERS, cuts
    told = [RESTARTING in person.lines for c in callers for person, _ in c.stays[:-1]]
    assert all(told), f"{told.count(False)} of {len(told)} were not told"
    # No ghosts: who comes back at once is not refused for being there still.
    away = [back - cut for c in callers for cut, back in zip(c.cut_at, c.back_at[1:], strict=True)]
    assert max(away) < 2, away
    await all_said_and_heard(bots)
    await settle(callers)
    found = findings(callers)
    assert not found, report(found)


async def newcomers(port, turned_away):
    """Somebody new all the time; each is asked for a name within two seconds."""
    while True:
        started = time.monotonic()
        try:
            person = await Person.dial(port)
            await person.expect(PROMPT, timeout=2)
            person.abort()
        except (OSError, AssertionError) as error:
            turned_away.append(f"after {time.monotonic() - started:.2f} s: {error}")
        await asyncio.sleep(0.05)


async def test_readiness_follows_redis_and_nobody_is_cut_off(deploy, call):
    """A stopped Redis makes every gateway not ready; sessions stay, and newcomers wait."""
    deployment = await deploy(*RATES)
    callers = await call(deployment, 3, talks=False)
    deployment.redis.stop()
    await eventually(lambda: deployment.haproxy.up() == [], 15, "HAProxy finds none ready")
    for place in deployment.places:
        status, why = get(place.admin_port, "/readyz")
        assert status == 503
        assert "redis" in why.lower()
        assert get(place.admin_port, "/healthz")[0] == 200
    newcomer = await deployment.newcomer()
    await newcomer.say("patient")
    await fault_lasts(2)
    deployment.redis.cont()
    await deployment.all_up()
    await newcomer.until(
        lambda: any(line.startswith("* welcome") for line in newcomer.lines), 20, "the welcome"
    )
    await settle(callers)
    assert [caller.cut_at for caller in callers] == [[], [], []]
    for caller in callers:
        assert "patient joined the chat" in caller.person.lines


async def test_a_configuration_is_reloaded_without_cutting_anybody(deploy):
    """No ``hard-stop-after``: the old HAProxy stays until its last session ends."""
    deployment = await deploy()
    alice = await deployment.join("alice")
    # The new one takes the port over as systemd's unit has it done: -sf OLD.
    old = deployment.haproxy
    new = type(old)(deployment.places)
    new.port, new.stats_port = old.port, old.stats_port
    new.environment = old.environment
    binary = old.child.args[0]
    new.spawn(binary, "-db", "-f", old.child.args[-1], "-sf", str(old.pid))
    deployment.haproxy = new
    try:
        await eventually(lambda: "Proxy chat stopped" in old.output, 10, "the old one lets go")
        await deployment.all_up()
        bob = await deployment.join("bob")
        await alice.expect("bob joined the chat")
        await alice.say("still here")
        await bob.expect("alice: still here")
        assert old.running
        alice.abort()
        assert await old.ended(10) == 0
    finally:
        old.close()
