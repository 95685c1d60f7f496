"""Who holds which name and which session: what the registry's answers lead to."""

from types import SimpleNamespace

import pytest

from gateway.broker.outbox import Holder
from gateway.broker.registry import Ghost, Granted, Taken
from gateway.chat.commands import Hello
from gateway.chat.reasons import CloseReason
from gateway.chat.session import session_id_of
from gateway.seats.names import Names

GHOST = Ghost("alice", Holder("dead", "gone", 1), "lobby", "alice")


class Session:
    def __init__(self, id):
        self.id = id
        self.name, self.wish, self.room = "", "", "lobby"
        self.present = True
        self.refused = []

    def granted(self, name):
        self.name = name

    def taken(self, name):
        self.refused.append(name)


class Seat:
    def __init__(self, session):
        self.session = Session(session)
        self.generation, self.held, self.resume_at = 0, (), None
        self.hears, self.leaving, self.resumable = True, False, False
        self.connection = SimpleNamespace(hung_up=False)
        self.told, self.ended = [], None

    def pump(self):
        pass

    def tell(self, item):
        self.told.append(item.text)

    def end(self, reason):
        self.ended = reason

    def hand_over(self):
        self.leaving = True


class Registry:
    """Answers when the test says."""

    def __init__(self):
        self.asked, self.rooms = [], []
        self.released, self.freed = [], []

    def claim(self, folded, name, session, generation, room, answered, wanted):
        self.asked.append((folded, session, generation, wanted))
        self.rooms.append(room)
        self.answer = answered  # to what was asked last

    def release(self, folded, holder, freed=None):
        self.released.append((folded, holder))
        self.freed.append(freed)


class Host:
    gateway = "here"

    def __init__(self, registry):
        self.names = Names(self)
        self.cluster = SimpleNamespace(registry=registry, reaper=self, rooms=self)
        self.named, self.left, self.let_gone, self.evicted = [], [], [], []

    def claim(self, seat, name):
        self.names.claim(seat, name)

    def no_longer_new(self, seat):
        self.named.append(seat)

    def leave(self, seat, room):
        self.left.append((seat, room))

    def let_go(self, room, session, seat):
        self.let_gone.append((room, session, seat))

    def evict(self, ghost, then):
        self.evicted.append((ghost, then))


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def host(registry):
    return Host(registry)


@pytest.fixture
def names(host):
    return host.names


@pytest.fixture
def alice(names, registry):
    """She has her name."""
    seat = Seat("S1")
    names.claim(seat, "Alice")
    registry.answer(Granted(3, "lobby", "Alice"))
    return seat


def comes_with_secret(names, secret="secret"):
    seat = Seat("new")
    names.greet(seat, Hello("Alice", "lobby", secret, "E1", 41))
    return seat


def test_who_is_granted_a_name_has_it_and_its_session(names, host, registry, alice):
    assert registry.asked[0][:3] == ("alice", "S1", 0)
    assert (alice.session.name, alice.generation, alice.held) == ("Alice", 3, (("alice", 3),))
    assert names.holder_of("S1") is alice
    assert host.named == [alice]


def test_who_has_hung_up_takes_no_session_from_where_it_may_be(names, registry):
    """Promise 6: its line was read late, by a gateway that was stopped."""
    program, person = comes_with_secret(names), Seat("S2")
    for seat in (program, person):
        names.claim(seat, "Alice")
        seat.connection.hung_up = True
    wanted = [asked[-1]() for asked in registry.asked]
    assert wanted == [False, True]


def test_who_is_here_and_has_hung_up_gets_what_it_asked_for_before(names, registry):
    """Promise 6: it waits for that, and would never end without an answer."""
    program = comes_with_secret(names)
    names.claim(program, "alice")
    registry.answer(Granted(5, "lobby", "alice"))
    names.claim(program, "new")
    program.connection.hung_up = True
    *_, wanted = registry.asked[1]
    assert wanted()


def test_what_a_second_connection_does_is_not_wanted_when_it_is_gone(names, registry):
    """Promise 6: the session may be elsewhere by now; the first one here keeps its generation."""
    first, second = comes_with_secret(names), comes_with_secret(names)
    names.claim(first, "alice")
    registry.answer(Granted(5, "lobby", "alice"))
    names.claim(second, "alice")
    second.leaving = True
    *_, wanted = registry.asked[1]
    assert not wanted()
    assert names.generation_of(first.session.id) == 5
    first.leaving = True
    assert names.generation_of(first.session.id) == 0


def test_who_can_hear_no_more_holds_no_session(names, alice):
    alice.hears = False
    assert names.holder_of("S1") is None


def test_a_name_that_is_taken_is_refused(names, registry):
    seat = Seat("S1")
    names.claim(seat, "Alice")
    registry.answer(Taken())
    assert seat.session.refused == ["Alice"]
    assert not seat.held


def test_a_ghost_is_ended_and_its_name_claimed_again(names, host, registry):
    """DESIGN 4: a name whose gateway missed two beats may be claimed at once."""
    seat = Seat("S1")
    names.claim(seat, "alice")
    registry.answer(GHOST)
    [(ghost, then)] = host.evicted
    assert ghost is GHOST
    then()
    assert len(registry.asked) == 2


def test_who_left_before_a_ghost_was_ended_claims_nothing(names, host, registry):
    seat = Seat("S1")
    names.claim(seat, "alice")
    registry.answer(GHOST)
    seat.leaving = True
    host.evicted[0][1]()
    assert len(registry.asked) == 1


def test_what_is_granted_to_who_is_gone_is_released(names, registry):
    """DESIGN, promise 6: a name ends with the session."""
    seat = Seat("S1")
    names.claim(seat, "alice")
    seat.leaving = True
    *_, wanted = registry.asked[0]
    assert not wanted()
    registry.answer(Granted(1, "lobby", "alice"))
    assert registry.released == [("alice", Holder("here", "S1", 1))]
    assert names.holder_of("S1") is None


def test_what_is_granted_to_a_session_that_was_evicted_meanwhile_is_released(names, registry):
    seat = Seat("S1")
    names.claim(seat, "alice")
    seat.session.id = "S2"
    registry.answer(Granted(1, "lobby", "alice"))
    assert registry.released == [("alice", Holder("here", "S1", 1))]
    assert not seat.held


def test_a_session_goes_on_in_the_seat_that_comes_with_its_secret(names, host, registry):
    """DESIGN 4: the same session takes the name and the membership over."""
    before, heir = comes_with_secret(names), comes_with_secret(names)
    session = session_id_of("secret")
    names.claim(before, "alice")
    registry.answer(Granted(1, "kitchen", "alice"))
    names.claim(heir, "alice")
    registry.answer(Granted(2, "kitchen", "alice"))
    assert (heir.session.id, heir.session.room, heir.resume_at) == (session, "kitchen", ("E1", 41))
    assert names.holder_of(session) is heir
    assert before.leaving
    assert set(heir.held) == {("alice", 1), ("alice", 2)}
    assert host.let_gone == [("kitchen", session, before)]


def test_who_goes_on_in_another_room_leaves_the_one_where_it_was(names, host, registry):
    """DESIGN 4: one room at a time.  Its former seat was about to move when it went on."""
    before, heir = comes_with_secret(names), comes_with_secret(names)
    names.claim(before, "alice")
    registry.answer(Granted(1, "lobby", "alice"))
    names.claim(heir, "alice")
    registry.answer(Granted(1, "kitchen", "alice"))
    assert heir.session.room == "kitchen"
    assert (host.left, host.let_gone) == ([(before, "lobby")], [])


def test_a_room_that_nobody_goes_to_any_more_is_taken_back(names, registry):
    """DESIGN 4: one room at a time, also for who comes with the secret after that."""
    before, heir = comes_with_secret(names), comes_with_secret(names)
    names.claim(before, "alice")
    registry.answer(Granted(1, "lobby", "alice"))
    before.session.room = "kitchen"
    names.claim(before, "alice")
    moved = registry.answer
    names.claim(heir, "alice")
    registry.answer(Granted(1, "lobby", "alice"))
    moved(Granted(1, "kitchen", "alice"))
    assert registry.asked[-1][:3] == ("alice", heir.session.id, 1)
    assert registry.rooms[-1] == "lobby"


def test_who_has_hung_up_and_is_not_here_yet_ends_when_it_is_not_wanted(names, registry):
    """Promise 6: it is not read while it waits, so nothing else would ever end it."""
    seat = comes_with_secret(names)
    names.claim(seat, "alice")
    registry.answer(None)
    assert seat.ended is CloseReason.HUNG_UP


def test_who_is_renamed_keeps_its_new_name_though_another_comes_for_the_session(names, registry):
    """The other one may go as it came."""
    seat = comes_with_secret(names)
    names.claim(seat, "alice")
    registry.answer(Granted(1, "lobby", "alice"))
    names.claim(seat, "al")
    registry.answer(Granted(1, "lobby", "al"))
    comes_with_secret(names)
    names.release(seat, keep="al")
    assert seat.held == (("al", 1),)
    assert [folded for folded, _ in registry.released] == ["alice"]


def test_an_old_seat_that_ends_leaves_the_session_to_its_heir(names, registry):
    """The names are the session's, not the connection's."""
    before = comes_with_secret(names)
    names.claim(before, "alice")
    registry.answer(Granted(1, "lobby", "alice"))
    heir = comes_with_secret(names)
    before.leaving = True
    names.release(before)
    names.gone(before)
    assert registry.released == []
    assert heir.held == (("alice", 1),)


@pytest.mark.parametrize("secret", ["secret", ""], ids=["a program", "a person"])
def test_a_new_name_that_is_granted_to_who_leaves_is_released_alone(names, host, registry, secret):
    """Promise 6: ``left`` is on its way already, once, and the old name is freed behind it."""
    seat = comes_with_secret(names, secret)
    names.claim(seat, "Alice")
    registry.answer(Granted(3, "lobby", "Alice"))
    names.claim(seat, "New")
    seat.leaving = True  # its `left` waits for Redis
    registry.answer(Granted(3, "lobby", "New"))
    assert host.left == []
    assert registry.released == [("new", Holder("here", seat.session.id, 3))]
    names.release(seat)  # Redis has it
    assert [folded for folded, _ in registry.released] == ["new", "alice"]


def test_the_name_that_who_leaves_has_is_released_once(names, registry):
    """It was claimed again for another room."""
    seat = Seat("S1")
    names.claim(seat, "Alice")
    registry.answer(Granted(3, "lobby", "Alice"))
    names.claim(seat, "Alice")
    seat.leaving = True
    registry.answer(Granted(3, "kitchen", "Alice"))
    assert registry.released == []
    names.release(seat)
    assert [folded for folded, _ in registry.released] == ["alice"]


def test_a_renamed_session_keeps_its_new_name_only(names, registry, alice):
    names.claim(alice, "Alicia")
    registry.answer(Granted(4, "lobby", "Alicia"))
    names.release(alice, keep="Alicia")
    assert registry.released == [("alice", Holder("here", "S1", 3))]
    assert alice.held == (("alicia", 4),)


def test_who_waits_for_several_names_to_be_freed_is_told_once(names, registry, alice):
    names.claim(alice, "Alicia")
    registry.answer(Granted(4, "lobby", "Alicia"))
    told = []
    names.release(alice, freed=told.append)
    first, last = registry.freed
    assert first is None
    assert told == []
    last(None)
    assert told == [None]
    assert [folded for folded, _ in registry.released] == ["alice", "alicia"]
    names.release(alice, freed=told.append)
    assert told == [None, None]  # there is nothing left to free


def test_a_name_that_was_given_away_while_the_gateway_was_cut_off_ends_the_session(
    names, registry, alice
):
    names.claim_again(alice)
    registry.answer(Granted(3, "lobby", "Alice"))
    assert alice.ended is None
    names.claim_again(alice)
    registry.answer(Taken())
    assert alice.told == ["Alice was taken while this gateway was cut off"]
    assert alice.ended is CloseReason.REPLACED


def test_a_name_that_the_room_is_being_told_of_is_claimed_again_too(names, registry, alice):
    """Else two people had it, when a Redis came back empty between its grant and ``renamed``."""
    names.claim(alice, "Alicia")
    registry.answer(Granted(3, "lobby", "Alicia"))
    alice.session.name, alice.session.wish = "Alice", "Alicia"
    names.claim_again(alice)
    assert [folded for folded, *_ in registry.asked[2:]] == ["alice", "alicia"]


def test_who_has_no_name_or_leaves_claims_nothing_again(names, registry, alice):
    alice.leaving = True
    names.claim_again(alice)
    names.claim_again(Seat("S2"))
    assert len(registry.asked) == 1
