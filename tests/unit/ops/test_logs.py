"""Log lines: their two forms, and that neither their content nor their reader can do harm."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from unittest.mock import ANY

import pytest

from gateway.ops import logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("gateway")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def text_line(capsys: pytest.CaptureFixture[str], event: str, /, **fields: object) -> str:
    logs.setup("text")
    logs.get_logger("gateway.test").info(event, **fields)
    return capsys.readouterr().err


def json_line(
    capsys: pytest.CaptureFixture[str], event: str, /, **fields: object
) -> dict[str, object]:
    logs.setup("json")
    logs.get_logger("gateway.test").info(event, **fields)
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    assert out.isascii()
    line: dict[str, object] = json.loads(out)
    return line


def test_a_text_line_has_time_level_event_and_fields(capsys):
    line = text_line(capsys, "ready", address="127.0.0.1:8080", gateway="ab12")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} info ready address=127\.0\.0\.1:8080 gateway=ab12\n", line
    )


def test_a_json_line_has_time_level_event_and_fields(capsys):
    line = json_line(capsys, "ready", address="127.0.0.1:8080", count=3, on=True, none=None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "info",
        "event": "ready",
        "address": "127.0.0.1:8080",
        "count": 3,
        "on": True,
        "none": None,
    }


def test_what_is_bound_is_in_every_line_of_both_forms(capsys, monkeypatch):
    """Issue: correlation by gateway and session id."""
    monkeypatch.setattr(logs, "_bound", {})
    logs.bind(gateway="ab12")
    assert json_line(capsys, "joined", name="alice") == {
        "time": ANY,
        "level": "info",
        "event": "joined",
        "gateway": "ab12",
        "name": "alice",
    }
    assert text_line(capsys, "joined", name="alice").endswith("joined gateway=ab12 name=alice\n")
    logging.getLogger("redis").warning("reconnecting")
    assert capsys.readouterr().err.endswith("reconnecting gateway=ab12 logger=redis\n")


def test_a_json_field_cannot_take_the_place_of_the_event(capsys):
    line = json_line(capsys, "ready", event="other", level="x")
    assert line["event"] == "ready"
    assert line["event_"] == "other"
    assert line["level_"] == "x"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ('a"b', '"a\\"b"'),
        ("a\\nb", '"a\\\\nb"'),
        ("x\n12:00:00.000 info ready", '"x\\n12:00:00.000 info ready"'),
        ("\x1b[2J", '"\\x1b[2J"'),
        ("\x9b2J\x85\u2028\u202e", '"\\x9b2J\\x85\\u2028\\u202e"'),
        ("a=b", '"a=b"'),
        ("José", "José"),
        (1.5, "1.5"),
        (False, "false"),
        (None, "null"),
        (["a", "b c"], '[a,"b c"]'),
        (OSError("no\nway"), '"no\\nway"'),
        (float("nan"), "nan"),
    ],
)
def test_a_value_is_one_word_that_no_terminal_acts_on(capsys, value, shown):
    assert text_line(capsys, "e", value=value).split(" ", 3)[3] == f"value={shown}\n"


@pytest.mark.parametrize("value", ["\n{}", "\x1b[2J\x9b\u2028", "\ud800", float("inf")])
def test_a_json_value_stays_on_its_line(capsys, value):
    assert json_line(capsys, "e", value=value)["value"] in (value, "inf")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@host:1/0", "redis://***@host:1/0"),
        ("redis://:se/cr@et@host", "redis://***@host"),
        ("redis://host?password=secret&db=1", "redis://host?password=***&db=1"),
        ("redis://host/1", "redis://host/1"),
    ],
)
def test_no_password_of_a_url_is_logged(capsys, url, shown):
    assert json_line(capsys, "e", url=url)["url"] == shown
    assert "cr" not in text_line(capsys, "e", url=url, error=OSError(f"cannot reach {url}"))


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback_is_logged_and_cannot_be_taken_for_events(capsys, format):
    logs.setup(format)
    try:
        raise ValueError("one\n12:00:00.000 info ready\x1b[2J")
    except ValueError:
        logs.get_logger("gateway.test").exception("task failed", task="relay")
    first, *rest = capsys.readouterr().err.splitlines()
    assert "ValueError" in "".join([first, *rest])
    assert "\x1b" not in "".join([first, *rest])
    assert all(line.startswith("    ") for line in rest)
    assert (rest == []) == (format == "json")


def test_what_is_below_the_level_is_not_even_made(capsys):
    class Unshowable:
        def __str__(self) -> str:
            raise AssertionError

    logs.setup("text", logging.WARNING)
    logs.get_logger("gateway.test").info("e", value=Unshowable())
    assert capsys.readouterr().err == ""


def test_libraries_are_heard_from_warning_on_with_their_name(capsys):
    logs.setup("text")
    logging.getLogger("asyncio").info("quiet")
    logging.getLogger("asyncio").warning("slow %s", "task")
    assert capsys.readouterr().err[13:] == "warning slow task logger=asyncio\n"


def test_setting_up_twice_logs_once(capsys):
    logs.setup("text")
    assert text_line(capsys, "once").count("once") == 1


def test_a_process_whose_stderr_broke_goes_on_and_exits_with_its_own_code():
    """A reader that goes away (``gateway serve 2>&1 | head``) does not end a gateway."""
    program = """
import sys
from gateway.ops import logs
logs.setup("text")
log = logs.get_logger("gateway.test")
sys.stdin.readline()
for _ in range(3):
    log.info("into the void")
print("alive")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.read() == "alive\n"
        assert process.wait(30) == 0


def test_a_process_without_a_stderr_goes_on():
    program = (
        "import sys; sys.stderr = None; from gateway.ops import logs; logs.setup('json');"
        "logs.get_logger('gateway.test').info('e'); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("alive\n", 0)
