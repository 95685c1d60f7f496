"""What the gateways of a local cluster inherit, how long they have for their end, what is told."""

from __future__ import annotations

import pytest

from gateway.tools.cluster import _environment, _kill_after_s, _status_command

URL = "redis://127.0.0.1:6379/0"
NOT_THEIRS = {
    "GATEWAY_ADMIN_HOST": "0.0.0.0",
    "GATEWAY_ADMIN_PORT": "9080",
    "GATEWAY_PROXY_PROTOCOL": "true",
    "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8",
}


def test_what_only_one_could_have_or_the_front_decides_is_left_out(monkeypatch):
    """A trusted network of production would shut out the HAProxy that runs here."""
    for name, value in NOT_THEIRS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_RATE", "5")
    given = _environment("redis://here", "")
    assert not given.keys() & NOT_THEIRS.keys()
    assert (given["GATEWAY_RATE"], given["GATEWAY_REDIS_URL"]) == ("5", "redis://here")


def test_redis_and_its_password_file_are_those_of_the_cluster(monkeypatch):
    """Whatever the environment says: the flags of the cluster won over it."""
    monkeypatch.setenv("GATEWAY_REDIS_PASSWORD_FILE", "/another")
    assert _environment("redis://here", "/secret")["GATEWAY_REDIS_PASSWORD_FILE"] == "/secret"
    assert _environment("redis://here", "")["GATEWAY_REDIS_PASSWORD_FILE"] == ""


@pytest.mark.parametrize(
    ("typed", "url", "file", "shown"),
    [
        (["/x/gateway/__main__.py"], URL, "", f"py -m gateway status --redis-url {URL}"),
        (["/on/path/gateway"], URL, "", f"gateway status --redis-url {URL}"),
        (["venv/bin/gateway"], URL, "", f"venv/bin/gateway status --redis-url {URL}"),
        (
            ["/on/path/gateway"],
            "unix:///a b.sock",
            "/the file",
            "gateway status --redis-url 'unix:///a b.sock' --redis-password-file '/the file'",
        ),
        (
            ["/on/path/gateway"],
            "redis://:hunter2@here",
            "",
            "gateway status, with the same GATEWAY_REDIS_URL",
        ),
    ],
)
def test_the_command_for_the_status_can_be_typed_as_it_is(monkeypatch, typed, url, file, shown):
    monkeypatch.setattr("sys.argv", typed)
    monkeypatch.setattr("sys.orig_argv", ["py", "-m", "gateway"])
    monkeypatch.setattr("shutil.which", lambda _: "/on/path/gateway")
    assert _status_command(url, file) == shown


def test_nobody_is_killed_who_may_still_drain(monkeypatch):
    monkeypatch.delenv("GATEWAY_DRAIN_DELAY", raising=False)
    monkeypatch.delenv("GATEWAY_DRAIN_TIMEOUT", raising=False)
    assert _kill_after_s() == 15
    monkeypatch.setenv("GATEWAY_DRAIN_DELAY", "3")
    monkeypatch.setenv("GATEWAY_DRAIN_TIMEOUT", "30")
    assert _kill_after_s() == 38
    monkeypatch.setenv("GATEWAY_DRAIN_TIMEOUT", "soon")
    assert _kill_after_s() == 8
