import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fronts.telnet import TelnetFilter

IAC, SE, NOP, SB, WILL, WONT, DO, DONT = (
    bytes([code]) for code in (255, 240, 241, 250, 251, 252, 253, 254)
)
ECHO, TERMINAL_TYPE = b"\x01", b"\x18"

well_formed = st.lists(
    st.sampled_from(
        [
            b"a",
            b"\r",
            b"\n",
            b"\0",
            IAC + IAC,
            IAC + NOP,
            IAC + WILL + ECHO,
            IAC + DONT + IAC,
            IAC + SB + TERMINAL_TYPE + b"\0xterm\r\0" + IAC + SE,
            IAC + SB + IAC + IAC + SE + IAC + SE,
        ]
    ),
    max_size=12,
).map(b"".join)


def filtered(*reads: bytes) -> bytes:
    telnet = TelnetFilter()
    return b"".join(telnet.feed(read) for read in reads)


def by_the_book(stream: bytes) -> bytes:
    """The whole of a well-formed stream at once, as RFC 854 and RFC 855 read."""
    command = re.compile(
        rb"\xff(?:(\xff)|\xfa(?:[^\xff]|\xff\xff)*\xff\xf0|[\xfb-\xfe].|[^\xfa-\xff])", re.DOTALL
    )
    return command.sub(rb"\1", stream).replace(b"\r\0", b"\r\n")


@pytest.mark.parametrize(
    "command",
    [
        IAC + NOP,
        IAC + WILL + ECHO,
        IAC + WONT + ECHO,
        IAC + DO + ECHO,
        IAC + DONT + ECHO,
        IAC + DO + IAC,
        IAC + SB + TERMINAL_TYPE + b"\0xterm" + IAC + SE,
        IAC + SB + TERMINAL_TYPE + IAC + IAC + SE + IAC + SE,
        IAC + SB + TERMINAL_TYPE + IAC + DO + ECHO,
    ],
)
def test_a_command_is_taken_out_wherever_it_is_split(command):
    """The line front: telnet negotiation bytes are taken out, also when split over reads."""
    stream = b"al" + command + b"ice\n"
    for cut in range(len(stream) + 1):
        assert filtered(stream[:cut], stream[cut:]) == b"alice\n"
    assert filtered(*(bytes([byte]) for byte in stream)) == b"alice\n"


@pytest.mark.parametrize(
    "junk",
    [
        IAC + b"\n",
        IAC + b"\r\n",
        IAC + b"a\n",
        IAC + DONT + b"\n",
        IAC + WILL + b"\r\n",
        IAC + DONT + DO + b"\n",
        IAC + DO + SE + b"\n",
        IAC + SB + b"\n",
        IAC + SB + DO + b"\n",
        IAC + SB + TERMINAL_TYPE + IAC + b"\n",
    ],
)
def test_what_only_starts_like_a_command_is_text_wherever_it_is_split(junk):
    """The line front: bytes that are not UTF-8 are told, and no line swallows the next one."""
    told = junk.replace(SB + TERMINAL_TYPE + IAC, b"")
    stream = b"q" + junk + b"next\n"
    for cut in range(len(stream) + 1):
        assert filtered(stream[:cut], stream[cut:]) == b"q" + told + b"next\n"
    assert filtered(*(bytes([byte]) for byte in stream)) == b"q" + told + b"next\n"


def test_iac_iac_is_the_byte_255():
    """RFC 854: a data byte 255 is sent twice."""
    assert filtered(b"a" + IAC + IAC + b"b") == b"a\xffb"
    assert filtered(b"a" + IAC, IAC + b"b") == b"a\xffb"


@pytest.mark.parametrize("end", [b"\r\0", b"\r\n"])
def test_the_return_key_of_a_terminal_ends_a_line_however_it_is_sent(end):
    """RFC 1123, 3.3.1: a client may send the end of a line as CR LF or as CR NUL."""
    stream = b"a" + end + b"b" + end
    assert filtered(stream) == b"a\r\nb\r\n"
    assert filtered(*(bytes([byte]) for byte in stream)) == b"a\r\nb\r\n"


def test_a_command_between_cr_and_nul_does_not_part_them():
    """RFC 855: commands may come between any two bytes of the text."""
    assert filtered(b"a\r", IAC + NOP, b"\0b") == b"a\r\nb"


def test_a_nul_elsewhere_is_left_to_the_cleaning_of_the_line():
    assert filtered(b"\0a\0", b"\0b") == b"\0a\0\0b"


def test_text_without_telnet_bytes_passes_through_uncopied():
    text = "Straße, дом 5, 🙂\r\n".encode()
    telnet = TelnetFilter()
    assert telnet.feed(text) is text
    assert telnet.feed(text) is text


def test_a_subnegotiation_of_any_length_holds_nothing():
    """Promise 7, bounded."""
    telnet = TelnetFilter()
    telnet.feed(IAC + SB)
    for _ in range(100):
        assert telnet.feed(b"x" * 10_000) == b""
    assert telnet.feed(IAC + SE + b"hi") == b"hi"
    assert not hasattr(telnet, "__dict__")


@given(well_formed, st.data())
def test_any_split_of_a_well_formed_stream_gives_the_text_by_the_book(stream, data):
    """The line front: telnet negotiation bytes are taken out, also when split over reads."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert filtered(*reads) == by_the_book(stream)


@given(st.lists(st.sampled_from([bytes([b]) for b in b"a\r\n\0\xff\xfa\xf0\xfb\xfe\xf1"])))
def test_what_is_not_well_formed_gives_the_same_text_byte_by_byte(stream):
    """Promise 5, alone: no bytes break the filter."""
    assert filtered(*stream) == filtered(b"".join(stream))


@given(st.lists(st.sampled_from([bytes([b]) for b in b"a\r\n\0\xff\xf0\xfb\xfe\xf1"])))
def test_no_line_end_is_ever_eaten_but_in_a_subnegotiation(stream):
    """The line front: a line is dropped to its end, and not further."""
    assert filtered(*stream).count(b"\n") >= stream.count(b"\n")
