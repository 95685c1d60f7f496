"""What sessions ask of the cluster, and how much of Redis that takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.broker.registry import RoomCounts
from gateway.chat.events import Notice, RoomList
from gateway.config import Config
from gateway.seats.answers import Answers


class Seat:
    redis_ready = True

    def __init__(self):
        self.heard = []

    def answer(self, item):
        self.heard.append(item)


class Stage:
    """Everybody who can be asked; each answers when the test says so."""

    def __init__(self):
        self.here = {}
        self.told_people = []
        self._lists, self._questions = [], []
        rooms = SimpleNamespace(report=lambda: None, how_many=self.here.get)
        registry = SimpleNamespace(
            rooms=lambda _most, answered: self._lists.append(answered),
            set_people=lambda *told: self.told_people.append(told),
        )
        inquiries = SimpleNamespace(
            ask=lambda question, answered: self._questions.append((question.room, answered))
        )
        self.answers = Answers(Config(), rooms, registry, inquiries)

    def asks(self):
        seat = Seat()
        self.answers.list_rooms(seat)
        return seat

    def the_registry_says(self, **people):
        (answered,), self._lists = self._lists, []
        answered(RoomCounts(tuple(people.items())) if people else None)

    def the_rooms_say(self, **people):
        """Each that was asked; those not named can't be."""
        asked, self._questions = self._questions, []
        for room, answered in asked:
            answered(SimpleNamespace(people=people[room]) if room in people else None)
        return sorted(room for room, _ in asked)


@pytest.fixture
def stage():
    return Stage()


def test_rooms_are_counted_by_what_they_say_themselves(stage):
    """DESIGN 4: /rooms; a gateway that tells the registry can be late, or gone."""
    seat = stage.asks()
    stage.the_registry_says(lobby=3, tea=5, attic=1)
    assert stage.the_rooms_say(lobby=4, tea=2, attic=0) == ["attic", "lobby", "tea"]
    assert seat.heard == [RoomList([("lobby", 4), ("tea", 2)])]
    assert stage.told_people == [("attic", 0)]


def test_what_is_known_here_is_not_asked(stage):
    stage.here["lobby"] = 7
    seat = stage.asks()
    stage.the_registry_says(lobby=3, tea=5)
    assert stage.the_rooms_say(tea=5) == ["tea"]
    assert seat.heard == [RoomList([("lobby", 7), ("tea", 5)])]


def test_a_room_that_can_t_be_asked_has_the_people_that_it_had(stage):
    """Redis has just gone away; or somebody else has written what is read."""
    seat = stage.asks()
    stage.the_registry_says(lobby=3, tea=5)
    stage.the_rooms_say(lobby=4)
    assert seat.heard == [RoomList([("tea", 5), ("lobby", 4)])]
    assert stage.told_people == []


def test_without_the_registry_nothing_is_made_up(stage):
    seat = stage.asks()
    stage.the_registry_says()
    assert [type(item) for item in seat.heard] == [Notice]
    assert stage.the_rooms_say() == []


def test_a_crowd_that_asks_is_answered_by_one_round_of_questions(stage):
    """Promise 5: fifty rooms are asked for each; who asks often must not cost so much."""
    first = stage.asks()
    crowd = [stage.asks() for _ in range(100)]
    stage.the_registry_says(lobby=3)
    stage.the_rooms_say(lobby=3)
    assert first.heard == [RoomList([("lobby", 3)])]
    # What they did before they asked may have come too late for that answer.
    assert all(not seat.heard for seat in crowd)
    stage.the_registry_says(lobby=4)
    assert stage.the_rooms_say(lobby=4) == ["lobby"]
    assert all(seat.heard == [RoomList([("lobby", 4)])] for seat in crowd)
    last = stage.asks()
    stage.the_registry_says(lobby=5)
    stage.the_rooms_say(lobby=5)
    assert last.heard == [RoomList([("lobby", 5)])]
