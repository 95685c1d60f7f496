"""``gateway chat`` where there is no terminal: it pipes."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest
import trustme
from cluster import Cluster
from front_port import FrontPort
from processes import REPOSITORY


async def chat(
    port: int, *arguments: str, stdin: bytes | int = b"", **environment: str
) -> tuple[int, str, str]:
    """Run it to its end: exit code, stdout, stderr."""
    argv = ("-m", "gateway", "chat", f"localhost:{port}", *arguments)
    source = PIPE if isinstance(stdin, bytes) else stdin
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *argv),
        stdin=source,
        stdout=PIPE,
        stderr=PIPE,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin if isinstance(stdin, bytes) else None)
    return process.returncode or 0, out.decode(), err.decode()


async def test_lines_of_stdin_are_said_and_it_ends_when_all_are(gateway: Cluster):
    (bob,) = await gateway.join("bob")
    text = "one\n\n//two\n/me three\nчетыре 四 🙂\nfive".encode()
    code, out, err = await chat(gateway.gateways[0].port, "--name", "alice", stdin=text)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("* welcome to lobby, alice; 2 people are here")
    said = ["alice: one", "alice: /two", "** alice three", "alice: четыре 四 🙂", "alice: five"]
    await bob.expect("alice joined the chat", *said, "alice has left the chat")


async def test_a_file_is_said_too(gateway: Cluster, tmp_path):
    (bob,) = await gateway.join("bob")
    path = tmp_path / "lines"
    path.write_text("".join(f"line {number}\n" for number in range(120)))
    with path.open("rb") as file:
        code, _, err = await chat(gateway.gateways[0].port, "--name", "alice", stdin=file.fileno())
    assert (code, err) == (0, "")
    await bob.expect("alice joined the chat", *(f"alice: line {number}" for number in range(120)))


async def test_what_is_heard_looks_as_on_nc(gateway: Cluster):
    (bob,) = await gateway.join("bob")
    port = gateway.gateways[0].port
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "chat", f"localhost:{port}", "--name", "alice"),
        stdin=PIPE,
        stdout=PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin
    assert process.stdout
    await bob.expect("alice joined the chat")
    process.stdin.write(b"/who\n/nick ann\n/help quit\n")
    await bob.expect("alice is now known as ann")
    await bob.say("hi", "/me waves", "/msg ann psst")
    heard: list[str] = []
    async with asyncio.timeout(20):
        while len(heard) < 8:
            heard.append((await process.stdout.readline()).decode().rstrip("\n"))
            if len(heard) == 7:
                await bob.say("/nick Bob2")
        process.stdin.close()
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 0
    told = [line for line in heard if line.startswith("* ")]
    assert told[0].startswith("* welcome to lobby, alice; 2 people")
    assert set(told[1:]) == {
        "* 2 in lobby: alice, bob",
        "* you are now known as ann",
        "* /quit   leave the chat",
    }
    others = [line for line in heard if line not in told]
    # A private line is in no room, and has no place among the room's.
    others.remove("bob (private): psst")
    assert others == ["bob: hi", "** bob waves", "bob is now known as Bob2"]
    assert rest == "* bye\n"


async def test_each_line_that_was_refused_is_told_and_makes_the_exit_code_1(gateway: Cluster):
    """README: lines of stdin are said, and the exit code is 1 if a line was refused."""
    (bob,) = await gateway.join("bob")
    lines = b"/msg carol hi\n/etc/passwd is a file\n/me\ncaf\xe9\nok\n"
    code, out, err = await chat(gateway.gateways[0].port, "--name", "alice", stdin=lines)
    assert code == 1
    assert sorted(err.splitlines()) == [
        "gateway chat: line 1: carol is not here",
        "gateway chat: line 2: unknown command: /etc/passwd, did you mean /help?",
        "gateway chat: line 3: usage: /me TEXT",
        "gateway chat: line 4: that line was not UTF-8, not sent",
    ]
    assert [line.split(",")[0] for line in out.splitlines()] == ["* welcome to lobby", "* bye"]
    await bob.expect("alice joined the chat", "alice: ok", "alice has left the chat")
    for line in (b"/nobody\n", b"/who a b\n", b"\xff\n"):
        code, _, err = await chat(gateway.gateways[0].port, "--name", "alice", stdin=line)
        assert (code, len(err.splitlines())) == (1, 1)


async def test_a_letter_that_stdout_does_not_have_is_no_reason_to_end(gateway: Cluster):
    await gateway.join("bob")
    settings = {"PYTHONIOENCODING": "ascii", "GATEWAY_NAME": "alice"}
    port = gateway.gateways[0].port
    code, out, err = await chat(port, stdin="/msg bob привет\n".encode(), **settings)
    assert (code, err) == (0, "")
    assert "* to bob: ??????\n" in out


async def test_it_comes_over_tls(start_cluster, tmp_path):
    """``--tls --ca FILE``: a certificate of an authority made here."""
    authority, both, ca = trustme.CA(), tmp_path / "both.pem", tmp_path / "ca.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(ca)
    port = (await start_cluster(1, "--tls-cert", str(both))).gateways[0].port
    code, out, err = await chat(port, "--name", "alice", "--tls", "--ca", str(ca), stdin=b"hi\n")
    assert (code, err) == (0, "")
    assert out.startswith("* welcome to lobby, alice")
    for flags, why in [
        (("--tls",), "its certificate is not to be trusted: "),
        ((), "what listens there closes without a word (is it TLS?)"),
    ]:
        code, out, err = await chat(port, "--name", "alice", *flags)
        assert (code, out) == (1, "")
        assert err.startswith(f"gateway chat: cannot reach localhost:{port}: {why}")
        assert len(err.splitlines()) == 1


async def test_tls_to_a_gateway_without_it_is_one_line(gateway: Cluster):
    port = gateway.gateways[0].port
    code, out, err = await chat(port, "--name", "alice", "--tls")
    assert (code, out) == (1, "")
    assert err == f"gateway chat: cannot reach localhost:{port}: it does not speak TLS\n"


async def test_a_reader_that_goes_ends_it_quietly(gateway: Cluster):
    (bob,) = await gateway.join("bob")
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "chat", f"localhost:{gateway.gateways[0].port}"),
        *("--name", "alice"),
        stdin=PIPE,
        stdout=writing,
        stderr=PIPE,
        cwd=REPOSITORY,
    )
    os.close(writing)
    await bob.expect("alice joined the chat")
    os.close(reading)
    await bob.say("anybody?")
    async with asyncio.timeout(20):
        assert process.stderr
        assert await process.stderr.read() == b""
        assert await process.wait() == 0
    await bob.expect("alice has left the chat")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--name", "bob"), "gateway chat: bob is taken, choose another name"),
        (("--name", "a b"), "gateway chat: a name may hold only letters"),
        (("--name", "ok", "--room", "a b"), "gateway chat: a room's name may hold only letters"),
    ],
)
async def test_no_entrance_is_one_line_and_exit_code_1(gateway: Cluster, arguments, complaint):
    await gateway.join("bob")
    code, out, err = await chat(gateway.gateways[0].port, *arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(complaint)


async def test_lines_survive_the_death_of_a_gateway(processes_end):
    """Issue 5: unsent lines are kept and sent once."""
    front = await FrontPort.start(2)
    argv = (sys.executable, "-m", "gateway", "chat", f"localhost:{front.port}")
    alice, bob = [
        await asyncio.create_subprocess_exec(
            *argv, "--name", name, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=REPOSITORY
        )
        for name in ("alice", "bob")
    ]
    try:
        assert alice.stdin and bob.stdin and alice.stdout and bob.stdout  # noqa: PT018
        async with asyncio.timeout(60):
            await alice.stdout.readline()
            await bob.stdout.readline()
            for number in range(60):
                alice.stdin.write(f"{number}\n".encode())
                if number == 20:
                    front.gateway_of("alice").kill()
            alice.stdin.close()
            heard: list[str] = []
            while "alice has left the chat" not in heard:
                heard.append((await bob.stdout.readline()).decode().rstrip("\n"))
            said = [line for line in heard if line.startswith("alice: ")]
            assert said == [f"alice: {number}" for number in range(60)]
            assert await alice.wait() == 0
            assert alice.stderr
            lost, again = (await alice.stderr.read()).decode().splitlines()
            assert lost.startswith("gateway chat: the connection is lost (")
            assert again == "gateway chat: connected again, in lobby as alice"
            bob.stdin.close()
            await bob.wait()
    finally:
        front.close()
