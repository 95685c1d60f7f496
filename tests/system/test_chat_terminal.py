"""``gateway chat`` as people see it: in a real terminal (tmux), and in pipes.

``screens/`` keeps what the screen must look like; ``SCREENS=write`` writes it anew.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from cluster import Cluster
from front_port import FrontPort
from people import Person
from processes import REPOSITORY, Process, eventually

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
SCREENS = Path(__file__).with_name("screens")
PATIENCE_S = 15


class Terminal(Process):
    """A terminal of 72 columns and 16 lines, with ``gateway chat`` in it."""

    def __init__(self, columns: int = 72, rows: int = 16) -> None:
        super().__init__("terminal")
        self._socket = str(self.directory / "tmux")
        self.columns, self.rows = columns, rows

    def tmux(self, *command: str) -> str:
        argv = ["tmux", "-f", "/dev/null", "-S", self._socket, *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    def run(self, port: int, *arguments: str, **environment: str) -> Terminal:
        """Start the client; a shell stays when it has ended."""
        settings = {
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "XDG_STATE_HOME": str(self.directory),
            "PYTHONPATH": str(REPOSITORY),
            **environment,
        }
        variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in settings.items())
        program = shlex.join([sys.executable, "-m", "gateway", "chat", f"localhost:{port}"])
        line = (
            f"env -u NO_COLOR {variables} {program} {shlex.join(arguments)}; echo ended $?; exec sh"
        )
        size = ("-x", str(self.columns), "-y", str(self.rows))
        self.tmux("new-session", "-d", *size, "sh", "-c", line)
        return self

    def keys(self, *keys: str) -> None:
        """Keys by tmux's names: ``Enter``, ``C-c``, ``Tab``."""
        self.tmux("send-keys", *keys)

    def type(self, text: str, *keys: str) -> None:
        self.tmux("send-keys", "-l", "--", text)
        if keys:
            self.keys(*keys)

    def paste(self, text: str) -> None:
        """As a terminal does it: in brackets, if the program asked for that."""
        self.tmux("set-buffer", "--", text)
        self.tmux("paste-buffer", "-p")

    @property
    def screen(self) -> str:
        lines = self.tmux("capture-pane", "-p").splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    async def shows(self, *texts: str, within_s: float = PATIENCE_S) -> None:
        """Wait until all of ``texts`` are to be seen at once."""
        await eventually(
            lambda: all(text in self.screen for text in texts),
            within_s,
            str(texts),
            lambda: f"\n{self.screen}",
        )

    async def looks_like(self, name: str) -> None:
        """Wait until the screen is the one that is kept under ``name``."""
        path = SCREENS / f"{name}.txt"
        if os.environ.get("SCREENS") == "write":
            path.write_text(self._timeless(), "utf-8")
        wanted = path.read_text("utf-8")
        await eventually(
            lambda: self._timeless() == wanted, PATIENCE_S, f"{path.name}", lambda: self.screen
        )

    def _timeless(self) -> str:
        text = re.sub(r"(?m)^\d\d:\d\d ", "HH:MM ", self.screen)
        text = re.sub(r"after \d+\.\d s", "after N s", text)
        return re.sub(r"connected(, \d+ ms)?", "connected", text) + "\n"

    @property
    def running(self) -> bool:
        return self in Process.living and Path(self._socket).exists()

    def kill(self) -> None:
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False
        )


@pytest_asyncio.fixture
async def front(processes_end: None) -> AsyncIterator[FrontPort]:
    front = await FrontPort.start(2)
    yield front
    front.close()


@pytest_asyncio.fixture
async def alice(gateway: Cluster) -> Terminal:
    """Alice in a terminal, and bob on ``nc``."""
    terminal = Terminal().run(gateway.gateways[0].port, "--name", "alice")
    await terminal.shows("welcome to lobby", "connected")
    return terminal


async def newcomer(gateway: Cluster, name: str) -> Person:
    person = await gateway.newcomer()
    await person.join(name)
    return person


async def test_a_conversation(gateway: Cluster, alice: Terminal):
    """Issue 5: others' lines scroll by above, the line being typed stays."""
    bob = await newcomer(gateway, "bob")
    alice.type("half a li")
    await bob.say("hi, Alice, how are you?", "/me waves")
    await alice.shows("alice: half a li", "** bob waves")
    await bob.say("/msg alice psst")
    await alice.shows("alice: half a li", "psst")
    alice.type("ne", "Enter")
    await bob.hear("alice: half a line")
    alice.type("/me nods", "Enter")
    await bob.hear("** alice nods")
    alice.type("/msg bob psst yourself", "Enter")
    await bob.hear("alice (private): psst yourself")
    await bob.leave()
    await alice.shows("bob has left the chat", "1 person")
    await alice.looks_like("conversation")


async def test_commands(alice: Terminal):
    for line in ["/who", "/rooms", "/nick ann", "/history 3", "/wo", "/msg bob hi", "/msg bob"]:
        alice.type(line, "Enter")
    await alice.shows("usage: /msg NAME TEXT", "bob is not here", "you are now known as ann")
    await alice.shows("* nothing was said here", "* rooms, biggest first:")
    alice.type("/join Kitchen", "Enter")
    await alice.shows("welcome to kitchen, ann")
    alice.type("/leave", "Enter")
    await alice.shows("welcome to lobby, ann")
    alice.type("/quit", "Enter")
    await alice.shows("ended 0")


async def test_two_clients_on_two_gateways_and_one_is_killed_while_a_line_is_half_typed(
    front: FrontPort,
):
    """Issue 5: nothing lost, nothing doubled, unsent lines sent once; one dim line tells of it."""
    alice = Terminal().run(front.port, "--name", "alice")
    await alice.shows("welcome to lobby, alice", "connected")
    bob = Terminal().run(front.port, "--name", "bob")
    await bob.shows("welcome to lobby, bob", "connected")
    bob.type("before", "Enter")
    await alice.shows("bob: before")
    alice.type("half ty")
    await alice.shows("alice: half ty")
    front.gateway_of("alice").kill()
    bob.type("meanwhile", "Enter")
    alice.type("ped", "Enter")
    await bob.shows("alice: half typed", within_s=30)
    await alice.shows("connected again", "bob: meanwhile", "alice: half typed")
    for terminal in (alice, bob):
        for line in ("bob: before", "bob: meanwhile", "alice: half typed"):
            assert terminal.screen.count(line) == 1
        assert "left" not in terminal.screen
    assert alice.screen.count("* ") == 2, "the welcome, and one line about the connection"


async def test_lines_in_many_scripts_fit_the_columns(gateway: Cluster, alice: Terminal):
    """Issue 5: Russian, Chinese, Arabic, emoji with correct column widths."""
    for name, line in [
        ("Иван", "привет, как дела? я пишу тебе длинную строку, чтобы она не поместилась"),
        ("小明", "你好世界" * 20),
        ("ليلى", "مرحبا بالعالم كيف حالك اليوم هذه جملة طويلة جدا حتى لا تتسع في سطر واحد"),
        ("emo", "🙂" * 40),
    ]:
        person = await newcomer(gateway, name)
        await person.say(line)
        await alice.shows(f"{name}: ")
        await person.leave()
        await alice.shows(f"{name} has left the chat")
    assert all(len(line) <= alice.columns for line in alice.screen.splitlines())
    await alice.looks_like("scripts")


async def test_a_paste_of_several_lines_asks_first(gateway: Cluster, alice: Terminal):
    bob = await newcomer(gateway, "bob")
    alice.type("my list: ")
    alice.paste("one\n/quit\n\nthree\n")
    await alice.shows("say these 3 lines?")
    await alice.looks_like("paste")
    alice.keys("n")
    await alice.shows("alice: my list:")
    alice.paste("one\n/quit\nthree\n")
    await alice.shows("say these 3 lines?")
    alice.keys("y")
    await bob.expect("alice: my list: one", "alice: /quit", "alice: three")
    alice.paste("a single line")
    await alice.shows("alice: a single line")
    alice.keys("Enter")
    await bob.expect("alice: a single line")


async def test_the_tab_key_completes_names_and_commands(gateway: Cluster, alice: Terminal):
    await newcomer(gateway, "Barbara")
    await alice.shows("Barbara joined", "2 people")
    alice.type("bar")
    alice.keys("Tab")
    await alice.shows("alice: Barbara: ".rstrip())
    alice.keys("C-c")
    alice.type("/he")
    alice.keys("Tab")
    await alice.shows("alice: /help")


async def test_what_was_typed_is_remembered_from_one_time_to_the_next(
    gateway: Cluster, alice: Terminal
):
    alice.type("remember me", "Enter")
    await alice.shows("alice: remember me")
    alice.keys("C-d")
    await alice.shows("ended 0")
    history = alice.directory / "chat-gateway" / "history"
    assert history.stat().st_mode & 0o077 == 0
    again = Terminal()
    again.run(gateway.gateways[0].port, "--name", "ann", XDG_STATE_HOME=str(alice.directory))
    await again.shows("welcome to lobby, ann", "ann:")
    again.keys("Up")
    await again.shows("ann: remember me")


async def test_a_name_is_asked_for_until_one_is_accepted(gateway: Cluster):
    await gateway.join("alice")
    terminal = Terminal().run(gateway.gateways[0].port, GATEWAY_NAME="", LOGNAME="alice")
    await terminal.shows("Enter your name [alice]:")
    terminal.keys("Enter")
    await terminal.shows("alice is taken", "Enter your name [alice]:")
    terminal.type("bob", "Enter")
    await terminal.shows("welcome to lobby, bob")


async def test_nobody_at_the_address_is_one_line_and_exit_code_1(processes_end: None):
    terminal = Terminal().run(1, "--name", "alice")
    await terminal.shows("gateway chat: cannot reach localhost:1: Connection refused", "ended 1")


async def test_the_screen_follows_the_size_of_the_terminal(gateway: Cluster, alice: Terminal):
    bob = await newcomer(gateway, "bob")
    alice.tmux("resize-window", "-x", "40", "-y", "10")
    await bob.say("x" * 20 + " " + "y" * 20)
    await alice.shows("yyyy")
    rows = alice.screen.splitlines()
    assert [row.strip() for row in rows if "yyyy" in row] == ["y" * 20]
    assert rows[-1].startswith(" lobby · 2 people")


async def test_no_color_means_none(gateway: Cluster, alice: Terminal):
    """https://no-color.org"""
    plain = Terminal().run(gateway.gateways[0].port, "--name", "carol", NO_COLOR="1")
    bob = await newcomer(gateway, "bob")
    await bob.say("hi carol")
    coloured = re.compile(r"\x1b\[[\d;]*?(?<![\d])(3[0-7]|9[0-7])[;m]")
    for terminal, wanted in ((alice, True), (plain, False)):
        await terminal.shows("bob: hi carol")
        assert bool(coloured.search(terminal.tmux("capture-pane", "-pe"))) is wanted


async def test_the_bell_rings_when_ones_name_is_said(gateway: Cluster, alice: Terminal):
    bob = await newcomer(gateway, "bob")
    rung = "#{window_bell_flag}"
    alice.tmux("set-option", "-g", "monitor-bell", "on")
    alice.tmux("new-window", "-d", "sleep", "1000")
    alice.tmux("select-window", "-t", ":1")
    await bob.say("malice is not a name here")
    await eventually(
        lambda: "malice" in alice.tmux("capture-pane", "-p", "-t", ":0"), PATIENCE_S, "the line"
    )
    assert alice.tmux("display-message", "-p", "-t", ":0", rung).strip() == "0"
    await bob.say("are you there, ALICE?")
    await eventually(
        lambda: alice.tmux("display-message", "-p", "-t", ":0", rung).strip() == "1",
        PATIENCE_S,
        "the bell",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_the_terminal_is_as_it_was_when_a_signal_ends_it(alice: Terminal, number):
    pid = alice.tmux("display-message", "-p", "#{pane_pid}").strip()
    (client,) = psutil.Process(int(pid)).children()
    client.send_signal(number)
    await alice.shows("ended 0")
    alice.type("echo is $((40 + 2))", "Enter")
    await alice.shows("is 42", "echo is $((40 + 2))")
