"""Redis's clock as seen from here."""

from __future__ import annotations

from gateway.broker.clock import RedisClock


def clock_at(monkeypatch, now):
    monkeypatch.setattr("gateway.broker.clock.time.monotonic", lambda: now)


def test_before_it_was_heard_there_is_no_time():
    assert RedisClock().now_s() is None


def test_the_middle_of_the_question_is_the_moment_of_the_answer(monkeypatch):
    clock = RedisClock()
    clock.heard(5000.0, asked_at=100.0, answered_at=100.2)
    clock_at(monkeypatch, 110.1)
    assert abs(clock.now_s() - 5010.0) < 1e-6


def test_the_quickest_answer_counts(monkeypatch):
    clock = RedisClock()
    clock.heard(5000.9, asked_at=100.0, answered_at=101.0)
    clock.heard(5005.0, asked_at=105.0, answered_at=105.001)
    clock.heard(5010.3, asked_at=110.0, answered_at=110.4)
    clock_at(monkeypatch, 120.0)
    assert abs(clock.now_s() - 5020.0) < 0.001


def test_a_clock_that_was_set_is_believed_after_a_minute(monkeypatch):
    clock = RedisClock()
    clock.heard(5000.0, asked_at=100.0, answered_at=100.0)
    for seconds in range(1, 61):
        clock.heard(9000.0 + seconds, asked_at=100.0 + seconds, answered_at=100.1 + seconds)
    clock_at(monkeypatch, 161.0)
    assert abs(clock.now_s() - 9061.0) < 0.1
