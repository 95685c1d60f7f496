"""The commands: ``gateway serve`` and its kin, with flags made from ``Config``.

Knows how a setting is spelt on the command line, in the environment and in
the README; not what it does.  What a command needs is imported when it runs,
so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway import __version__, redis_url
from gateway.config import FLAGS, Config, SettingsError
from gateway.net.address import is_host
from gateway.ops import logs
from gateway.tools.bench.options import bench
from gateway.tools.flags import Flag, variable_of

if TYPE_CHECKING:
    import ssl

EXIT_FAILED = 1
EXIT_USAGE = 2
_METAVARS = {"lines/s": "RATE", "s": "SECONDS", "": "N"}

_Check = Callable[[click.Context, click.Parameter, str | None], Any]


def _number(kind: type[int] | type[float], least: float | None, most: float | None) -> _Check:
    """What makes a finite number within bounds of an option's text."""
    low = -math.inf if least is None else least
    high = math.inf if most is None else most
    what = "a whole number" if kind is int else "a number"

    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> int | float | None:
        if value is None:
            return None
        try:
            number = kind(value)
        except ValueError:
            number = math.nan
        if low <= number <= high and number != math.inf:
            return number
        wanted = f"{what} {_bounds(least, most)}".rstrip()
        raise click.BadParameter(f"{value!r} is not {wanted}", ctx, param)

    return check


def _bounds(least: float | None, most: float | None) -> str:
    if most is None:
        return "" if least is None else f"from {least} up"
    return f"up to {most}" if least is None else f"from {least} to {most}"


def _redis_url(ctx: click.Context, param: click.Parameter, url: str | None) -> str | None:
    """The URL, if redis-py can use it.  What is wrong with one is told without showing it."""
    if url and (problem := redis_url.problem_of(url)):
        raise click.BadParameter(problem, ctx, param)
    return url


def _address_to_listen_on(ctx: click.Context, param: click.Parameter, host: str) -> str:
    """Not '', which would be every address of the machine."""
    if not host:
        raise click.BadParameter("which address? (0.0.0.0 is all of them)", ctx, param)
    if not is_host(host):
        raise click.BadParameter(f"{host!r} is no address", ctx, param)
    return host


_CHECKS = {
    "redis_url": _redis_url,
    "host": _address_to_listen_on,
    "admin_host": _address_to_listen_on,
}


def _check_password_file(url: str, path: str) -> None:
    """Raises ``UsageError`` for a password in a file that belongs to no Redis, or to two."""
    if problem := redis_url.problem_of_password_file(url, path):
        ctx = click.get_current_context()
        flags = {each.name: each for each in ctx.command.params}
        raise click.BadParameter(problem, ctx, flags["redis_password_file"])


def _hide_password(url: str) -> None:
    """A password on the command line is warned of, and taken from there into the environment.

    This process begins anew for that, and keeps its id and what it inherited: no
    system lets a program change what others read of its command line.
    """
    if not redis_url.has_password(url):
        return
    command = redis_url.without_flag(redis_url.command_line(), url)
    if command:
        logs.get_logger(__name__).warning(
            "a password was on the command line, where others can read it: "
            "use GATEWAY_REDIS_URL or --redis-password-file"
        )
        os.environ[redis_url.VARIABLE] = url
        os.execv(sys.executable, command)


def _option(setting: Field[Any], *, help: str = "") -> click.Option:
    """The flag of one field of ``Config``."""
    meta, default = setting.metadata, setting.default
    kind = meta.get("type", type(default))
    more: dict[str, Any] = {}
    text = help or meta["help"]
    if kind is bool:
        more["is_flag"] = True
    elif kind in (int, float):
        unit, least, most = meta.get("unit", ""), meta.get("min"), meta.get("max")
        more |= {
            "callback": _number(kind, least, most),
            "metavar": _METAVARS.get(unit, unit.upper()),
        }
        if bounds := _bounds(least, most):
            text = f"{text} ({bounds})"
    elif choices := meta.get("choices"):
        more["type"] = click.Choice(choices)
    else:
        more["metavar"] = meta.get("metavar", "TEXT")
        more["callback"] = _CHECKS.get(setting.name)
    return Flag(
        [_flag_of(setting)],
        # As text, like what is typed: one check for both.
        default=default if kind is bool or default is None else str(default),
        show_default=default not in ("", None),
        help=text,
        **more,
    )


def _flag_of(setting: Field[Any]) -> str:
    return "--" + setting.name.replace("_", "-")


def settings_table() -> str:
    """The README's table of settings, in Markdown."""
    rows = [
        "| flag | environment | default | unit or values | what |",
        "| --- | --- | --- | --- | --- |",
    ]
    for setting in FLAGS:
        meta = setting.metadata
        values = ", ".join(f"`{choice}`" for choice in meta.get("choices", ()))
        unit = f"{meta.get('unit', '')} {_bounds(meta.get('min'), meta.get('max'))}"
        default = f"`{setting.default}`" if setting.default not in ("", None) else "none"
        cells = (
            f"`{_flag_of(setting)}`",
            f"`{variable_of(_flag_of(setting))}`",
            default,
            values or unit.strip() or meta.get("metavar", "").lower(),
            meta["help"],
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@click.version_option(__version__, prog_name="gateway", message="%(prog)s %(version)s")
def cli() -> None:
    """A chat over plain TCP: nc and telnet in front, any number of gateways, Redis behind.

    Each flag of a command is also an environment variable: --redis-url is GATEWAY_REDIS_URL, and
    so on. What is typed wins. For a flag without a value, the variable is true or false.
    """


@cli.command(
    params=[
        *(_option(setting) for setting in FLAGS),
        # How the front port of a local cluster hands connections over; a
        # descriptor is inherited by one process only, so it has no variable.
        Flag(["--adopt-fd"], type=int, envvar=None, hidden=True),
    ]
)
def serve(adopt_fd: int | None, **settings: Any) -> int:
    """Run one gateway until SIGINT or SIGTERM drains it."""
    from gateway.server import serve as serve_gateway

    config = Config(**settings)
    _check_password_file(config.redis_url, config.redis_password_file)
    logs.setup(config.log_format)
    _hide_password(config.redis_url)
    return _run(serve_gateway(config, adopt_fd=adopt_fd))


_SETTING = {setting.name: setting for setting in FLAGS}


@cli.command(
    params=[
        Flag(
            ["--gateways"],
            callback=_number(int, 1, 64),
            metavar="N",
            default="3",
            show_default=True,
            help="how many gateways (from 1 to 64)",
        ),
        _option(_SETTING["host"]),
        _option(_SETTING["port"], help="the front port; the gateways take those after it"),
        _option(_SETTING["redis_url"]),
        _option(_SETTING["redis_password_file"]),
        Flag(
            ["--balancer"],
            type=click.Choice(["", "haproxy"]),
            default="",
            metavar="haproxy",
            help="what the front is: HAProxy as in production, instead of the cluster itself",
        ),
    ]
)
@click.pass_context
def cluster(
    ctx: click.Context,
    gateways: int,
    host: str,
    port: int,
    redis_url: str,
    redis_password_file: str,
    balancer: str,
) -> int:
    """Run Redis, several gateways and one port in front of them, on this machine."""
    from gateway.tools.cluster import run_cluster

    if port + gateways > 65535:
        raise click.UsageError(f"--port: no room for {gateways} gateways after {port}", ctx)
    _check_password_file(redis_url, redis_password_file)
    logs.setup("text")
    _hide_password(redis_url)
    return _run(
        run_cluster(
            gateways=gateways,
            host=host,
            port=port,
            redis_url=redis_url,
            redis_password_file=redis_password_file,
            balancer=balancer,
        )
    )


cli.add_command(bench)


@cli.command(
    params=[
        _option(_SETTING["redis_url"], help="the Redis of the gateways"),
        _option(_SETTING["redis_password_file"]),
        Flag(["--json", "as_json"], is_flag=True, help="print it as JSON"),
    ]
)
def status(redis_url: str, redis_password_file: str, as_json: bool) -> int:
    """Show the gateways and rooms of a cluster, and what is wrong with them.

    STATE is ready, not ready, starting, draining, silent (for three seconds or more: it hangs, or
    was killed) or dead (it is being cleaned up after). The two lags are the highest of about the
    last minute: how long a gateway's loop was held up, and how late lines of a room's log were
    when it delivered them.

    The exit code is 1 if no gateway is ready or Redis cannot be asked, else 0, whatever a WARNING
    says.
    """
    from gateway.tools.status import run_status

    _check_password_file(redis_url, redis_password_file)
    logs.setup("text")
    _hide_password(redis_url)
    config = Config(redis_url=redis_url, redis_password_file=redis_password_file)
    return _run(run_status(config, as_json=as_json))


def _address(ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT``, ``[IPV6]`` or ``[IPV6]:PORT``."""
    port: Any = _SETTING["port"].default
    if found := re.fullmatch(r"(?:\[(.+)\]|([^:\[\]]+))(?::(\d{1,5}))?", value, re.A):
        host, port = found[1] or found[2], found[3] or port
    else:
        host = value if value.count(":") > 1 and "[" not in value else ""
    if is_host(host) and 0 < int(port) <= 65535:
        return host, int(port)
    # Not a BadParameter, which would put the metavar before it.
    raise click.UsageError(f"{value!r} is not HOST or HOST:PORT", ctx)


@cli.command(
    params=[
        click.Argument(
            ["address"],
            default="localhost",
            callback=_address,
            metavar="[HOST[:PORT]]",
            required=False,
        ),
        Flag(
            ["--name"],
            default="",
            metavar="NAME",
            help="who you are; asked for if not given (from a pipe: the login name)",
        ),
        Flag(
            ["--room"],
            default="",
            metavar="ROOM",
            help="where to go first; the lobby if not given",
        ),
        Flag(
            ["--tls"],
            is_flag=True,
            help="speak TLS, to a gateway whose certificate can be trusted",
        ),
        Flag(
            ["--ca"],
            default="",
            metavar="FILE",
            help="whom to trust: certificates of authorities; with --tls (those of the system)",
        ),
    ]
)
@click.pass_context
def chat(
    ctx: click.Context, address: tuple[str, int], name: str, room: str, tls: bool, ca: str
) -> int:
    """Talk: a screen for people, plain lines for pipes."""
    import asyncio

    from gateway.tools.chat.command import run_chat

    if ca and not tls:
        raise click.UsageError("--ca: it is of use with --tls only", ctx)
    host, port = address
    trusted = _trusting(ctx, ca) if tls else None
    # Not uvloop: it can't watch every kind of terminal.
    return asyncio.run(run_chat(host=host, port=port, name=name, room=room, tls=trusted))


def _trusting(ctx: click.Context, authorities: str) -> ssl.SSLContext:
    """A context that trusts the certificates in a file; '' for those of the system."""
    import ssl

    try:
        return ssl.create_default_context(cafile=authorities or None)
    except OSError as error:  # ssl.SSLError is one
        why = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise click.UsageError(f"--ca: {authorities!r}: {why}", ctx) from error


def _run(command: Coroutine[Any, Any, int]) -> int:
    # Closed also if it was never begun, which Python would complain of after a Ctrl-C.
    with contextlib.closing(command):
        import uvloop

        try:
            return uvloop.run(command)
        except SettingsError as error:
            raise click.UsageError(str(error), click.get_current_context()) from error


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The console script: run a command and exit with its code.

    Bad usage or settings: one line on stderr and exit code 2.
    """
    try:
        code = cli.main(args, prog_name="gateway", standalone_mode=False)
    except click.UsageError as error:
        _complain(_name_of(error.ctx, args), _text_of(error))
        code = EXIT_USAGE
    except click.Abort:
        _complain(_name_of(None, args), "interrupted")
        code = EXIT_FAILED
    sys.exit(code)


def _name_of(ctx: click.Context | None, args: Sequence[str] | None) -> str:
    """The command that complains: click does not always say."""
    if ctx:
        return ctx.command_path
    words = sys.argv[1:] if args is None else args
    return " ".join(["gateway", *(word for word in words[:1] if word in cli.commands)])


def _text_of(error: click.UsageError) -> str:
    if isinstance(error, click.BadParameter) and error.param:
        return f"{error.param.get_error_hint(error.ctx)}: {error.message}"
    text = error.format_message()
    return text if text != "Missing command." else f"{text} gateway --help lists them"


def _complain(name: str, text: str) -> None:
    """Say it in one line, without the passwords of URLs in it, if anybody reads it."""
    line = " ".join(logs.redacted(text).split())
    try:
        print(f"{name}: {line}", file=sys.stderr, flush=True)
    except OSError:
        # Or its flush at exit would fail too, and change the exit code.
        sys.stderr = None
