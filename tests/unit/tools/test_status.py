"""What ``gateway status`` makes of what gateways wrote: also of what other versions wrote."""

from __future__ import annotations

import json

import pytest

from gateway.config import Config
from gateway.tools.status import Report, Standing

SAID = {
    "version": "1.2.3",
    "started_at": 1000,
    "connections": 7,
    "rooms": 2,
    "loop_lag_s": 0.004,
    "delivery_lag_s": 0.012,
    "rooms_behind": 0,
    "outbox_bytes": 0,
    "draining": False,
    "why_not_ready": [],
}


def standing(silent=0, now=4700, **changes):
    return Standing.of("ab12", SAID | changes, now, silent)


def shown(*gateways, rooms=(), warnings=()):
    return Report(gateways, rooms, warnings).as_text()


def test_a_healthy_gateway_is_one_row_without_warnings():
    gateway = standing()
    assert gateway.warnings(Config()) == []
    heading, row, *_ = shown(gateway).splitlines()
    words = "GATEWAY VERSION UPTIME CONNECTIONS ROOMS LOOP LAG LOG LAG STATE"
    assert " ".join(heading.split()) == words
    assert " ".join(row.split()) == "ab12 1.2.3 1 h 1 min 7 2 4 ms 12 ms ready"


@pytest.mark.parametrize(
    ("gateway", "warning"),
    [
        (standing(silent=None), "dead"),
        (standing(silent=3), "missed 3 beats"),
        (standing(loop_lag_s=0.3), "its loop was held up for 300 ms"),
        (standing(delivery_lag_s=2.5), "delivered 2.5 s behind the log"),
        (standing(outbox_bytes=9_000_000), "9000000 bytes wait for Redis"),
        (standing(why_not_ready=["full: 7 connections"]), "not ready: full: 7 connections"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gateway_that_fell_behind_is_warned_of(gateway, warning):
    (text,) = gateway.warnings(Config())
    assert text.startswith("ab12 ")
    assert warning in text
    assert f"WARNING: {text}" in shown(gateway, warnings=[text])


@pytest.mark.parametrize(
    "changes", [{"draining": True, "why_not_ready": ["draining"]}, {"why_not_ready": ["starting"]}]
)
def test_what_is_as_it_should_be_is_no_warning(changes):
    assert standing(**changes).warnings(Config()) == []


@pytest.mark.parametrize(
    ("changes", "silent", "state"),
    [
        ({}, 0, "ready"),
        ({}, None, "dead"),
        ({"draining": True, "why_not_ready": ["draining"]}, 0, "draining"),
        ({"why_not_ready": ["starting", "Redis"]}, 0, "starting"),
        ({"why_not_ready": ["full"]}, 0, "not ready"),
    ],
)
def test_its_state_is_shown(changes, silent, state):
    row = shown(standing(silent, **changes)).splitlines()[1]
    assert row.endswith(f"  {state}")


def test_a_gateway_of_another_version_that_says_less_or_more_is_shown():
    for said in ({}, {"version": "9", "mood": "fine"}):
        gateway = Standing.of("ab12", said, 1000, 0)
        assert gateway.warnings(Config()) == []
        assert "ab12" in shown(gateway)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (90000, "1 d 1 h")],
)
def test_uptime_is_easy_to_read(seconds, text):
    assert f"  {text}  " in shown(standing(now=1000 + seconds))


def test_only_the_biggest_rooms_are_shown_as_text_but_all_as_json():
    rooms = [(f"room{number}", 100 - number) for number in range(30)]
    report = Report([], rooms, [])
    assert "room19" in report.as_text()
    assert "room20" not in report.as_text()
    assert "and 10 more" in report.as_text()
    assert len(json.loads(report.as_json())["rooms"]) == 30


def test_nothing_that_is_in_redis_acts_on_the_terminal():
    text = shown(standing(version="\x1b[2J"), rooms=[("\x9b2J\u202e", 1)])
    assert text.replace("\n", "").isprintable()
