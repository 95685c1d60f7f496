"""Fan-out: who gets what, in which order, in how many writes."""

import asyncio

import pytest

from gateway.chat.events import Message, Notice, decode_envelope, encode_event
from gateway.rooms.fan_out import Varied
from gateway.rooms.hub import Hub

MANY = 2500


class Words:
    """An encoding: a word for each item.  Counts its work."""

    def __init__(self, mark=""):
        self.mark = mark
        self.encoded = []

    def encode(self, item, room=""):
        self.encoded.append(item)
        return f"{self._word(item)}{self.mark} ".encode()

    def encode_own(self, envelope, room=""):
        return f"my-{self._word(envelope)} ".encode()

    def _word(self, item):
        return item.text if isinstance(item, Notice) else item.event.text


class Silent(Words):
    """What one did oneself needs no word."""

    def encode_own(self, envelope, room=""):
        return b""


class Member:
    def __init__(self, session_id, encoding, on_send=lambda: None):
        self.session_id = session_id
        self.encoding = encoding
        self.writes = []
        self._on_send = on_send

    def send(self, data):
        if data:
            self.writes.append(data.decode())
            self._on_send()

    @property
    def heard(self):
        return "".join(self.writes).split()


@pytest.fixture
async def hub():
    hub = Hub()
    yield hub
    hub.flush()


@pytest.fixture
def encoding():
    return Words()


@pytest.fixture
def join(hub, encoding):
    """Makes members of the lobby, who have heard their greeting."""

    def join(*sessions, room="lobby", encoding=encoding, **more):
        members = [Member(session, encoding, **more) for session in sessions]
        for member in members:
            hub.join(room, member, Notice("welcome"))
        hub.flush()
        for member in members:
            member.writes.clear()
        encoding.encoded.clear()
        return members if len(members) > 1 else members[0]

    return join


def said(*words, session="nobody", name="somebody"):
    body = [encode_event(Message(session, name, word)) for word in words]
    return [decode_envelope(b"1 e 0 G1 0 0 " + one) for one in body]


def leave(hub, member):
    """As a room has somebody leave: it gets what was before."""
    member.send(hub.remove("lobby", member))


async def turns(count=1):
    """What the loop had to do has been done that many times over."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


async def test_a_flush_is_one_write_for_each_member(hub, join):
    """DESIGN 3: one write per connection and flush."""
    members = join("s1", "s2", "s3")
    hub.deliver("lobby", said("one", "two"))
    hub.deliver("lobby", said("three"))
    hub.flush()
    assert [member.writes for member in members] == [["one two three "]] * 3


async def test_nothing_new_is_nothing_written(hub, join):
    """DESIGN 3: one write per connection and flush, and none without cause."""
    alice = join("s1")
    hub.flush()
    hub.deliver("lobby", [])
    hub.flush()
    assert alice.writes == []


async def test_each_encoding_is_used_once_however_many_members_there_are(hub, join):
    """DESIGN 3: each room's bytes are encoded once per front and joined once."""
    plain, loud = Words(), Words("!")
    some = join(*(f"p{n}" for n in range(20)), encoding=plain)
    others = join(*(f"l{n}" for n in range(20)), encoding=loud)
    events = said("one", session="p1") + said("two", session="p2") + said("three", session="l1")
    hub.deliver("lobby", events)
    hub.flush()
    assert plain.encoded == loud.encoded == events
    assert {member.writes[0] for member in some[3:]} == {"one two three "}
    assert {member.writes[0] for member in others[3:]} == {"one! two! three! "}


async def test_the_sender_gets_the_batch_without_its_own_events(hub, join):
    """DESIGN 3: a sender in the batch gets the batch without its own events."""
    alice, bob = join("s1", "s2", encoding=Silent())
    hub.deliver("lobby", said("one") + said("mine", session="s1") + said("three"))
    hub.flush()
    assert (alice.writes, bob.writes) == (["one three "], ["one mine three "])


async def test_a_sender_alone_in_the_batch_is_not_written_to(hub, join):
    """DESIGN 4: TEXT: oneself sees nothing."""
    alice, bob = join("s1", "s2", encoding=Silent())
    hub.deliver("lobby", said("mine", session="s1"))
    hub.flush()
    assert (alice.writes, bob.writes) == ([], ["mine "])


async def test_a_sender_is_known_by_its_session_not_by_its_name(hub, join):
    """Issue 2: sender excluded by session id, not by name."""
    alice, namesake = join("s1", "s2", encoding=Silent())
    hub.deliver("lobby", said("one", session="s2", name="alice"))
    hub.flush()
    assert (alice.heard, namesake.heard) == (["one"], [])


async def test_what_one_did_oneself_is_answered_in_its_place(hub, join):
    """DESIGN 3: an acknowledgement takes its event's place in that order."""
    alice = join("s1")
    hub.deliver("lobby", said("one") + said("two", session="s1") + said("three"))
    hub.flush()
    assert alice.writes == ["one my-two three "]


async def test_who_joins_gets_a_greeting_and_only_what_follows(hub, join, encoding):
    """DESIGN 3: when the relay reaches J, the session becomes a member in the same callback."""
    alice, bob = join("s1"), Member("s2", encoding)
    hub.deliver("lobby", said("before"))
    hub.join("lobby", bob, Notice("welcome"))
    hub.deliver("lobby", said("after"))
    hub.flush()
    assert alice.writes == ["before after "]
    assert bob.writes == ["welcome after "]


async def test_who_leaves_gets_what_was_before_and_nothing_after(hub, join):
    """Hub.remove."""
    alice, bob = join("s1", "s2")
    hub.deliver("lobby", said("before"))
    leave(hub, alice)
    hub.deliver("lobby", said("after"))
    hub.flush()
    hub.deliver("lobby", said("later"))
    hub.flush()
    assert alice.writes == ["before "]
    assert bob.writes == ["before after ", "later "]


async def test_leaving_twice_is_leaving_once(hub, join):
    """Hub.remove: nothing that comes after."""
    alice = join("s1")
    leave(hub, alice)
    hub.deliver("lobby", said("after"))
    leave(hub, alice)
    hub.flush()
    assert alice.writes == []


async def test_who_comes_and_goes_within_a_flush_gets_what_was_between(hub, join, encoding):
    """Hub: from where it joined to where it left."""
    bob = Member("s2", encoding)
    join("s1")
    hub.deliver("lobby", said("before"))
    hub.join("lobby", bob, Notice("welcome"))
    hub.deliver("lobby", said("between"))
    leave(hub, bob)
    hub.deliver("lobby", said("after"))
    hub.flush()
    assert bob.heard == ["welcome", "between"]


async def test_who_goes_and_comes_within_a_flush_gets_all_but_what_was_between(hub, join):
    """Hub.join: what it is owed from before goes first."""
    alice = join("s1")
    hub.deliver("lobby", said("before"))
    leave(hub, alice)
    hub.deliver("lobby", said("between"))
    hub.join("lobby", alice, Notice("again"))
    hub.deliver("lobby", said("after"))
    hub.flush()
    assert alice.heard == ["before", "again", "after"]


async def test_who_joins_without_a_greeting_gets_none(hub, encoding):
    """DESIGN 4: a program that resumes gets what followed, and no history."""
    alice = Member("s1", encoding)
    hub.join("lobby", alice, None)
    hub.deliver("lobby", said("one"))
    hub.flush()
    assert alice.writes == ["one "]


async def test_something_can_be_told_to_some_in_another_way(hub, join):
    alice, bob, carol = join("s1", "s2", "s3")
    varied = Varied(Notice("many"), {"s2": Notice("few"), "s3": None, "gone": Notice("none")})
    hub.deliver("lobby", [varied])
    hub.flush()
    assert (alice.heard, bob.heard, carol.writes) == (["many"], ["few"], [])


async def test_rooms_do_not_hear_each_other(hub, join):
    """DESIGN 2: a room is a named conversation."""
    alice, bob = join("s1", room="lobby"), join("s2", room="den")
    hub.deliver("lobby", said("one"))
    hub.deliver("den", said("two"))
    hub.flush()
    assert (alice.writes, bob.writes) == (["one "], ["two "])


async def test_a_room_that_all_have_left_can_be_joined_again(hub, join):
    """Hub: nothing of the room is kept."""
    alice = join("s1")
    leave(hub, alice)
    hub.flush()
    hub.deliver("lobby", said("to nobody"))
    again = join("s1")
    hub.deliver("lobby", said("one"))
    hub.flush()
    assert (alice.writes, again.writes) == ([], ["one "])


async def test_a_member_that_ends_while_it_is_sent_to_costs_the_others_nothing(hub, join):
    """Promise 5: a slow client never delays another; send() may abort a member, who leaves."""
    join("s1")
    ending = []
    ending.append(join("s2", on_send=lambda: [leave(hub, bob) for bob in ending]))
    carol = join("s3")
    for word in ("one", "two"):
        hub.deliver("lobby", said(word))
        hub.flush()
    assert carol.heard == ["one", "two"]


# Large rooms


@pytest.fixture
async def crowd(join):
    return [join(f"s{n}") for n in range(MANY)]


async def test_a_large_room_lets_the_loop_go_on_in_between(hub, crowd):
    """DESIGN 3: a slow client never delays another; nor does a large room."""
    hub.deliver("lobby", said("one"))
    hub.flush()
    served = sum(bool(member.writes) for member in crowd)
    assert 0 < served < MANY
    await turns(100)
    assert {tuple(member.writes) for member in crowd} == {("one ",)}


async def test_it_goes_on_in_between_also_if_each_is_told_in_another_way(hub, crowd):
    varied = Varied(Notice("many"), {m.session_id: Notice("few") for m in crowd[1:]})
    hub.deliver("lobby", [varied])
    hub.flush()
    heard = [sum(bool(member.writes) for member in crowd)]
    while heard[-1] < len(crowd):
        await turns()
        heard.append(sum(bool(member.writes) for member in crowd))
    assert heard[0] < len(crowd)
    assert (crowd[0].heard, crowd[1].heard, crowd[-1].heard) == (["many"], ["few"], ["few"])


async def test_who_goes_before_it_was_told_in_another_way_is_owed_that(hub, crowd):
    varied = Varied(Notice("many"), {m.session_id: Notice("few") for m in crowd})
    hub.deliver("lobby", [varied])
    hub.flush()
    waiting = next(member for member in crowd if not member.writes)
    leave(hub, waiting)
    await turns(5)
    assert waiting.heard == ["few"]


async def test_what_is_delivered_meanwhile_comes_after(hub, crowd):
    """Promise 1: order."""
    hub.deliver("lobby", said("one"))
    hub.flush()
    hub.deliver("lobby", said("two"))
    hub.flush()
    await turns(100)
    hub.flush()
    await turns(100)
    assert {tuple(member.writes) for member in crowd} == {("one ", "two ")}


async def test_who_comes_or_goes_meanwhile_gets_what_is_its_own(hub, crowd, encoding):
    """Hub.join, Hub.remove; a member that leaves mid-delivery."""
    late = Member("late", encoding)
    hub.deliver("lobby", said("one"))
    hub.flush()
    last = next(member for member in crowd if not member.writes)
    leave(hub, last)
    hub.join("lobby", late, Notice("welcome"))
    hub.deliver("lobby", said("two"))
    await turns(100)
    hub.flush()
    await turns(100)
    assert last.heard == ["one"]
    assert late.heard == ["welcome", "two"]


async def test_who_goes_and_comes_meanwhile_loses_nothing_of_before(hub, crowd):
    """Promise 2: every event of its room exactly once."""
    hub.deliver("lobby", said("one"))
    hub.flush()
    last = next(member for member in crowd if not member.writes)
    hub.deliver("lobby", said("two"))
    leave(hub, last)
    hub.join("lobby", last, Notice("again"))
    await turns(100)
    hub.flush()
    await turns(100)
    assert last.heard == ["one", "two", "again"]


# When it is flushed


async def test_all_of_one_turn_of_the_loop_is_one_flush(join, hub):
    """DESIGN 3: one write per connection and flush, at once."""
    alice = join("s1")
    for number in range(20):
        hub.deliver("lobby", said(f"{number}"))
    assert alice.writes == []
    await turns()
    assert len(alice.writes) == 1
    assert len(alice.heard) == 20


async def test_who_is_gone_meanwhile_is_owed_what_it_had_not_got(hub, crowd):
    """Hub.remove: what it returns is the rest, once."""
    hub.deliver("lobby", said("one"))
    hub.flush()
    first, last = crowd[0], crowd[-1]
    hub.deliver("lobby", said("two"))
    assert hub.remove("lobby", first) == b"two "
    assert hub.remove("lobby", last) == b"one two "
    await turns(100)
    hub.flush()
    await turns(100)
    assert (first.writes, last.writes) == (["one "], [])
    assert {tuple(member.writes) for member in crowd[1:-1]} == {("one ", "two ")}


async def test_a_stranger_of_the_same_session_is_no_member(hub, join, encoding):
    """DESIGN 4: a connection that asks for a session has not got it yet."""
    alice, stranger = join("s1"), Member("s1", encoding)
    hub.deliver("lobby", said("one"))
    assert hub.remove("lobby", stranger) == b""
    assert not hub.tell("lobby", stranger, Notice("no"))
    hub.flush()
    assert (alice.heard, stranger.heard) == (["one"], [])


async def test_what_a_member_is_owed_goes_to_it_and_not_to_its_heir(hub, join, encoding):
    """Promise 2: once."""
    alice, heir = join("s1"), Member("s1", encoding)
    hub.deliver("lobby", said("before"))
    hub.join("lobby", heir, Notice("welcome"))
    hub.deliver("lobby", said("after"))
    hub.flush()
    assert (alice.heard, heir.heard) == (["before"], ["welcome", "after"])


async def test_who_joins_behind_a_long_backlog_gets_nothing_of_before(hub, join, encoding):
    """Promise 2: once; also one that said some of it itself, before it came back."""
    join("s1")
    long = "x" * 1000
    hub.deliver("lobby", said(*(f"{n}{long}" for n in range(200)), session="s2"))
    bob = Member("s2", encoding)
    hub.join("lobby", bob, Notice("welcome"))
    hub.deliver("lobby", said("after", session="s2"))
    for _ in range(10):
        hub.flush()
    assert bob.heard == ["welcome", "my-after"]


async def test_who_was_let_go_is_told_the_rest_directly(hub, join):
    """Hub.tell: False if there is nothing to wait for."""
    alice = join("s1")
    hub.deliver("lobby", said("one"))
    leave(hub, alice)
    assert not hub.tell("lobby", alice, Notice("bye"))
    assert alice.heard == ["one"]


async def test_a_flush_of_many_authors_takes_no_square_of_them(hub, join, encoding):
    """Promise 5: nothing that people say keeps the loop for long."""
    count = 1500
    join(*(f"s{n}" for n in range(count)))
    events = [event for n in range(count) for event in said(f"{n}", session=f"s{n}")]
    own, encoding.encode_own = [], lambda event, room: own.append(event) or b"mine "
    hub.deliver("lobby", events)
    while hub.pending_bytes:
        hub.flush()
        await turns(3)
    assert len(encoding.encoded) == len(own) == count


async def test_too_much_at_once_is_held_back_until_half_of_it_is_sent(encoding):
    """Promise 7: bounded."""
    told = []
    hub = Hub(most_bytes=200_000, on_full=told.append)
    alice = Member("s1", encoding)
    hub.join("lobby", alice, None)
    hub.flush()
    hub.deliver("lobby", said(*("x" * 1000 for _ in range(180))))
    assert told == []
    hub.deliver("lobby", said(*("x" * 1000 for _ in range(50))))
    assert told == [True]
    while hub.pending_bytes > 100_000:
        assert told == [True]
        hub.flush()
    assert told == [True, False]
    while hub.pending_bytes:
        hub.flush()
    assert len(alice.heard) == 230
