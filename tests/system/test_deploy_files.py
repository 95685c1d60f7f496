"""``deploy/``, held against the tools that will read it and against the code it speaks of.

Nothing is deployed here: each file is given to the program that reads it in production,
or to the schema that this one publishes.  What is run for real is in the other
``test_deploy_*`` files.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deployment import DEPLOY, HAPROXY_CFG, REPOSITORY, run, tool

from gateway.cli import serve
from gateway.config import FLAGS, Config

SETTINGS = {f"GATEWAY_{setting.name.upper()}" for setting in FLAGS}
SYSTEMD = DEPLOY / "systemd"
PROMETHEUS = DEPLOY / "prometheus"


def texts():
    """All files of ``deploy/`` that a person wrote."""
    files = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    return {path.relative_to(DEPLOY): path.read_text("utf-8") for path in files}


# Settings.


def test_each_setting_that_is_named_exists():
    """DESIGN 4: each flag is also an environment variable ``GATEWAY_<FLAG>``."""
    named = {
        (str(path), name)
        for path, text in texts().items()
        for name in re.findall(r"\bGATEWAY_[A-Z_]+\b", text)
    }
    assert len(named) > 20
    assert {each for each in named if each[1] not in SETTINGS} == set()


@pytest.mark.parametrize(
    "path", ["systemd/gateway.env", "compose/compose.yaml", "kubernetes/kustomization.yaml"]
)
def test_the_values_of_settings_are_accepted(path, monkeypatch):
    """By the command line itself: each value is one that ``gateway serve`` takes."""
    text = (DEPLOY / path).read_text()
    pairs = re.findall(r"^\s*(?:- )?(GATEWAY_\w+)[=:] ?\"?([^\"\n]*)", text, re.M)
    assert pairs
    for name, value in pairs:
        # As Compose does it: ${NAME:-default}.
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    context = serve.make_context("serve", [])
    sources = {name: context.get_parameter_source(name[8:].lower()) for name, _ in pairs}
    assert {source.name for source in sources.values()} == {"ENVIRONMENT"}


def seconds(text, pattern):
    found = re.search(pattern, text, re.M)
    assert found, f"no {pattern!r}"
    return float(found[1])


def test_everywhere_there_is_time_to_drain():
    """Issue 6: exit 0 before ``--drain-timeout``; so nobody may kill it before."""
    files = {str(path): text for path, text in texts().items()}
    systemd, compose = files["systemd/gateway.env"], files["compose/compose.yaml"]
    delay, timeout = r"GATEWAY_DRAIN_DELAY[=:] ?\"?(\d+)", r"GATEWAY_DRAIN_TIMEOUT[=:] ?\"?(\d+)"
    kustomization, pod = files["kubernetes/kustomization.yaml"], files["kubernetes/deployment.yaml"]
    for drains, killed_after in (
        (systemd, seconds(files["systemd/gateway@.service"], r"^TimeoutStopSec=(\d+)s")),
        (compose, seconds(compose, r"^  stop_grace_period: (\d+)s")),
        (
            kustomization,
            seconds(pod, r"terminationGracePeriodSeconds: (\d+)")
            - seconds(pod, r'"sleep", "(\d+)"'),
        ),
    ):
        assert seconds(drains, delay) + seconds(drains, timeout) + 10 <= killed_after


def test_a_balancer_notices_before_a_draining_gateway_stops_to_accept():
    cfg = HAPROXY_CFG.read_text()
    inter = seconds(cfg, r"\binter (\d+)s")
    fast = seconds(cfg, r"\bfastinter (\d+)ms") / 1000
    falls = seconds(cfg, r"\bfall (\d+)")
    for path in ("systemd/gateway.env", "compose/compose.yaml"):
        delay = seconds((DEPLOY / path).read_text(), r"GATEWAY_DRAIN_DELAY[=:] ?\"?(\d+)")
        assert delay > inter + falls * fast


def test_ports_and_addresses_of_one_machine_agree():
    """The unit's, those that HAProxy and Prometheus ask, and Redis's; no two are the same."""
    unit = (SYSTEMD / "gateway@.service").read_text()
    assert "Environment=GATEWAY_PORT=%i GATEWAY_ADMIN_PORT=1%i " in unit
    readme = (DEPLOY / "README.md").read_text()
    (enabled,) = re.findall(r"^systemctl enable --now (.*)$", readme, re.M)
    instances = re.findall(r"gateway@(\d+)", enabled)
    gateways = (DEPLOY / "haproxy" / "gateways.cfg").read_text()
    servers = re.findall(r"setenv SERVER_\d +127.0.0.1:(\d+)", gateways)
    admins = re.findall(r"setenv SERVER_\d_ADMIN +(\d+)", gateways)
    assert servers == instances
    assert admins == [f"1{instance}" for instance in instances]
    asked = (PROMETHEUS / "prometheus.yml").read_text()
    for admin in admins:
        assert f'"127.0.0.1:{admin}"' in asked
    env = dict(re.findall(r"^(\w+)=(.*)$", (SYSTEMD / "gateway.env").read_text(), re.M))
    assert env["GATEWAY_HOST"] == env["GATEWAY_TRUSTED_PROXIES"] == "127.0.0.1"
    assert "GATEWAY_ADMIN_HOST" not in env
    redis = dict(re.findall(r"^(bind|port) (.*)$", texts()[Path("redis/redis.conf")], re.M))
    assert env["GATEWAY_REDIS_URL"].endswith(f"@127.0.0.1:{redis['port']}/0")
    assert redis["bind"].startswith("127.0.0.1")
    cfg = HAPROXY_CFG.read_text()
    taken = [*servers, *admins, redis["port"]]
    taken += [re.search(rf"{bind}-[\d.]*:(\d+)", cfg)[1] for bind in ("CHAT_BIND", "STATS_BIND")]
    assert len(set(taken)) == len(taken) == 9


def test_ports_of_containers_agree():
    """The image's, and those that HAProxy (unless told otherwise) and Prometheus ask."""
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text()
    port = re.search(r"GATEWAY_PORT=(\d+)", dockerfile)[1]
    admin = re.search(r"GATEWAY_ADMIN_PORT=(\d+)", dockerfile)[1]
    assert f"EXPOSE {port} {admin}\n" in dockerfile
    defaults = re.findall(r'"\$\{SERVER_\d_ADMIN-(\d+)\}"', HAPROXY_CFG.read_text())
    assert defaults == [admin] * 9


# HAProxy.


def test_haproxy_from_debian_gives_up_its_privileges():
    """What its package has; in a container it has none from the start."""
    gateways = (DEPLOY / "haproxy" / "gateways.cfg").read_text()
    for line in ("user haproxy", "group haproxy", "chroot /var/lib/haproxy"):
        assert f"\n    {line}\n" in gateways
    told = run(tool("haproxy", "apt-get install haproxy"), "-c", "-dW", *config_of_debian())
    assert "WARNING" not in told


def config_of_debian():
    """The arguments that /etc/default/haproxy makes of it, with the files as they are here."""
    default = (DEPLOY / "haproxy" / "default").read_text()
    (config,) = re.findall(r'^CONFIG="(.*)"$', default, re.M)
    return ["-f", *config.replace("/etc/haproxy", str(DEPLOY / "haproxy")).split()]


@pytest.mark.parametrize("gateways", [1, 3, 9])
def test_haproxy_takes_its_configuration_without_a_warning(gateways):
    servers = {f"SERVER_{number}": f"127.0.0.{number}:8080" for number in range(1, gateways + 1)}
    haproxy = tool("haproxy", "apt-get install haproxy")
    # -dW: a warning is an error.
    told = run(haproxy, "-c", "-dW", "-f", HAPROXY_CFG, **servers)
    assert "WARNING" not in told


def test_haproxy_does_not_cut_those_who_are_there():
    """Issue 6: not-ready must not kill living sessions; idle connections survive a day."""
    # Without comments.
    cfg = re.sub(r"#.*", "", HAPROXY_CFG.read_text())
    assert "shutdown-sessions" not in cfg
    assert "shutdown-backup-sessions" not in cfg
    assert "hard-stop-after" not in cfg
    (defaults,) = re.findall(r"^defaults\n(.*?)^\S", cfg, re.M | re.S)
    for which in ("client", "server", "tunnel"):
        assert re.search(rf"timeout {which} +24h", defaults)


def test_haproxy_waits_for_what_a_client_sent_before_its_end():
    """DESIGN 3: a client that sends faster than its rate is read later.  6000 lines at 10/s."""
    cfg = HAPROXY_CFG.read_text()
    for which in ("client-fin", "server-fin"):
        assert seconds(cfg, rf"^    timeout {which} +(\d+)m$") * 60 * Config().rate >= 6000


# systemd.


@pytest.fixture
def unit(tmp_path):
    """The unit file beside a gateway that is where the unit says."""
    text = (SYSTEMD / "gateway@.service").read_text()
    program = tmp_path / "gateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert text.count("ExecStart=/opt/chat-gateway/bin/gateway serve\n") == 1
    text = text.replace("/opt/chat-gateway/bin/gateway", str(program))
    path = tmp_path / "gateway@.service"
    path.write_text(text)
    return path


def systemd_analyze():
    return tool("systemd-analyze", "apt-get install systemd")


def test_systemd_takes_the_unit_without_a_word(unit):
    told = run(systemd_analyze(), "verify", "--man=no", unit)
    assert [line for line in told.splitlines() if unit.name.partition("@")[0] in line] == []


def test_the_unit_is_hardened(unit):
    """10 is all that a process may do, 0 nothing; what listens for strangers can't be 0."""
    told = run(systemd_analyze(), "security", "--offline=true", "--threshold=13", unit)
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", told)[1]) <= 1.3


def test_the_tools_of_these_tests_are_installed_by_ci():
    """A test that is skipped for want of a tool proves nothing."""
    ci = (REPOSITORY / ".ci" / "run").read_text()
    for package in ("haproxy", "systemd", "prometheus", "kubernetes-client", "deploy"):
        assert package in ci
