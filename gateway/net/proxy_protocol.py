"""The PROXY protocol: who a load balancer's connection really comes from.

Sans-I/O: ``HeaderParser`` says how many bytes may be read without reading
beyond the header, so that what follows (perhaps a TLS handshake) stays in the socket.
Versions 1 and 2, https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from gateway.config import SettingsError
from gateway.net.address import host_port

Network = IPv4Network | IPv6Network

V1_BYTES = 107
"""The longest header of version 1, its line end included."""
V2_BYTES = 4096
"""The longest header of version 2 that is taken; nginx has the same bound."""

_V1 = b"PROXY "
_V1_SHORTEST_BYTES = len(b"PROXY UNKNOWN\r\n")
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_FAMILIES = {0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32}
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216, 0x00: 0}


class BadHeader(Exception):
    """These bytes are no PROXY header; its text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a connection comes from."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)

    @classmethod
    def at(cls, host: str, port: int) -> Source:
        """``host`` as ``getpeername`` has it: an IPv6 address may come with its scope."""
        address, percent, scope = host.partition("%")
        return cls(f"{_unmapped(ip_address(address))}{percent}{scope}", port)


class HeaderParser:
    """Feed it at most ``wants`` bytes at a time, until ``wants`` is 0.

    Then ``source`` is who the proxy speaks for, or None if it speaks for
    itself (LOCAL, UNKNOWN) or for something that is no TCP connection: then
    the connection's own address counts.
    """

    __slots__ = ("_taken", "source", "wants")

    def __init__(self) -> None:
        self.source: Source | None = None
        self.wants = _V1_SHORTEST_BYTES
        """How many bytes can be read that are part of the header for certain."""
        self._taken = b""

    def feed(self, data: bytes) -> None:
        """Take bytes.  Raises ``BadHeader`` as soon as they can't become a header."""
        taken = self._taken = self._taken + data
        if taken.startswith(_V2[: len(taken)]):
            self.wants = self._v2(taken)
        elif taken.startswith(_V1[: len(taken)]):
            self.wants = self._v1(taken)
        else:
            raise BadHeader("no PROXY header")

    def _v1(self, taken: bytes) -> int:
        if taken.endswith(b"\r\n"):
            self.source = _parse_v1(taken[:-2])
            return 0
        if b"\n" in taken or b"\r" in taken[:-1]:
            raise BadHeader("a line end within the header")
        # What is still to come is a line end at least, of which the CR may be there.
        missing = 1 if taken.endswith(b"\r") else 2
        missing = max(missing, _V1_SHORTEST_BYTES - len(taken))
        if len(taken) + missing > V1_BYTES:
            raise BadHeader(f"a header of over {V1_BYTES} bytes")
        return missing

    def _v2(self, taken: bytes) -> int:
        if len(taken) < _V2_FIXED.size:
            return _V2_FIXED.size - len(taken)
        _, command, family, length = _V2_FIXED.unpack_from(taken)
        if command not in (_LOCAL, _PROXY):
            raise BadHeader(f"version and command 0x{command:02x}")
        if command == _PROXY:
            if family not in _FAMILIES:
                raise BadHeader(f"address family 0x{family:02x}")
            if length < _ADDRESS_BYTES[family]:
                raise BadHeader("an address cut short")
        end: int = _V2_FIXED.size + length
        if end > V2_BYTES:
            raise BadHeader(f"a header of over {V2_BYTES} bytes")
        if len(taken) == end and command == _PROXY:
            self.source = _parse_v2(family, taken[_V2_FIXED.size :])
        return end - len(taken)


def _parse_v1(line: bytes) -> Source | None:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return None  # "the receiver must ignore anything presented before the CRLF"
    try:
        _, protocol, source, destination, source_port, destination_port = words
        kind = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}[protocol]
        host, _ = (str(kind(text.decode("ascii"))) for text in (source, destination))
        port, _ = (_port(text) for text in (source_port, destination_port))
    except (ValueError, KeyError) as error:
        raise BadHeader("a header of version 1 that is not understood") from error
    if b"%" in source:
        raise BadHeader("an address with a scope")
    return Source.at(host, port)


def _port(text: bytes) -> int:
    """Decimal without sign and leading zeros, as the specification has it."""
    port = int(text)
    if str(port).encode() != text or not 0 <= port <= 65535:
        raise ValueError(f"not a port: {text!r}")
    return port


def _parse_v2(family: int, rest: bytes) -> Source | None:
    """The source in a block of addresses; what follows them (TLVs) is skipped."""
    if family == _TCP4:
        host, _, port, _ = struct.unpack_from("!4s4sHH", rest)
        return Source.at(str(IPv4Address(host)), port)
    if family == _TCP6:
        host, _, port, _ = struct.unpack_from("!16s16sHH", rest)
        return Source.at(str(IPv6Address(host)), port)
    return None


class TrustedProxies:
    """Networks whose connections may say on whose behalf they come."""

    def __init__(self, text: str) -> None:
        """``text``: networks or addresses with commas between them.  Raises ``SettingsError``."""
        self._networks: list[Network] = []
        for word in filter(None, (word.strip() for word in text.split(","))):
            try:
                self._networks.append(ip_network(word))
            except ValueError as error:
                raise SettingsError(f"--trusted-proxies: {error}") from error

    def __contains__(self, host: str) -> bool:
        address = _unmapped(ip_address(host.partition("%")[0]))
        return any(address in network for network in self._networks)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that came as an IPv6 one is taken for what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
