"""What the gateways of a local cluster inherit, and how long they have for their end."""

from __future__ import annotations

from gateway.tools.cluster import _environment, _kill_after_s

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


def test_nobody_is_killed_who_may_still_drain(monkeypatch):
    monkeypatch.delenv("GATEWAY_DRAIN_DELAY", raising=False)
    monkeypatch.delenv("GATEWAY_DRAIN_TIMEOUT", raising=False)
    assert _kill_after_s() == 15
    monkeypatch.setenv("GATEWAY_DRAIN_DELAY", "3")
    monkeypatch.setenv("GATEWAY_DRAIN_TIMEOUT", "30")
    assert _kill_after_s() == 38
    monkeypatch.setenv("GATEWAY_DRAIN_TIMEOUT", "soon")
    assert _kill_after_s() == 8
