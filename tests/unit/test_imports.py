"""The import table of the design, held against the code.

Every import counts: at the top, inside functions, and for type checking only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gateway"

# What each part may import of the others; "chat" stands for all of gateway.chat,
# "chat.events" for that module alone.
MAY_IMPORT: dict[str, set[str]] = {
    "chat": set(),
    "fronts": {"chat"},
    "net": {"chat", "fronts", "config", "ops.logs"},
    "broker": {"chat.events", "config", "cadence", "processes", "ops.logs", "ops.histogram"},
    "ops": {"config"},
    "client": {"chat.text"},
    "rooms": {"chat", "fronts", "broker", "ops.logs", "ops.histogram", "config", "cadence"},
    "seats": {"chat", "fronts", "net", "broker", "rooms", "ops", "config"},
    "tools": {
        "chat",
        "fronts",
        "net",
        "broker",
        "rooms",
        "seats",
        "ops",
        "config",
        "client",
        "processes",
        "GLUE",
    },
    # The modules beside the folders.  GLUE is every one that is not named here:
    # server and its like, which put the folders together.
    "GLUE": {"chat", "fronts", "net", "broker", "rooms", "seats", "ops", "config", "GLUE"},
    "config": set(),
    "cadence": {"config"},
    "processes": set(),
    "cli": {"chat", "fronts", "net", "broker", "rooms", "ops", "config", "GLUE", "tools"},
    "__main__": {"cli"},
    "__init__": set(),
}

# What a part may not import of the world: DESIGN 3, "no sockets, no Redis, no clock".
_IO = {"socket", "ssl", "select", "selectors", "asyncio", "uvloop"}
_REDIS = {"redis", "hiredis"}
MAY_NOT_USE: dict[str, set[str]] = {
    "chat": _IO | _REDIS | {"time"},
    "fronts": _IO | _REDIS | {"time"},
    "net": _REDIS,
    "client": _REDIS,
}


def violations(package: Path) -> list[str]:
    """Each import in ``package`` that the tables forbid, and each folder they do not know."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        part = _part_of(package, name)
        if part not in MAY_IMPORT:
            found.append(f"{name}: the folder {part} is not in the table")
            continue
        for line, target in _imports(package, path, name):
            where = f"{name}:{line}"
            if target.startswith("."):
                if not _may(package, part, target[1:]):
                    found.append(f"{where}: {part} may not import {target[1:]}")
            elif target.partition(".")[0] in MAY_NOT_USE.get(part, ()):
                found.append(f"{where}: {part} may not use {target}")
    return found


def _part_of(package: Path, name: str) -> str:
    first = name.partition(".")[0]
    if (package / first).is_dir() or first in MAY_IMPORT:
        return first
    return "GLUE"


def _may(package: Path, part: str, target: str) -> bool:
    # "" is gateway/__init__.py, which holds the version and imports nothing.
    if not target or (to := _part_of(package, target)) == part:
        return True
    return any(
        target == allowed or target.startswith(f"{allowed}.") or to == allowed
        for allowed in MAY_IMPORT[part]
    )


def _imports(package: Path, path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Line and target of each import; a target inside the package starts with a dot."""
    own = package.name
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, _inside(alias.name, own)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = [own, *name.split(".")][: -node.level]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                # ``from gateway.chat import events`` imports a module, or a name in one.
                module = _inside(f"{base}.{alias.name}", own)
                yield node.lineno, module if _is_module(package, module) else _inside(base, own)


def _inside(target: str, own: str) -> str:
    first, _, rest = target.partition(".")
    return f".{rest}" if first == own else target


def _is_module(package: Path, target: str) -> bool:
    path = package.joinpath(*target[1:].split("."))
    return target.startswith(".") and (path.is_dir() or path.with_suffix(".py").is_file())


def test_the_code_keeps_to_the_import_table():
    """DESIGN 3: imports point one way."""
    assert violations(PACKAGE) == []


def test_the_table_names_no_folder_that_is_gone():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert set(MAY_IMPORT) <= folders | modules | {"GLUE"}


@pytest.fixture
def house(tmp_path):
    """A package in which every allowed import is there, and nothing else."""
    files = {
        "__init__": "",
        "__main__": "from gateway.cli import main",
        "cli": "from gateway import __version__\nfrom gateway.tools.cluster import run",
        "config": "import dataclasses",
        "rooms.hub": "from gateway.chat.events import Event\nfrom gateway.rooms import fan_out",
        "rooms.fan_out": "",
        "seats.host": "from gateway.rooms.hub import Hub\nfrom gateway.net import connection",
        "server": "from gateway.seats import host\nfrom gateway.broker import publisher",
        "chat.__init__": "",
        "chat.events": "",
        "chat.text": "from gateway.chat import events",
        "chat.session": "from . import text\nfrom .events import Event",
        "fronts.line": "from gateway.chat import text",
        "net.connection": "import asyncio\nfrom ..fronts import line\nimport gateway.ops.logs",
        "broker.publisher": "import redis\nfrom gateway.chat import events",
        "ops.logs": "import gateway.config",
        "client.chat": "import asyncio\nfrom gateway.chat.text import clean_line",
        "tools.cluster": "from gateway.server import serve\nfrom gateway.client import chat",
    }
    package = tmp_path / "gateway"
    for name, text in files.items():
        plant(package, name, text)
    return package


def plant(package, name, text):
    path = package.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_house_in_order_has_no_violations(house):
    assert violations(house) == []


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("chat.text", "import gateway.net.connection", "chat may not import net.connection"),
        ("chat.text", "from gateway import config", "chat may not import config"),
        ("chat.text", "from ..fronts import line", "chat may not import fronts.line"),
        ("chat.text", "from ..rooms import hub", "chat may not import rooms.hub"),
        ("chat.text", "import time", "chat may not use time"),
        ("chat.text", "from asyncio import sleep", "chat may not use asyncio"),
        ("chat.__init__", "from ..ops import logs", "chat may not import ops.logs"),
        ("fronts.line", "import gateway.config", "fronts may not import config"),
        ("fronts.line", "import socket", "fronts may not use socket"),
        ("net.connection", "from gateway.broker.publisher import x", "net may not import broker"),
        ("net.connection", "import redis.asyncio", "net may not use redis.asyncio"),
        ("net.connection", "from gateway.ops import admin", "net may not import ops"),
        ("broker.publisher", "from gateway.chat import text", "broker may not import chat.text"),
        ("broker.publisher", "from gateway.chat import x", "broker may not import chat"),
        ("broker.publisher", "import gateway.rooms.hub", "broker may not import rooms.hub"),
        ("ops.logs", "from gateway.rooms.hub import Hub", "ops may not import rooms.hub"),
        ("rooms.hub", "from gateway.net import connection", "rooms may not import net.connection"),
        ("rooms.hub", "from gateway.seats import host", "rooms may not import seats.host"),
        ("tools.cluster", "from gateway.cli import main", "tools may not import cli"),
        ("client.chat", "from gateway.chat import events", "client may not import chat.events"),
        ("client.chat", "import gateway.config", "client may not import config"),
        ("server", "from gateway.client import chat", "GLUE may not import client.chat"),
        ("server", "from gateway.tools import cluster", "GLUE may not import tools.cluster"),
        ("server", "import gateway.cli", "GLUE may not import cli"),
        ("config", "from gateway.ops.logs import setup", "config may not import ops.logs"),
        ("__init__", "from gateway.config import Config", "__init__ may not import config"),
        ("misc.things", "", "the folder misc is not in the table"),
        ("hub", "from gateway.misc import things", "GLUE may not import misc"),
    ],
)
@pytest.mark.parametrize(
    "around",
    ["{}", "def f():\n    {}", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}"],
    ids=["top", "nested", "type-checking"],
)
def test_a_planted_violation_is_found(house, module, text, found, around):
    (house / "misc").mkdir()
    plant(house, module, around.format(text))
    (violation,) = violations(house)
    assert violation.startswith(module)
    assert found in violation
