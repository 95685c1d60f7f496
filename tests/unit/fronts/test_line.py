import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat.commands import Command, GiveName, Help, Problem, Say
from gateway.fronts.line import CRLF, LF, LineFront

MAX = 16
TOO_LONG = Problem("line too long (over 16 bytes), not sent", "too_long")
NOT_UTF8 = Problem("that line was not UTF-8, not sent")
NEGOTIATION = b"\xff\xfd\x01\xff\xfb\x18"


class Client:
    """A front and what its session would do: ask for all, and stop naming at the first name."""

    def __init__(self, *, named: bool = False, detect_unended: bool = False) -> None:
        self.front = LineFront(max_line_bytes=MAX, detect_unended=detect_unended)
        self.front.naming = not named
        self.commands: list[Command] = []

    def sends(self, *reads: bytes) -> "Client":
        for read in reads:
            self.front.feed(read)
            self._ask()
        return self

    def is_silent(self) -> "Client":
        self.front.silence()
        self._ask()
        return self

    def closes(self) -> "Client":
        self.front.eof()
        self._ask()
        return self

    def _ask(self) -> None:
        while (command := self.front.next()) is not None:
            self.commands.append(command)
            if isinstance(command, GiveName) and command.name:
                self.front.naming = False


def member() -> Client:
    return Client(named=True)


def newcomer() -> Client:
    """Somebody at the name prompt of ``--framing auto``."""
    return Client(detect_unended=True)


# Lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_ends_in_lf_or_crlf_also_split_over_reads(end):
    """The line front: lines end in LF or CRLF, also split over reads."""
    stream = b"alice" + end + b"hi" + end + b"//bye" + end
    for cut in range(len(stream) + 1):
        client = Client().sends(stream[:cut], stream[cut:])
        assert client.commands == [GiveName("alice"), Say("hi"), Say("/bye")]


def test_the_last_unended_line_of_a_closing_client_counts():
    """The line front: the last unended line of a closing client counts."""
    assert member().sends(b"one\ntwo").closes().commands == [Say("one"), Say("two")]
    assert member().sends(b"one\r").closes().commands == [Say("one")]
    assert member().sends(b"one\n").closes().closes().commands == [Say("one")]
    assert Client().closes().commands == []


def test_naming_is_looked_at_when_a_line_is_asked_for():
    front = LineFront(max_line_bytes=MAX, detect_unended=False)
    front.feed(b"alice\nbob\ncarol\n")
    assert front.next() == GiveName("alice")
    assert front.next() == GiveName("bob")
    front.naming = False
    assert front.next() == Say("carol")
    assert front.next() is None


def test_a_blank_line_is_nothing_but_an_answer_to_the_name_prompt():
    client = Client().sends(b"\n  \r\nalice\n\n \t \r\n\r\nhi\n\n")
    assert client.commands == [GiveName(""), GiveName(""), GiveName("alice"), Say("hi")]


def test_a_line_is_cleaned_before_it_is_read():
    """The line front: control bytes never reach another terminal."""
    assert member().sends(b"\x07/help\x00 \x1b[31mwho\n").commands == [Help("who")]


# Lines that are refused


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(end):
    """The line front: a line over ``--max-line`` bytes is dropped to its end, its sender told."""
    fits, over = b"x" * MAX + end, b"x" * (MAX + 1) + end
    for stream, first in [(fits, Say("x" * MAX)), (over, TOO_LONG)]:
        assert member().sends(stream + b"hi\n").commands == [first, Say("hi")]
        every_byte = [bytes([byte]) for byte in stream + b"hi\n"]
        assert member().sends(*every_byte).commands == [first, Say("hi")]


def test_a_line_that_is_too_long_is_told_once_and_held_nowhere():
    """Promise 7, bounded."""
    client = member().sends(b"one\n" + b"x" * 100)
    for _ in range(100):
        client.sends(b"x" * 1000)
        assert len(client.front._lines) <= MAX
    client.sends(b"xx\ntwo\n")
    client.sends(b"x" * 100, b"x").closes()
    assert client.commands == [Say("one"), TOO_LONG, Say("two"), TOO_LONG]


def test_a_line_that_is_not_utf8_is_told_in_its_place():
    """The line front: bytes that are not UTF-8 likewise."""
    client = member().sends(b"one\ngr\xfc\xdfe\ntwo\n\xed\xa0\x80\n")
    assert client.commands == [Say("one"), NOT_UTF8, Say("two"), NOT_UTF8]
    assert Client().sends(b"Ren\xe9\n").commands == [NOT_UTF8]


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"q\xff\n", b"\xff\xfe\xfd\n", b"\xff\xfd\r\n"])
def test_a_line_that_is_almost_telnet_is_told_and_the_next_one_stands_alone(junk):
    """The line front: bytes that are not UTF-8 are dropped to the line's end, their sender told."""
    stream = junk + b"hi\n"
    for cut in range(len(stream) + 1):
        assert member().sends(stream[:cut], stream[cut:]).commands == [NOT_UTF8, Say("hi")]


# Every split


ends = [b"\r", b"\n", b"\r\n", b"\r\0"]
words = [b"a", b" ", b"b " * 5, b"/who", b"{", b"\0", b"x" * (MAX - 1), b"x" * (MAX + 1)]
characters = ["é".encode(), "🙂".encode(), b"\xc3", b"\xff\xff", b"\xff", b"\xff\xfe"]
negotiation = [NEGOTIATION, b"\xff\xfa\x1f\x00\n\xff\xff\xff\xf0"]
streams = st.lists(st.sampled_from(ends + words + characters + negotiation), max_size=20)


@given(streams.map(b"".join), st.booleans(), st.data())
def test_any_split_of_a_stream_gives_the_same_commands(stream, named, data):
    """The line front: also split over reads."""
    whole = Client(named=named).sends(stream).closes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for parts in (reads, [bytes([byte]) for byte in stream]):
        client = Client(named=named).sends(*parts).closes()
        assert client.commands == whole.commands
        assert client.front.encoding is whole.front.encoding


@given(st.lists(st.text("ab é🙂", max_size=12), max_size=10), st.sampled_from(["\n", "\r\n"]))
def test_what_was_written_in_lines_is_read_in_lines(lines, end):
    expected = []
    for line in lines:
        if len(line.encode()) > MAX:
            expected.append(TOO_LONG)
        elif line.strip():
            expected.append(Say(line.strip()))
    client = member().sends("".join(line + end for line in lines).encode())
    read = [Say(c.text.strip()) if isinstance(c, Say) else c for c in client.commands]
    assert read == expected


@pytest.mark.parametrize(
    ("stream", "read_bytes"),
    [(b"x\n" * 500_000, 1), (b"x\n" * 500_000, 1_000_000), (b"x" * 16_000_000, 64)],
)
def test_many_short_lines_and_a_line_in_many_reads_take_seconds_at_most(stream, read_bytes):
    """Promise 5, alone: with quadratic work these would take many times as long."""
    front = LineFront(max_line_bytes=len(stream), detect_unended=False)
    front.naming = False
    started = time.process_time()
    lines = 0
    for start in range(0, len(stream), read_bytes):
        front.feed(stream[start : start + read_bytes])
        while front.next() is not None:
            lines += 1
    assert lines == stream.count(b"x\n")
    assert time.process_time() - started < 10


# Clients without line ends


def test_a_client_without_line_ends_is_known_by_the_silence_after_its_name():
    """The line front, ``--framing auto``: 1 s of silence ends the name, 100 ms a line."""
    client = newcomer()
    assert client.front.silence_s is None
    client.sends(b"al", b"i", b"ce")
    assert (client.front.silence_s, client.commands) == (1.0, [])
    client.is_silent()
    assert (client.front.silence_s, client.commands) == (None, [GiveName("alice")])
    client.sends(b"he", b"llo")
    assert client.front.silence_s == 0.1
    client.is_silent()
    assert client.front.silence_s is None
    client.sends(b"{bye").is_silent()
    assert client.commands == [GiveName("alice"), Say("hello"), Say("{bye")]


def test_a_refused_name_is_asked_again_after_the_shorter_silence():
    client = newcomer().sends(b"al ice").is_silent()
    client.front.naming = True
    client.sends(b"alice")
    assert client.front.silence_s == 0.1
    assert client.is_silent().commands == [GiveName("al ice"), GiveName("alice")]


@pytest.mark.parametrize(
    "first", [b"a", b"{}", b'{"name":"bot"', b"\n", b"alice\nhi", b"alice\r\n"]
)
def test_another_first_read_is_of_a_client_with_line_ends(first):
    """The line front, ``--framing auto``: two bytes or more, no line end, no ``{`` first."""
    client = newcomer().sends(first, b"lice")
    assert client.front.silence_s is None
    before = list(client.commands)
    assert client.is_silent().commands == before


def test_negotiation_alone_is_not_the_first_read():
    """The line front, ``--framing auto``: the first read is meant with telnet bytes taken out."""
    assert newcomer().sends(NEGOTIATION, b"alice").front.silence_s == 1.0
    assert newcomer().sends(NEGOTIATION + b"a").front.silence_s is None
    assert newcomer().sends(NEGOTIATION[:4], NEGOTIATION[4:] + b"al").front.silence_s == 1.0


def test_a_line_end_at_any_time_means_lines_for_good():
    """The line front: a line end at any time puts the connection back to lines for good."""
    before = newcomer().sends(b"al", b"ice\n", b"hello")
    after = newcomer().sends(b"alice").is_silent().sends(b"hel", b"lo\n", b"hello")
    for client, said in [(before, []), (after, [Say("hello")])]:
        assert client.front.silence_s is None
        client.is_silent().sends(b"!\n")
        assert client.commands == [GiveName("alice"), *said, Say("hello!")]


def test_a_line_end_that_comes_late_is_not_a_line():
    client = newcomer().sends(b"alice\r").is_silent().sends(b"\nhello\r\n")
    assert client.commands == [GiveName("alice"), Say("hello")]


def test_a_line_without_end_that_is_too_long_ends_with_silence_too():
    client = newcomer().sends(b"alice").is_silent().sends(b"x" * 100, b"x" * 100)
    assert client.commands[1:] == [TOO_LONG]
    assert client.front.silence_s == 0.1
    client.is_silent().sends(b"hello").is_silent()
    assert client.commands[1:] == [TOO_LONG, Say("hello")]


def test_a_name_without_end_that_is_too_long_is_asked_again():
    client = newcomer().sends(b"x" * 100)
    assert (client.front.silence_s, client.commands) == (1.0, [TOO_LONG])
    client.is_silent().sends(b"alice").is_silent()
    assert client.commands == [TOO_LONG, GiveName("alice")]


def test_a_client_without_line_ends_may_close_before_the_silence():
    client = newcomer().sends(b"alice").closes()
    assert (client.front.silence_s, client.commands) == (None, [GiveName("alice")])


def test_what_was_not_read_is_there_without_telnet_bytes():
    """For a front that goes on from here: the first line may be JSON."""
    front = newcomer().front
    assert front.unread == b""
    front.feed(NEGOTIATION + b" {" + NEGOTIATION[:1])
    assert front.unread == b" {"
    front.feed(NEGOTIATION[1:] + b"}\nnext")
    assert front.unread == b" {}\nnext"
    assert front.next() == GiveName(" {}")
    assert front.unread == b"next"


def test_framing_line_turns_the_detection_off():
    """The line front: ``--framing line`` turns this off."""
    client = Client().sends(b"alice")
    assert client.front.silence_s is None
    assert client.is_silent().commands == []


def test_answers_end_as_the_clients_lines_do():
    """The line front: answers end in LF, or CRLF for a client that sent CRLF."""
    client = Client()
    for read, encoding in [(b"alice\nhi\r", LF), (b"\n", CRLF), (b"hi\n", CRLF)]:
        assert client.sends(read).front.encoding is encoding
