"""The URL of Redis, as it is given: what is wrong with it, and how it stays out of ``ps``.

Likewise the file with the password that belongs to it.

Nothing here connects, and nothing that is said here shows any of the URL.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.net.address import is_host

FLAG, VARIABLE = "--redis-url", "GATEWAY_REDIS_URL"


def problem_of(url: str) -> str:
    """What is wrong with ``url``, without a word of it; '' if nothing is."""
    if any(character.isspace() for character in url):
        return "white space in it must be %-encoded"
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return "not a redis://, rediss:// or unix:// URL"
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        no_port = parts.port is None
    except ValueError:
        return "no host and port to be read in it; in a password / ? # [ ] must be %-encoded"
    if parts.scheme == "unix":
        if parts.hostname or not no_port or not parts.path.strip("/"):
            return "a unix:// URL is unix:// and the socket's absolute path"
    elif not is_host(parts.hostname or "localhost"):
        return "what stands for its host is none"
    elif not re.fullmatch(r"(/[0-9]*)?", parts.path):
        # redis-py would silently use database 0.
        return "what follows the host and port is not a database number"
    return _problem_of_options(url)


def _problem_of_options(url: str) -> str:
    """Has redis-py make a connection, and not connect it: the options are looked at then."""
    from redis import asyncio as redis
    from redis.exceptions import RedisError

    try:
        pool: Any = redis.ConnectionPool.from_url(url)
        connection = pool.make_connection()
    except (ValueError, TypeError, RedisError):
        return "what follows the ? is not understood"
    if not isinstance(connection, redis.SSLConnection):
        return ""
    try:
        # Reads the files.  Otherwise each attempt to connect would fail, for ever.
        connection.ssl_context.get()
    except OSError as error:
        return _unreadable(url) or f"its files cannot be used: {error.strerror}"
    except (ValueError, RedisError):
        return "what follows the ? is not understood"
    return ""


def _unreadable(url: str) -> str:
    """Which of the files that ``url`` names can't be read, by its option."""
    for option, paths in parse_qs(urlsplit(url).query).items():
        if option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            try:
                with open(paths[0], "rb"):
                    pass
            except OSError as error:
                return f"{option}: {error.strerror}"
    return ""


def problem_of_password_file(url: str, path: str) -> str:
    """Why a password in a file cannot be meant for this ``url``; '' if it can, or is not given."""
    if path and not url:
        return f"a password for which Redis? Give {FLAG}, too (an embedded Redis has no password)"
    if path and _logs_in(url):
        return f"{FLAG} has a password, too: give it in one of them only"
    return ""


def has_password(url: str) -> bool:
    """Whether ``url`` holds what nobody else should read: a password, or that of a key."""
    return _logs_in(url) or "ssl_password" in parse_qs(urlsplit(url).query)


def _logs_in(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def without_flag(command: Sequence[str], url: str) -> list[str] | None:
    """``command`` without ``--redis-url`` and this ``url``; None if they are not in it."""
    left = list(command)
    for at in reversed(range(len(left))):
        if left[at] == f"{FLAG}={url}":
            del left[at]
        elif left[at : at + 2] == [FLAG, url]:
            del left[at : at + 2]
    return left if len(left) < len(command) else None


def command_line() -> list[str]:
    """Of this process, the interpreter's own options included."""
    return list(sys.orig_argv)
