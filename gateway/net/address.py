"""How the two ends of a connection are written."""

from __future__ import annotations

import socket


def host_port(host: str, port: int) -> str:
    """``HOST:PORT``, an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_host(host: str) -> bool:
    """Whether it can be a host at all: of others Python raises no ``OSError``."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def is_unknown(error: OSError) -> bool:
    """Whether a host has no address, so that another try would change nothing."""
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN


def address_of(sock: socket.socket) -> str:
    """``HOST:PORT`` of a bound socket."""
    return host_port(*sock.getsockname()[:2])
