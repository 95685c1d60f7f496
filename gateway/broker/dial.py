"""How Redis is reached: what its URL and the password's file say, with every wait bounded."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import redis.asyncio as redis_asyncio
from redis.asyncio import ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from gateway.config import Config, SettingsError

Link = TypeVar("Link", bound=asyncio.Protocol)


def keepalive_options(user_timeout_s: float) -> dict[int, int]:
    """Socket options that end a connection whose peer is gone without a word."""
    options = {}
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options[socket.TCP_USER_TIMEOUT] = int(user_timeout_s * 1000)
    return options


class PasswordFile(CredentialProvider):
    """User and password for Redis, the password read from a file for each connection.

    So one that was changed is used from the next connection on.
    """

    def __init__(self, user: str, path: str) -> None:
        self._user = user
        self._path = Path(path)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """As ``AUTH`` takes them.  Raises ``OSError``."""
        password = self._path.read_text("utf-8", errors="replace").rstrip("\r\n")
        if not password:
            raise OSError(errno.ENODATA, "the file is empty")
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same; a small file is read at once."""
        return self.get_credentials()


def connect(config: Config) -> redis_asyncio.Redis:
    """A client for ``config.redis_url`` with every wait bounded and no retries.

    Raises ``ValueError`` for a URL that redis-py does not understand,
    ``SettingsError`` for a password file that can't be read.
    """
    options: dict[str, Any] = {}
    if not config.redis_url.startswith("unix:"):
        options = {
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive_options(config.reply_timeout_s),
        }
    pool = redis_asyncio.ConnectionPool.from_url(
        config.redis_url,
        socket_connect_timeout=config.connect_timeout_s,
        socket_timeout=config.reply_timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        max_connections=32,
        protocol=2,
        **options,
    )
    if config.redis_password_file:
        said = pool.connection_kwargs
        user = said.pop("username", None) or ""
        said.pop("password", None)
        said["credential_provider"] = provider = PasswordFile(user, config.redis_password_file)
        try:
            provider.get_credentials()
        except OSError as error:
            where = f"--redis-password-file: {config.redis_password_file}"
            raise SettingsError(f"{where}: {error.strerror}") from error
    return redis_asyncio.Redis.from_pool(pool)


def _connection_options(config: Config) -> tuple[type, dict[str, Any]]:
    """What redis-py makes of the URL: the kind of connection, and its options."""
    pool = ConnectionPool.from_url(config.redis_url)
    return pool.connection_class, pool.connection_kwargs


def database(config: Config) -> int:
    """The number of the database in the URL."""
    return int(_connection_options(config)[1].get("db") or 0)


def handshake(config: Config) -> list[tuple[str, ...]]:
    """What is said first on a connection of our own.

    Raises ``OSError`` if a password file can't be read any more.
    """
    _, options = _connection_options(config)
    user = options.get("username") or ""
    if config.redis_password_file:
        return [("AUTH", *PasswordFile(user, config.redis_password_file).get_credentials())]
    if options.get("password"):
        return [("AUTH", *filter(None, (user, options["password"])))]
    return []


async def open_link(config: Config, protocol: Callable[[], Link]) -> Link:
    """Connect as the URL says.  Raises ``OSError``, ``ssl.SSLError``."""
    loop = asyncio.get_running_loop()
    kind, options = _connection_options(config)
    if issubclass(kind, UnixDomainSocketConnection):
        _, link = await loop.create_unix_connection(protocol, options["path"])
        return link
    context = None
    if issubclass(kind, SSLConnection):
        context = SSLConnection(**options).ssl_context.get()
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    transport, link = await loop.create_connection(protocol, host, port, ssl=context)
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in keepalive_options(config.reply_timeout_s).items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return link
