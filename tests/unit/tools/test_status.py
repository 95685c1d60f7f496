"""What ``gateway status`` makes of what stands in Redis, whatever that is."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gateway.config import Config
from gateway.tools.status import Report, Standing, _read_description

FINE = {
    "version": "1.0",
    "host": "web1",
    "address": "10.0.0.1:8080",
    "started_at": 1000,
    "connections": 7,
    "rooms": 2,
    "loop_lag_s": 0.4,
    "delivery_lag_s": 0.1,
    "rooms_behind": 1,
    "behind_s": 2.0,
    "outbox_bytes": 100,
    "draining": False,
    "why_not_ready": [],
}


def standing(id="ab12", *, silent=0, silent_s=0.0, **said):
    return Standing.of(id, FINE | said, 2000, silent, silent_s)


def warnings(**said):
    return standing(**said).warnings(Config())


def test_what_a_gateway_says_is_shown():
    standing = Standing.of("ab12", FINE, 2000, 0)
    assert standing.uptime_s == 1000
    shown = {name: value for name, value in asdict(standing).items() if name in FINE}
    assert shown == {name: FINE[name] for name in shown}
    _, row = Report([standing], [], []).as_text().splitlines()[:2]
    assert row.split()[:4] == ["ab12", "web1", "10.0.0.1:8080", "1.0"]
    assert "(1 rooms behind)" in row


def test_small_things_are_no_warnings():
    """A pause of the loop, a beat that is late, a log that is read after a hole."""
    assert warnings() == []
    assert warnings(silent=2, silent_s=2.9) == []
    assert warnings(draining=True, why_not_ready=["draining"]) == []
    assert warnings(why_not_ready=["starting"]) == []


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ({"silent": 3, "silent_s": 3.0}, "has been silent for 3 s"),
        ({"silent": 0, "silent_s": 70.0}, "has been silent for 1 min"),
        ({"silent": 9, "silent_s": 9.0, "loop_lag_s": 2, "draining": True}, "silent for 9 s"),
        ({"silent": None}, "is dead"),
        ({"loop_lag_s": 1.2}, "held up for 1.2 s in the last minute"),
        ({"delivery_lag_s": 3}, "3.0 s behind the log in the last minute"),
        ({"behind_s": 12.5}, "behind the log of some room for 12.5 s"),
        ({"outbox_bytes": 10**7}, "wait for Redis"),
        ({"why_not_ready": ["full: 9 connections"]}, "not ready: full"),
    ],
)
def test_trouble_is_a_warning(said, warned):
    (warning,) = warnings(**said)
    assert warning.startswith("ab12 ")
    assert warned in warning


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"started_at": "noon", "connections": null, "rooms": [], "loop_lag_s": {}}',
        b'{"loop_lag_s": NaN, "connections": Infinity, "why_not_ready": "x", "draining": "no"}',
        b'{"started_at": -1e999, "outbox_bytes": -5, "why_not_ready": {"a": 1}, "version": [1]}',
    ],
    ids=lambda text: str(text[:30]),
)
def test_a_broken_entry_is_shown_as_far_as_it_goes(text):
    standing = Standing.of("ab12", _read_description(text), 2000, 0)
    report = Report([standing], [], standing.warnings(Config()))
    assert "ab12" in report.as_text()
    assert json.loads(report.as_json())["gateways"][0]["id"] == "ab12"
    assert "NaN" not in report.as_json()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, "ready"),
        ({"silent": 4, "silent_s": 4.3}, "silent 4 s"),
        ({"silent_s": 7300.0, "draining": True}, "silent 2 h 1 min"),
        ({"silent": None, "silent_s": 9.0}, "dead"),
        ({"draining": True, "why_not_ready": ["draining"]}, "draining"),
        ({"why_not_ready": ["starting", "Redis is not proven end to end"]}, "starting"),
        ({"why_not_ready": ["full: 9 connections"]}, "not ready"),
    ],
)
def test_the_state_of_a_gateway(said, shown):
    """One that is gone is not what it said of itself last."""
    report = Report([standing(**said)], [], [])
    assert report.as_text().splitlines()[1].endswith(f"  {shown}")
    (gateway,) = json.loads(report.as_json())["gateways"]
    assert shown.startswith(gateway["state"])
    assert gateway["silent_s"] == said.get("silent_s", 0.0)


def test_the_lags_are_named_what_they_are():
    """The highest of a minute, not what is now."""
    heading = Report([standing()], [], []).as_text().splitlines()[0]
    assert heading.endswith("MAX LOOP LAG  MAX LOG LAG              STATE")


STARTING = {"why_not_ready": ["starting"]}
GONE = {"silent": 5, "silent_s": 5.0}


@pytest.mark.parametrize(
    ("gateways", "serves", "warned"),
    [
        ([{}], True, []),
        ([{}, STARTING], True, []),
        ([{}, GONE], True, ["silent"]),
        ([STARTING], True, []),
        ([GONE], False, ["silent", "no gateway was ready"]),
        ([{"draining": True}], False, ["no gateway was ready"]),
        ([], False, ["no gateways: is this the Redis"]),
    ],
)
def test_what_is_wrong_with_the_whole(gateways, serves, warned):
    report = Report.of([standing(**said) for said in gateways], [], Config())
    assert report.serves is serves
    assert len(report.warnings) == len(warned)
    assert all(text in warning for text, warning in zip(warned, report.warnings, strict=True))
