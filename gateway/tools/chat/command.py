"""``gateway chat``: which of the two clients it is, and how it ends."""

from __future__ import annotations

import asyncio
import getpass
import io
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable

from gateway.client import Chat, ChatError, NoChat, connect
from gateway.tools.chat.plain import Plain, complain

_FAILED = 1


async def run_chat(
    *, host: str, port: int, name: str, room: str, tls: ssl.SSLContext | None = None
) -> int:
    """Chat until stdin ends or the person leaves; the exit code.

    What went wrong is one line on stderr.
    """

    def dial(name: str) -> Chat:
        return connect(host, port, name=name, room=room, ssl=tls or False)

    try:
        if _on_a_terminal():
            await _run_screen(dial, name)
            return 0
        _write_what_can_be_written()
        return await Plain(dial(name or _login_name()), _stdin()).run()
    except ChatError as error:
        complain(error.text)
    except OSError as error:
        complain(f"cannot reach {host}:{port}: {_why(error)}")
    except ImportError as error:
        complain(f"{error.name} is not installed: pip install '.[chat]' in the checkout")
    return _FAILED


async def _run_screen(dial: Callable[[str], Chat], name: str) -> None:
    from gateway.tools.chat.past import history_path, open_history
    from gateway.tools.chat.screen import Screen

    screen = Screen(
        dial,
        open_history(history_path(os.environ)),
        # https://no-color.org: when present and not empty, whatever its value.
        colours=not os.environ.get("NO_COLOR"),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Or the terminal would stay as the screen had set it.
        loop.add_signal_handler(number, screen.leave)
    await screen.run(name, _login_name())


def _on_a_terminal() -> bool:
    if os.environ.get("TERM") == "dumb":
        return False
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))


def _write_what_can_be_written() -> None:
    """A letter that the encoding of stdout does not have is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _stdin() -> int:
    """Its descriptor; that of an empty file if it was closed."""
    return sys.stdin.fileno() if sys.stdin else os.open(os.devnull, os.O_RDONLY)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return "guest"


def _why(error: OSError) -> str:
    if isinstance(error, NoChat):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, TimeoutError):
        return "no answer"
    # asyncio puts several attempts into one error without a number.
    return os.strerror(error.errno) if error.errno else "nobody answers there"
