import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat.commands import Problem, Say
from gateway.fronts.line import LineFront
from gateway.fronts.telnet import MAX_SUB_BYTES, TelnetFilter

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


@pytest.mark.parametrize("filling", [b"x", b"x\r\n", IAC + IAC, IAC + IAC + b"\n"])
def test_a_subnegotiation_without_end_mutes_nobody_wherever_it_is_split(filling):
    """Promise 7, bounded: the byte 255 in its place makes that line told, and the next is heard."""
    stream = IAC + SB + TERMINAL_TYPE + filling * MAX_SUB_BYTES + b"\nnext\n"
    text = filtered(stream)
    marked, *lines = text.split(b"\n")
    assert marked.count(b"\xff") >= 1
    assert lines[-2:] == [b"next", b""]
    assert filtered(*(bytes([byte]) for byte in stream)) == text
    for cut in range(0, len(stream), 7):
        assert filtered(stream[:cut], stream[cut:]) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [(MAX_SUB_BYTES, b"hi\n"), (MAX_SUB_BYTES + 1, b"\xffxhi\n"), (0, b"hi\n")],
)
def test_a_subnegotiation_may_be_as_long_as_one_of_bsds_telnetd(length, text):
    """Its end is taken out also when it comes too late."""
    stream = IAC + SB + TERMINAL_TYPE + b"x" * length + IAC + SE + b"hi\n"
    assert filtered(stream) == text
    assert filtered(stream + stream) == text * 2  # each is counted by itself


def test_a_line_that_a_subnegotiation_swallowed_is_told_to_its_sender():
    """The line front: bytes that are not UTF-8 are told; a client is never mute for good."""
    front = LineFront(max_line_bytes=4096, detect_unended=False)
    front.naming = False
    front.feed(IAC + SB + b"\n".join([b"x" * 99] * 6) + b"\nagain\n")
    assert front.next() == Problem("that line was not UTF-8, not sent")
    assert front.next() == Say("again")


def test_a_timing_mark_is_answered_once_wherever_its_question_is_split():
    """RFC 860, and BSD's telnetd; nothing else is answered."""
    mark, question = IAC + WILL + b"\x06", IAC + DO + b"\x06"
    stream = b"a" + IAC + DO + ECHO + IAC + WILL + b"\x06" + question + b"b"
    for cut in range(len(stream) + 1):
        telnet = TelnetFilter()
        answers = []
        for read in (stream[:cut], stream[cut:], b"c"):
            telnet.feed(read)
            answers.append(telnet.answers)
        assert b"".join(answers) == mark
        assert answers[-1] == b""
    front = LineFront(max_line_bytes=4096, detect_unended=False)
    assert front.feed(b"plain text\n") == b""
    assert front.feed(question * 2) == mark * 2
    assert front.feed(b"more\n") == b""


def test_the_filter_holds_no_text():
    """Promise 7, bounded."""
    assert not hasattr(TelnetFilter(), "__dict__")


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
