"""PROXY headers, byte by byte: who a connection comes from, and what is no header at all."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SettingsError
from gateway.net.proxy_protocol import (
    V1_BYTES,
    V2_BYTES,
    BadHeader,
    HeaderParser,
    Source,
    TrustedProxies,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
NEXT = b"\x16\x03\x01 what the client says next"


def v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def tcp4(host: str = "192.0.2.7", port: int = 5123, tail: bytes = b"") -> bytes:
    addresses = socket.inet_aton(host) + socket.inet_aton("198.51.100.1")
    return v2(0x21, 0x11, addresses + struct.pack("!HH", port, 8080) + tail)


def tcp6(host: str = "2001:db8::7", port: int = 5123) -> bytes:
    pton = socket.inet_pton
    addresses = pton(socket.AF_INET6, host) + pton(socket.AF_INET6, "2001:db8::1")
    return v2(0x21, 0x21, addresses + struct.pack("!HH", port, 8080))


def parse(stream: bytes, most: int = V2_BYTES) -> tuple[HeaderParser, int]:
    """Feed what the parser wants, at most ``most`` bytes at a time; and how much that was."""
    parser, at = HeaderParser(), 0
    while parser.wants:
        piece = stream[at : at + min(parser.wants, most)]
        assert piece, "wants more than a whole header"
        parser.feed(piece)
        at += len(piece)
    return parser, at


HEADERS = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080\r\n", "192.0.2.7:5123"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "1.1.1.1:1"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 5123 8080\r\n", "[2001:db8::7]:5123"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5123 8080\r\n", "192.0.2.7:5123"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * (V1_BYTES - 16) + b"\r\n", None),
    (tcp4(), "192.0.2.7:5123"),
    (tcp4(tail=b"\x03\x00\x04abcd\x04\x00\x00"), "192.0.2.7:5123"),
    (tcp4(tail=bytes(V2_BYTES - len(tcp4()))), "192.0.2.7:5123"),
    (tcp6(), "[2001:db8::7]:5123"),
    (tcp6("::ffff:192.0.2.7"), "192.0.2.7:5123"),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, b"anything"), None),
    (v2(0x20, 0xFF, b""), None),
    (v2(0x21, 0x00, b"TLVs or whatever"), None),
    (v2(0x21, 0x31, bytes(216)), None),
    (v2(0x21, 0x12, bytes(12)), None),
]


@pytest.mark.parametrize("most", [1, 2, 7, V2_BYTES])
@pytest.mark.parametrize(("header", "source"), HEADERS, ids=lambda value: str(value)[:40])
def test_a_header_is_read_exactly_however_it_is_split(header, source, most):
    """What follows stays in the socket: it may be a TLS handshake."""
    parser, taken = parse(header + NEXT, most)
    assert taken == len(header)
    assert parser.source is None if source is None else str(parser.source) == source


@pytest.mark.parametrize(
    "stream",
    [
        b"alice\n",
        b"PROXY\r\n",
        b"PROXY \r\n       ",
        b"proxy TCP4 192.0.2.7 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5123\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080 1\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 05123 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 x\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 5123 8080\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 5123 8080\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5123 8080\n\n\n\n",
        b"PROXY TCP4 192.0.2.7\r 198.51.100.1 5123 8080\r\n",
        b"PROXY TCP4 \xff 198.51.100.1 5123 8080\r\n",
        b"PROXY UNKNOWN " + b"x" * (V1_BYTES - 15) + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 4096,
        SIGNATURE.replace(b"Q", b"q") + b"\x21\x11\x00\x0c" + bytes(12),
        v2(0x11, 0x11, bytes(12)),
        v2(0x22, 0x11, bytes(12)),
        v2(0x21, 0x13, bytes(12)),
        v2(0x21, 0x41, bytes(12)),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x21, bytes(35)),
        v2(0x21, 0x11, bytes(V2_BYTES - 15)),
        v2(0x20, 0x00, bytes(V2_BYTES - 15)),
        v2(0x21, 0x00, bytes(65535)),
    ],
    ids=lambda stream: str(stream[:50]),
)
@pytest.mark.parametrize("most", [1, V2_BYTES])
def test_what_is_no_header_is_refused(stream, most):
    with pytest.raises(BadHeader):
        parse(stream, most)


def test_a_header_that_is_too_long_is_refused_before_it_is_read():
    header, parser = v2(0x21, 0x00, bytes(65535)), HeaderParser()
    parser.feed(header[:15])
    assert parser.wants == 1
    with pytest.raises(BadHeader, match=str(V2_BYTES)):
        parser.feed(header[15:16])


@given(st.binary(max_size=300))
def test_no_bytes_whatever_do_anything_else(stream):
    for start in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x20"):
        parser, rest = HeaderParser(), start + stream
        try:
            while parser.wants and rest:
                parser.feed(rest[: parser.wants])
                rest = rest[parser.wants :] if parser.wants else b""
        except BadHeader:
            continue


@pytest.mark.parametrize(
    ("networks", "host", "trusted"),
    [
        ("127.0.0.0/8,::1", "127.0.0.2", True),
        ("127.0.0.0/8,::1", "::1", True),
        ("127.0.0.0/8,::1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        (" 10.0.0.0/8 , 2001:db8::/32 ", "2001:db8::5", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "2001:db8::5", False),
        ("", "127.0.0.1", False),
    ],
)
def test_only_the_networks_that_are_named_are_trusted(networks, host, trusted):
    assert (host in TrustedProxies(networks)) is trusted


@pytest.mark.parametrize("networks", ["loopback", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1;::1"])
def test_a_network_that_is_none_is_a_bad_setting(networks):
    with pytest.raises(SettingsError, match="--trusted-proxies: ") as error:
        TrustedProxies(networks)
    assert networks in str(error.value)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.7", "192.0.2.7:1"),
        ("2001:db8::7", "[2001:db8::7]:1"),
        ("::ffff:192.0.2.7", "192.0.2.7:1"),
        ("fe80::1%eth0", "[fe80::1%eth0]:1"),
    ],
)
def test_an_address_is_shown_so_that_its_port_can_be_told(host, shown):
    assert str(Source.at(host, 1)) == shown
