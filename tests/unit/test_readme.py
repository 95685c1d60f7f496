"""The README, held against the code.  Run as a program, it writes the settings anew."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.chat.commands import TABLE
from gateway.chat.events import (
    Envelope,
    GatewayId,
    Joined,
    Left,
    Message,
    NamePrompt,
    RoomEvent,
    Said,
    SessionId,
    Welcome,
)
from gateway.cli import cli, settings_table
from gateway.fronts.line import LF

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
START, END = "<!-- settings: written by `make readme` -->\n", "<!-- end of settings -->\n"


def with_settings(text: str) -> str:
    """``text`` with the table of settings as the code has it."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    assert end, f"README.md lacks the lines {START!r} and {END!r}"
    return f"{before}{START}\n{settings_table()}\n\n{END}{after}"


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text("utf-8")


def fences(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)


def test_the_table_of_settings_is_that_of_the_code(readme):
    """STYLE: limits and defaults live in Config alone."""
    assert readme == with_settings(readme), "README.md: run `make readme`"


def test_each_make_target_that_is_named_exists(readme):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    code = "\n".join(fences(readme) + re.findall(r"`(make [^`]+)`", readme))
    named = {
        word
        for words in re.findall(r"^make ([^#\n]*)", code, re.M)
        for word in words.split()
        if "=" not in word
    }
    assert {"cluster", "test"} <= named <= targets


def test_each_place_that_is_named_exists(readme):
    places = re.findall(r"`((?:gateway|tests|deploy|\.ci)/[\w./]*)`", readme)
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_each_part_of_the_code_is_named(readme):
    _, _, section = readme.partition("## Where each thing lives")
    package = ROOT / "gateway"
    folders = {f"gateway/{path.parent.name}/" for path in package.glob("*/*.py")}
    modules = {f"gateway/{path.name}" for path in package.glob("*.py") if path.name[0] != "_"}
    assert {place for place in folders | modules if f"`{place}`" not in section} == set()


def test_each_command_is_named(readme):
    typed = {f"/{row.word} {row.usage}".strip() for row in TABLE}
    assert {words for words in typed if f"`{words.split()[0]}" not in readme} == set()
    assert {name for name in cli.commands if f"`gateway {name}`" not in readme} == set()


def test_each_package_has_a_line_that_says_why(readme):
    _, _, section = readme.partition("## Packages")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(package for extra in extras for package in extra)]
    names = {re.split(r"[\[<>=~!; ]", package)[0] for package in wanted}
    first_cells = " ".join(re.findall(r"^\|([^|]*)\|", section, re.M))
    assert {name for name in names if f"`{name}`" not in first_cells} == set()


def test_the_transcript_has_the_texts_of_the_line_front(readme):
    """DESIGN 4: the texts of the line front are fixed."""
    transcript = "".join(fence for fence in fences(readme) if fence.startswith("$ nc"))
    alice, bob = (
        Message(SessionId("s"), *said) for said in (("alice", "hi bob"), ("bob", "hi alice"))
    )
    # 12:04 UTC.
    at_ms = 12 * 3_600_000 + 4 * 60_000
    history = [Said("lobby", as_published(said, at_ms)) for said in (alice, bob)]
    names = ("alice", "bob", "carol")
    texts = [
        LF.encode(NamePrompt()),
        LF.encode(Welcome("alice", "lobby", "e", 1, 1, names[:1], ())),
        LF.encode(Welcome("bob", "lobby", "e", 2, 2, names[:2], ())),
        LF.encode(Welcome("carol", "lobby", "e", 5, 3, names, history)),
        *(
            LF.encode(as_published(event))
            for event in (alice, bob, Joined(SessionId("s"), "carol"))
        ),
        LF.encode(as_published(Message(SessionId("s"), "carol", "hello both"))),
        LF.encode(as_published(Left(SessionId("s"), "bob"))),
    ]
    assert [text for text in texts if text.decode() not in transcript] == []


def as_published(event: RoomEvent, at_ms: int = 0) -> Envelope:
    return Envelope(1, "epoch", at_ms, GatewayId("g"), event, b"")


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text("utf-8")), "utf-8")
