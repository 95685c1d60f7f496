"""TLS towards clients and towards Redis, with real certificates of an authority made here."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Self
from urllib.parse import quote

import processes
import pytest
import trustme
from cluster import Cluster
from operators import Operator, status
from people import NcPerson, Person
from processes import GatewayProcess, RealRedis, eventually

CA = trustme.CA()
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080\r\n"


class Files:
    """A certificate and its key in two files."""

    def __init__(self, directory: Path, *, authority: trustme.CA = CA) -> None:
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.renew(authority)

    def renew(self, authority: trustme.CA = CA) -> None:
        issued = authority.issue_cert("127.0.0.1", "gateway.example")
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    @property
    def flags(self) -> tuple[str, ...]:
        return "--tls-cert", str(self.cert), "--tls-key", str(self.key)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def trusting(authority: trustme.CA = CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TlsPerson(Person):
    """Somebody with a TLS client."""

    context = trusting()

    @classmethod
    async def dial(cls, port: int, name: str = "", *, end: str = "\n") -> Self:
        person = await super().dial(port, name, end=end)
        await person.secure()
        return person

    async def secure(self) -> None:
        assert self._transport is not None
        self._transport = await asyncio.get_running_loop().start_tls(
            self._transport,
            self._transport.get_protocol(),
            self.context,
            server_hostname="gateway.example",
        )

    @property
    def serial(self) -> str:
        """Which certificate it was shown."""
        assert self._transport is not None
        return str(self._transport.get_extra_info("peercert")["serialNumber"])


class TlsPersonBehindProxy(TlsPerson):
    async def secure(self) -> None:
        self.send(HEADER)
        await super().secure()


async def test_people_talk_over_tls(start_cluster, files):
    cluster = await start_cluster(1, *files.flags)
    alice, bob = await cluster.newcomer(TlsPerson), await cluster.newcomer(TlsPerson)
    await cluster.welcome(alice, "alice")
    await cluster.welcome(bob, "bob")
    await alice.say("hi", "x" * 4000)
    await bob.expect("alice: hi", "alice: " + "x" * 4000)
    alice.close()
    await bob.expect("alice has left the chat")
    await bob.leave()


SAY_AND_END = {
    "openssl": "openssl s_client -connect 127.0.0.1:{port} -no_ign_eof",
    "ncat": "ncat --ssl 127.0.0.1 {port}",
    "socat": "socat - openssl:127.0.0.1:{port},verify=0",
    "python's unwrap": f"{sys.executable} -c '{{python}}s.unwrap()'",
    "python's close": f"{sys.executable} -c '{{python}}s.close()'",
}
PYTHON = """
import socket, ssl, sys
s = ssl._create_unverified_context().wrap_socket(socket.create_connection(("127.0.0.1", {port})))
s.sendall(sys.stdin.buffer.read())
"""


@pytest.mark.parametrize("client", SAY_AND_END)
async def test_what_was_said_before_the_end_is_said(start_cluster, files, client):
    """DESIGN 1: plain nc is a first-class client; so is its kin.  Three times of --burst."""
    if not shutil.which(client.split()[0]) and "python" not in client:
        pytest.skip(f"no {client}")
    cluster = await start_cluster(1, *files.flags, "--rate", "100")
    bob = await cluster.newcomer(TlsPerson)
    await cluster.welcome(bob, "bob")
    port = cluster.gateways[0].port
    command = SAY_AND_END[client].format(port=port, python=PYTHON.format(port=port))
    lines = "".join(f"line {number}\n" for number in range(120))
    await asyncio.to_thread(
        subprocess.run,
        shlex.split(command),
        input=f"alice\n{lines}".encode(),
        capture_output=True,
        timeout=30,
    )
    await bob.expect("alice joined the chat")
    heard = await bob.hear("alice has left the chat")
    assert heard == [f"alice: line {number}" for number in range(120)]


async def test_a_person_without_tls_is_told_what_the_port_speaks(start_cluster, files):
    cluster = await start_cluster(1, *files.flags, "--admin-port", "0")
    nora = await NcPerson.dial(cluster.gateways[0].port)
    await nora.say("nora")
    await nora.expect("* this port speaks TLS, please come back with a client that does")
    nora.finish()
    assert await nora.ended() == []
    await nora.gone()
    await Operator(cluster.gateways[0]).until("gateway_connections_refused_total{tls_handshake}", 1)
    alice = await cluster.newcomer(TlsPerson)
    await cluster.welcome(alice, "alice")


async def test_tls_comes_after_the_proxy_header(start_cluster, files):
    cluster = await start_cluster(1, "--proxy-protocol", *files.flags)
    alice = await cluster.newcomer(TlsPersonBehindProxy)
    await cluster.welcome(alice, "alice")
    await alice.leave()
    gateway = cluster.gateways[0]
    (entry,) = await eventually(lambda: gateway.logged("closed"), 5, "the end in the log")
    assert entry["peer"] == "192.0.2.7:5123"


async def test_a_new_certificate_is_taken_on_sighup_and_nobody_is_dropped(start_cluster, files):
    cluster = await start_cluster(1, "--admin-port", "0", *files.flags)
    gateway = cluster.gateways[0]
    operator = Operator(gateway)
    alice = await cluster.newcomer(TlsPerson)
    await cluster.welcome(alice, "alice")
    files.renew()
    gateway.send(signal.SIGHUP)
    await operator.until("gateway_tls_reloads_total{ok}", 1)
    bob = await cluster.newcomer(TlsPerson)
    await cluster.welcome(bob, "bob")
    assert bob.serial != alice.serial
    await alice.say("still here")
    await bob.expect("alice: still here")
    assert (await operator.metrics())["gateway_tls_certificate_expiry_timestamp_seconds"] > 0


async def test_a_bad_new_certificate_is_logged_and_the_old_one_stays(start_cluster, files):
    cluster = await start_cluster(1, "--admin-port", "0", *files.flags)
    gateway = cluster.gateways[0]
    alice = await cluster.newcomer(TlsPerson)
    await cluster.welcome(alice, "alice")
    files.cert.write_text("half a certificate")
    gateway.send(signal.SIGHUP)
    await Operator(gateway).until("gateway_tls_reloads_total{failed}", 1)
    (entry,) = [entry for entry in gateway.log if entry["level"] == "error"]
    assert "cert.pem" in entry["error"]
    bob = await cluster.newcomer(TlsPerson)
    await cluster.welcome(bob, "bob")
    assert bob.serial == alice.serial


async def test_without_a_certificate_sighup_changes_nothing(start_cluster):
    """So that ``systemctl reload`` never ends a gateway."""
    cluster = await start_cluster(1)
    (alice,) = await cluster.join("alice")
    cluster.gateways[0].send(signal.SIGHUP)
    await alice.barrier()
    cluster.gateways[0].terminate()
    assert await cluster.gateways[0].ended() == 0


async def test_a_bad_certificate_at_the_start_is_one_line_and_exit_code_2(tmp_path, processes_end):
    files = Files(tmp_path)
    files.key.unlink()
    gateway = GatewayProcess().launch("redis://127.0.0.1:1/0", *files.flags)
    assert await gateway.ended() == 2
    (line,) = gateway.output.splitlines()
    assert "key.pem" in line


async def test_the_drain_flushes_tls_too(start_cluster, files):
    cluster = await start_cluster(1, *files.flags)
    alice = await cluster.newcomer(TlsPerson)
    await cluster.welcome(alice, "alice")
    cluster.gateways[0].terminate()
    await alice.expect("* this gateway is restarting, please reconnect")
    await alice.ended()
    assert await cluster.gateways[0].ended() == 0


class SecureRedis(RealRedis):
    """Wants TLS with a client certificate on ``secure_port``; the plain one is for the test."""

    def __init__(self, files: Files, authority: Path, *options: str) -> None:
        self.secure_port = processes.free_port()
        super().__init__(
            *("--tls-port", str(self.secure_port), "--tls-auth-clients", "yes"),
            *("--tls-cert-file", str(files.cert), "--tls-key-file", str(files.key)),
            *("--tls-ca-cert-file", str(authority)),
            *options,
        )
        self.query = f"ssl_ca_certs={authority}&ssl_certfile={files.cert}&ssl_keyfile={files.key}"

    def users(self) -> set[str]:
        """As whom each connection over TLS is logged in."""
        clients = str(self.cli("client", "list")).splitlines()
        words = [dict(word.partition("=")[::2] for word in line.split()) for line in clients]
        at = f":{self.secure_port}"
        return {each["user"] for each in words if each["laddr"].endswith(at)}


PASSWORD = "p/w:d@% with everything"


@pytest.fixture
async def secure_redis(monkeypatch, tmp_path, files, processes_end):
    binary = shutil.which("redis-server")
    if not binary:
        pytest.skip("no redis-server with TLS")
    monkeypatch.setattr(processes, "redis_binary", lambda: binary)
    authority = tmp_path / "authority.pem"
    CA.cert_pem.write_to_path(authority)
    # A password with blanks can't be said on the command line.
    redis = SecureRedis(files, authority, "--save", "")
    await redis.start()
    redis.cli("acl", "setuser", "gateway", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    return redis


@pytest.mark.parametrize("by_file", [False, True], ids=["in the URL", "in a file"])
async def test_redis_over_tls_with_a_client_certificate_and_a_user(secure_redis, tmp_path, by_file):
    """All connections, the subscription's own included."""
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    login = "gateway@" if by_file else f"gateway:{quote(PASSWORD, safe='')}@"
    url = f"rediss://{login}127.0.0.1:{secure_redis.secure_port}/2?{secure_redis.query}"
    flags = ("--redis-password-file", str(password)) if by_file else ()
    secure_redis.url = url
    cluster = Cluster(secure_redis, flags)
    await cluster.grow(2)
    alice, bob = await cluster.join("alice", "bob")
    await alice.say("hi")
    await bob.expect("alice: hi")
    assert secure_redis.users() == {"gateway"}
    report = await status(url, *flags)
    assert cluster.gateways[0].logged("ready")[0]["gateway"] in report.stdout
    for gateway in cluster.gateways:
        assert PASSWORD not in gateway.output
        assert quote(PASSWORD, safe="") not in gateway.output
    assert not cluster.blemishes()
    await cluster.close()


async def test_a_redis_that_cannot_be_trusted_is_not_used(secure_redis, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    query = secure_redis.query.replace("authority.pem", "other.pem")
    url = f"rediss://gateway:secret@127.0.0.1:{secure_redis.secure_port}/0?{query}"
    gateway = GatewayProcess().launch(url)
    await eventually(lambda: "certificate verify failed" in gateway.output, 15, "a complaint")
    assert "secret" not in gateway.output
    assert not gateway.logged("ready")


async def test_a_password_file_that_is_not_there_is_one_line_and_exit_code_2(
    tmp_path, processes_end
):
    path = str(tmp_path / "nowhere")
    gateway = GatewayProcess().launch("redis://127.0.0.1:1/0", "--redis-password-file", path)
    assert await gateway.ended() == 2
    (line,) = gateway.output.splitlines()
    assert "nowhere: No such file" in line
