"""``gateway chat``: which of the two clients it is, and how it ends."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
import sys

from gateway.chat.text import clean_line
from gateway.client import Chat, ChatError, connect

_FAILED = 1


async def run_chat(*, host: str, port: int, name: str, room: str) -> int:
    """Chat until stdin ends or the person leaves; the exit code.

    What went wrong is one line on stderr.
    """
    try:
        if _on_a_terminal():
            return await _run_screen(host, port, name, room)
        from gateway.tools.chat.plain import Plain

        chat = connect(host, port, name=name or _login_name(), room=room)
        return await Plain(chat, _stdin()).run()
    except ChatError as error:
        return _complain(error.text)
    except OSError as error:
        return _complain(f"cannot reach {host}:{port}: {_why(error)}")
    except ImportError as error:
        return _complain(f"{error.name} is not installed: pip install 'chat-gateway[chat]'")


async def _run_screen(host: str, port: int, name: str, room: str) -> int:
    from gateway.tools.chat.past import history_path, open_history
    from gateway.tools.chat.screen import Screen

    def dial(name: str) -> Chat:
        return connect(host, port, name=name, room=room)

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
    return 0


def _on_a_terminal() -> bool:
    if os.environ.get("TERM") == "dumb":
        return False
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))


def _stdin() -> int:
    """Its descriptor; that of an empty file if it was closed."""
    return sys.stdin.fileno() if sys.stdin else os.open(os.devnull, os.O_RDONLY)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return "guest"


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, TimeoutError):
        return "no answer"
    # asyncio puts several attempts into one error without a number.
    return os.strerror(error.errno) if error.errno else "nobody answers there"


def _complain(text: str) -> int:
    print(f"gateway chat: {clean_line(text)}", file=sys.stderr, flush=True)
    return _FAILED
