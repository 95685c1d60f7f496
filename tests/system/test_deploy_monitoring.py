"""Alerts and dashboard, held against Prometheus's own tools and the code's table of metrics."""

from __future__ import annotations

import json
import re

import pytest
from deployment import DEPLOY, pyyaml, run, tool

from gateway.ops.metrics import TABLE, Kind

PROMETHEUS = DEPLOY / "prometheus"
PROMTOOL = ("promtool", "apt-get install prometheus")
# Names that are Prometheus's, HAProxy's and prometheus_client's own.
NOT_OURS = {"up", "ALERTS", "haproxy_backend_active_servers"} | {
    f"process_{name}"
    for name in (
        "cpu_seconds_total",
        "max_fds",
        "open_fds",
        "resident_memory_bytes",
        "start_time_seconds",
    )
}


@pytest.fixture(scope="module")
def yaml():
    return pyyaml()


def test_prometheus_takes_its_configuration():
    told = run(tool(*PROMTOOL), "check", "config", PROMETHEUS / "prometheus.yml")
    assert "FAILED" not in told


def test_the_alerts_fire_when_they_should():
    run(tool(*PROMTOOL), "test", "rules", "alerts_test.yml", cwd=PROMETHEUS)


def test_each_alert_is_tested(yaml):
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    fired = set(re.findall(r'alertname="(\w+)"', (PROMETHEUS / "alerts_test.yml").read_text()))
    assert alerts == fired


def dashboard():
    return json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())


def queries():
    """All PromQL of the dashboard, with Grafana's variables filled in."""
    found = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())
    ]
    found += [each["expr"] for each in dashboard()["annotations"]["list"]]
    return [expr.replace("$instance", ".*").replace("$__rate_interval", "1m") for expr in found]


def names_in(promql):
    """The names of metrics in PromQL, without the suffixes of histograms' series."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on|without)\s*\([^)]*\)", " ", promql)
    words = set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare)) - {
        "and",
        "or",
        "unless",
        "by",
        "bool",
    }
    histograms = {row.name for row in TABLE if row.kind is Kind.HISTOGRAM}
    parts = {f"{name}_{part}": name for name in histograms for part in ("bucket", "count", "sum")}
    # A histogram itself has no series.
    return {
        parts.get(word, f"{word} is a histogram" if word in histograms else word) for word in words
    }


OURS = {row.name for row in TABLE}


def test_no_alert_mixes_clusters(yaml):
    """Each says whose it is; and there is one page for a cluster, not one for each gateway."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        for by in re.findall(r"\b(?:sum|min|max|count)\b *([^(]*\([^)]*\))", rule["expr"]):
            assert re.match(r"by \(cluster\b", by), rule["alert"]
        for on in re.findall(r"\bon \(([^)]*)\)", rule["expr"]):
            assert on == "cluster"
        if rule["labels"]["severity"] == "page":
            assert "{{ $labels.cluster }}" in rule["annotations"]["summary"], rule["alert"]
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    for job in jobs:
        (static,) = job["static_configs"]
        assert set(static["labels"]) == {"cluster"}


def test_the_alerts_speak_of_metrics_that_are_there(yaml):
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    named = {name for group in groups for rule in group["rules"] for name in names_in(rule["expr"])}
    assert named - OURS - NOT_OURS == set()


def test_the_alerts_are_tested_with_metrics_that_are_there():
    text = (PROMETHEUS / "alerts_test.yml").read_text()
    named = {
        name for series in re.findall(r"series: '([^{]*)\{", text) for name in names_in(series)
    }
    assert named - OURS - NOT_OURS == set()


def test_the_dashboard_shows_exactly_our_metrics():
    named = {name for query in queries() for name in names_in(query)}
    assert named - NOT_OURS == OURS


def test_labels_in_alerts_and_dashboard_are_the_metrics_own(yaml):
    """Also the values: reasons, results and outcomes are words of the code."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    labels = {row.name: row.label for row in TABLE}
    common = {"cluster", "instance", "job", "le", "proxy", "alertname", "alertstate", ""}
    for promql in [*rules, *queries()]:
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", promql):
            used = set(re.findall(r"(\w+)\s*=", matchers))
            own = labels.get(name.removesuffix("_bucket"), "")
            assert used <= common | {own}, promql


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"query:{number}", "expr": expr} for number, expr in enumerate(queries(), 1)
    ]
    assert len(rules) > 40
    path = tmp_path / "rules.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(tool(*PROMTOOL), "check", "rules", path)


def test_the_dashboards_panels_do_not_overlap():
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
