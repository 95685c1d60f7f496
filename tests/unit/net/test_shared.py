"""Large sends of the same bytes to many: shared where the kernel can, and always whole."""

import errno
import os
import socket
import sys

import pytest

from gateway.net.shared import LEAST_BYTES, Shared

linux = pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is Linux's")


class Pair:
    """A socket to send on, and what its peer gets."""

    def __init__(self):
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)

    def got(self, size):
        return self.peer.recv(size, socket.MSG_WAITALL)

    def close(self):
        self.sock.close()
        self.peer.close()


@pytest.fixture
def pairs():
    pairs = [Pair() for _ in range(5)]
    yield pairs
    for pair in pairs:
        pair.close()


@pytest.fixture
def shared_sends(monkeypatch):
    """How many bytes were sent without a copy, each time."""
    sent = []
    sendfile = os.sendfile

    def counted(*args):
        sent.append(sendfile(*args))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    return sent


def data(mark):
    return mark * LEAST_BYTES


@linux
def test_from_the_second_socket_on_nothing_is_copied(pairs, shared_sends):
    """What only one gets is not put into a file for it."""
    shared, same = Shared(), data(b"x")
    for pair in pairs:
        assert shared.send(pair.sock, same) == len(same)
        assert pair.got(len(same)) == same
    assert shared_sends == [len(same)] * 4


@linux
def test_several_forms_of_a_flush_are_sent_in_turn(pairs, shared_sends):
    """Members with different fronts are in no order."""
    shared, forms = Shared(), [data(b"l"), data(b"j"), data(b"c")]
    for pair in pairs:
        for form in forms:
            assert shared.send(pair.sock, form) == len(form)
            assert pair.got(len(form)) == form
    assert len(shared_sends) == 12


@linux
def test_what_is_on_its_way_is_not_changed_by_what_follows(pairs):
    """The kernel holds pages, not bytes: they must not be written to again."""
    shared, flushes = Shared(), [data(b"%d" % number) for number in range(8)]
    for flush in flushes:
        for pair in pairs:
            shared.send(pair.sock, flush)
    for pair in pairs:
        assert pair.got(len(b"".join(flushes))) == b"".join(flushes)


@linux
def test_only_the_last_few_are_kept():
    """Promise 7: every queue has a cap; and no file stays open."""
    shared, pair, before = Shared(), Pair(), len(os.listdir("/proc/self/fd"))
    for number in range(50):
        flush = data(b"%d" % (number % 10))
        for _ in range(2):
            shared.send(pair.sock, flush)
            pair.got(len(flush))
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    pair.close()


@linux
def test_a_socket_that_takes_a_part_says_so(pairs):
    """As ``send`` does; a full one raises."""
    shared, large = Shared(), b"x" * 4_000_000
    shared.send(pairs[0].sock, large)
    sent = shared.send(pairs[1].sock, large)
    assert 0 < sent < len(large)
    with pytest.raises(BlockingIOError):
        shared.send(pairs[1].sock, large)
    assert pairs[1].got(sent) == large[:sent]


@pytest.mark.parametrize("why", [errno.EPERM, errno.EMFILE, errno.ENOSYS, None])
def test_where_it_is_not_possible_all_is_sent_all_the_same(pairs, monkeypatch, why):
    """A sandbox without the system call, another system, no descriptor left."""
    tried = []

    def refused(_name):
        tried.append(why)
        raise OSError(why, "refused")

    if why is None:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    shared, same = Shared(), data(b"x")
    for pair in pairs:
        assert shared.send(pair.sock, same) == len(same)
        assert pair.got(len(same)) == same
    assert len(tried) == (why is not None)
