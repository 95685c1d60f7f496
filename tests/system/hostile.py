"""Clients that cost a gateway all they can; a program of its own, so that only the gateway pays.

    python tests/system/hostile.py flooding 8080

Prints ``there`` when it is at it and ``done`` when all of it was done once,
and goes on until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import struct
from collections.abc import Awaitable, Callable

NAME = "hostile"
"""How the names begin of those who give one."""
SILENT, DRIBBLING, DEAF, RESETS = 300, 50, 10, 1000
BYTE_EVERY_S = 0.02
LONG_LINE_BYTES = 100_000_000
CHUNK = b"x" * 65_536
RESETS_AT_ONCE = 50
RESET_EVERY_S = 0.05
ASKS_AT_ONCE, ASK_EVERY_S = 45, 0.1
ASK = b"/help " + b"x" * 4000 + b"\n"
"""What is told to the asker alone, and as long as what it asked: two seconds of it fill a SendQ."""


def say(word: str) -> None:
    print(word, flush=True)


async def connect(port: int, name: str = "", *, takes_bytes: int = 0) -> socket.socket:
    """A connection that gave its name, if it has one.  Nothing was read from it."""
    connection = socket.socket()
    connection.setblocking(False)
    if takes_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes_bytes)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    if name:
        await loop.sock_sendall(connection, f"{name}\n".encode())
    return connection


async def read_until(connection: socket.socket, wanted: bytes) -> None:
    """Take bytes up to ``wanted``, and maybe more."""
    tail = b""
    while wanted not in tail:
        read = await asyncio.get_running_loop().sock_recv(connection, 65_536)
        if not read:
            raise ConnectionResetError(f"hung up on before {wanted!r}")
        tail = tail[-len(wanted) :] + read


async def for_ever() -> None:
    await asyncio.Event().wait()


async def silent(port: int) -> None:
    """Connections that never send anything."""
    connections = await asyncio.gather(*(connect(port) for _ in range(SILENT)))
    await asyncio.gather(*(read_until(connection, b"name") for connection in connections))
    say("there")
    say("done")
    await for_ever()


async def dribbling(port: int) -> None:
    """Connections that write a byte at a time: names first, then lines."""
    loop = asyncio.get_running_loop()
    connections = await asyncio.gather(*(connect(port) for _ in range(DRIBBLING)))

    async def dribble(connection: socket.socket, number: int) -> None:
        lines = (f"line {count}\n" for count in itertools.count())
        for line in itertools.chain([f"{NAME}{number}\n"], lines):
            for byte in line.encode():
                await loop.sock_sendall(connection, bytes([byte]))
                await asyncio.sleep(BYTE_EVERY_S)

    dribble_all = [
        asyncio.create_task(dribble(each, number)) for number, each in enumerate(connections)
    ]
    say("there")
    await asyncio.gather(*(read_until(each, b"* welcome") for each in connections))
    say("done")
    await asyncio.gather(*dribble_all)


async def endless_line(port: int) -> None:
    """One line of 100 MB, after which the connection is as good as any other."""
    loop = asyncio.get_running_loop()
    connection = await connect(port, NAME)
    say("there")
    for _ in range(LONG_LINE_BYTES // len(CHUNK)):
        await loop.sock_sendall(connection, CHUNK)
    await loop.sock_sendall(connection, b"\n/who\n")
    await read_until(connection, b" in lobby: ")
    say("done")
    await for_ever()


async def flooding(port: int) -> None:
    """One connection that is written to as fast as it takes bytes."""
    loop = asyncio.get_running_loop()
    connection = await connect(port, NAME)
    numbers = itertools.count()
    say("there")
    full = False
    while True:
        lines = b"".join(b"flood %d\n" % number for number in itertools.islice(numbers, 4096))
        writing = asyncio.ensure_future(loop.sock_sendall(connection, lines))
        finished, _ = await asyncio.wait((writing,), timeout=0.1)
        if not finished and not full:
            full = True
            say("done")  # every buffer on the way is full
        await writing


async def deaf(port: int) -> None:
    """People who ask for much and read none of it, until they are cut off."""
    loop = asyncio.get_running_loop()
    connections = [
        await connect(port, f"{NAME}{number}", takes_bytes=4096) for number in range(DEAF)
    ]
    say("there")

    async def ask(connection: socket.socket) -> None:
        try:
            while True:
                await loop.sock_sendall(connection, ASK * ASKS_AT_ONCE)
                await asyncio.sleep(ASK_EVERY_S)
        except ConnectionError:
            return

    await asyncio.gather(*(ask(connection) for connection in connections))
    say("done")
    await for_ever()


async def resetting(port: int) -> None:
    """A thousand connections a second that are reset as soon as they are there."""
    reset_on_close = struct.pack("ii", 1, 0)
    for count in itertools.count(1):
        for connection in await asyncio.gather(*(connect(port) for _ in range(RESETS_AT_ONCE))):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
            connection.close()
        if count == 1:
            say("there")
        if count * RESETS_AT_ONCE == RESETS:
            say("done")
        await asyncio.sleep(RESET_EVERY_S)


ATTACKS: dict[str, Callable[[int], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (silent, dribbling, endless_line, flooding, deaf, resetting)
}


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("attack", choices=ATTACKS)
    options.add_argument("port", type=int)
    chosen = options.parse_args()
    os.nice(5)  # from another machine it would not take the gateway's processor either
    await ATTACKS[chosen.attack](chosen.port)


if __name__ == "__main__":
    asyncio.run(main())
