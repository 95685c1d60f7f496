"""``deploy/README.md``, "On one machine": what stands there is done, and people talk.

The commands are run as they are written, only below another root; systemd's part is played
by the test, which starts with the installed files what it would start.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from deployment import DEPLOY, REPOSITORY, Haproxy, lasting_port, tool
from people import Person
from processes import GatewayProcess, RealRedis, eventually

ROOT = os.geteuid() == 0
PORTS = ("8080", "8404", "6379", *(f"{one}808{n}" for one in ("", "1") for n in (1, 2, 3)))
STUBS = {
    "apt-get": "",
    "systemctl": 'echo "$*" >> "$MACHINE/systemctl"',
    "nc": "",
    # As if "python3 -m venv" had been made, and everything installed.
    "python3": 'mkdir -p "$3/bin" && ln -s "$STUBS/apt-get" "$3/bin/pip"',
    # Without the owner, whom a laptop may not have.
    "install": 'exec /usr/bin/install $(printf "%s\\n" "$@" | sed "s/^-g$/-m/;s/^redis$/640/")',
}


def commands():
    readme = (DEPLOY / "README.md").read_text()
    (section,) = re.findall(r"^## On one machine\n(.*?)^## ", readme, re.M | re.S)
    return re.findall(r"^```\n(.*?)^```", section, re.M | re.S)[0]


class Machine:
    """A directory with ``etc``, ``opt`` and what was installed there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        stubs = directory / "stubs"
        for name in ("etc/redis", "etc/haproxy", "etc/default", "etc/systemd/system", "opt"):
            (directory / name).mkdir(parents=True)
        stubs.mkdir()
        for name, line in STUBS.items():
            (stubs / name).write_text(f"#!/bin/sh\n{line}\n")
            (stubs / name).chmod(0o755)
        script = re.sub(r"(?<=[ \n])/(?=etc/|opt/)", f"{directory}/", commands())
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=REPOSITORY,
            env=os.environ
            | {"MACHINE": str(directory), "STUBS": str(stubs)}
            | {"PATH": f"{stubs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        self.ports = {port: str(lasting_port()) for port in PORTS}
        for path in (directory / "etc").rglob("*"):
            if path.is_file() and path.name != "redis-password":
                path.write_text(self.elsewhere(path.read_text()))

    def elsewhere(self, text: str) -> str:
        """With ports that are free here, below this root, and with the rights that we have."""
        text = re.sub(r"\b\d{4,5}\b", lambda port: self.ports.get(port[0], port[0]), text)
        text = re.sub(r"(?<=[ =:\"])/(?=etc/)", f"{self.directory}/", text)
        text = text.replace("dir /var/lib/redis", f"dir {self.directory}")
        return text if ROOT else re.sub(r"^    (user|group|chroot) .*\n", "", text, flags=re.M)

    def read(self, path: str) -> str:
        return (self.directory / path).read_text()

    def environment(self, instance: str) -> dict[str, str]:
        """What systemd would give to a gateway: the files' variables count most."""
        unit = self.read("etc/systemd/system/gateway@.service")
        ((name, source),) = re.findall(r"^LoadCredential=(\S+):(\S+)$", unit, re.M)
        credentials = self.directory / f"credentials-{instance}"
        credentials.mkdir()
        (credentials / name).write_bytes(Path(source).read_bytes())
        pairs = shlex.split(" ".join(re.findall(r"^Environment=(.*)$", unit, re.M)))
        (file,) = re.findall(r"^EnvironmentFile=([^-].*)$", unit, re.M)
        pairs += re.findall(r"^[A-Z_]+=.*$", Path(file).read_text(), re.M)
        said = " ".join(pairs).replace("%i", instance).replace("%d", str(credentials))
        return dict(pair.split("=", 1) for pair in said.split())

    def restarted(self) -> list[str]:
        return self.read("systemctl").splitlines()


class InstalledRedis(RealRedis):
    """``redis-server /etc/redis/redis.conf``, as Debian's unit has it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.port = int(machine.ports["6379"])

    async def start(self, within_s: float = 10) -> InstalledRedis:
        binary = tool("redis-server", "apt-get install redis-server")
        self.spawn(binary, str(self.machine.directory / "etc/redis/redis.conf"))
        await eventually(lambda: "Ready to accept" in self.output, within_s, "Redis is ready")
        return self


class InstalledHaproxy(Haproxy):
    """``haproxy -W -f $CONFIG``, as Debian's unit has it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__([])
        self.port, self.stats_port = (int(machine.ports[port]) for port in ("8080", "8404"))
        # The ports that are the file's own defaults stay with it.
        self.environment = {
            "CHAT_BIND": f"127.0.0.1:{self.port}",
            "STATS_BIND": f"127.0.0.1:{self.stats_port}",
        }
        (self.config,) = re.findall(r'^CONFIG="(.*)"$', machine.read("etc/default/haproxy"), re.M)

    def start(self) -> InstalledHaproxy:
        haproxy = tool("haproxy", "apt-get install haproxy")
        self.spawn(haproxy, "-W", "-f", *self.config.split())
        return self

    def checked(self) -> list[int]:
        """The numbers of the gateways that said themselves that they are ready.

        Until the first answer HAProxy takes each of them to be up.
        """
        answers = [
            (int(name.removeprefix("gateway")), row["check_status"])
            for name, row in self.servers().items()
            if name.startswith("gateway")
        ]
        return [number for number, answer in answers if answer == "L7OK"]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()


@pytest.fixture
async def haproxy(processes_end, tmp_path):
    tool("haproxy", "apt-get install haproxy")
    tool("redis-server", "apt-get install redis-server")
    machine = Machine(tmp_path)
    haproxy = InstalledHaproxy(machine)
    haproxy.machine = machine
    yield haproxy
    if haproxy.running:
        haproxy.terminate()
        await haproxy.ended()


async def test_three_gateways_and_a_balancer_as_the_readme_installs_them(haproxy):
    machine = haproxy.machine
    assert machine.restarted() == [
        "restart redis-server",
        "daemon-reload",
        "enable --now gateway@8081 gateway@8082 gateway@8083",
        "restart haproxy",
    ]
    secret = machine.directory / "etc/chat-gateway/redis-password"
    assert secret.stat().st_mode & 0o777 == 0o400
    assert secret.read_text().strip() not in machine.read("etc/redis/redis.conf")
    redis = await InstalledRedis(machine).start()
    gateways = []
    for instance in ("8081", "8082", "8083"):
        gateway = GatewayProcess(f"gateway-{instance}")
        gateway.environment = machine.environment(machine.ports[instance])
        # Its admin port has a 1 before it, which need not be one that is free.
        assert gateway.environment["GATEWAY_ADMIN_PORT"] == f"1{machine.ports[instance]}"
        gateway.environment["GATEWAY_ADMIN_PORT"] = machine.ports[f"1{instance}"]
        gateway.spawn(str(tool("gateway", "make install")), "serve")
        gateways.append(gateway)
    for gateway in gateways:
        await gateway.wait_ready()
    haproxy.start()
    await eventually(
        lambda: haproxy.checked() == [1, 2, 3], 15, "HAProxy finds all", lambda: haproxy.output
    )
    if ROOT:
        assert [worker.username() for worker in haproxy.workers()] == ["haproxy"]
    alice, bob = await Person.connect(haproxy.port), await Person.connect(haproxy.port)
    await alice.join("alice")
    await bob.join("bob")
    await alice.expect("bob joined the chat")
    await alice.say("hi")
    await bob.expect("alice: hi")
    assert [len(gateway.logged("joined")) for gateway in gateways].count(1) == 2

    # One gateway less in the file, a reload, and nobody is cut.
    file = machine.directory / "etc/haproxy/gateways.cfg"
    file.write_text(re.sub(r"^ +setenv SERVER_3.*\n", "", file.read_text(), flags=re.M))
    haproxy.send(signal.SIGUSR2)
    await eventually(
        lambda: haproxy.checked() == [1, 2], 15, "two are left", lambda: haproxy.output
    )
    await alice.say("still here")
    await bob.expect("alice: still here")
    for person in (alice, bob):
        person.abort()
    assert redis.running
    assert [blemish for gateway in gateways for blemish in gateway.blemishes()] == []
