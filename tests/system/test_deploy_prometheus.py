"""A real Prometheus that scrapes real gateways with the rules and queries of ``deploy/``."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from deployment import DEPLOY, Deployment, get, lasting_port, pyyaml, tool
from processes import Process, eventually, fault_lasts

from gateway.ops.metrics import TABLE

RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"


class Prometheus(Process):
    """Prometheus with ``prometheus.yml``; only its targets and its haste are others."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__("prometheus")
        self.port = lasting_port()
        shipped = self.read("prometheus.yml")
        targets = {
            "gateway": [f"127.0.0.1:{place.admin_port}" for place in deployment.places],
            "haproxy": [f"127.0.0.1:{deployment.haproxy.stats_port}"],
        }
        shipped["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), "1s")
        shipped["global"]["scrape_timeout"] = "1s"
        for job in shipped["scrape_configs"]:
            job["static_configs"][0]["targets"] = targets.pop(job["job_name"])
        shipped["rule_files"] = [str(RULES)]
        assert not targets
        self.configuration = Path(self.directory) / "prometheus.yml"
        self.configuration.write_text(json.dumps(shipped))

    @staticmethod
    def read(name: str) -> dict[str, Any]:
        """One of the shipped configurations."""
        configuration: dict[str, Any] = pyyaml().safe_load((RULES.parent / name).read_text())
        return configuration

    def start(self) -> Prometheus:
        self.spawn(
            tool("prometheus", "apt-get install prometheus"),
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        return self

    def query(self, promql: str) -> list[dict[str, object]]:
        status, body = get(self.port, f"/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        assert status == 200, f"{promql}: {body}"
        answer = json.loads(body)
        assert answer["status"] == "success", f"{promql}: {body}"
        return list(answer["data"]["result"])

    def healthy(self) -> int:
        """How many targets answered."""
        if get(self.port, "/-/ready")[0] != 200:
            return 0
        return len(self.query("up == 1"))


@pytest.fixture
async def deployment(processes_end):
    deployment = await Deployment.start("--publish-deadline", "3")
    yield deployment
    await deployment.close()


@pytest.mark.timeout(90)
async def test_every_query_of_the_dashboard_is_answered(deployment):
    """Each panel shows something once people talk, and no alert fires on a good day."""
    prometheus = Prometheus(deployment).start()
    alice, bob = await deployment.join("alice"), await deployment.join("bob")
    await eventually(lambda: prometheus.healthy() == 4, 20, "all targets answer")
    for number in range(3):
        await alice.say(f"hello {number}")
        await bob.expect(f"alice: hello {number}")
    scraped = "min(count_over_time(gateway_ready[5m]))"

    def scraped_often():
        answer = prometheus.query(scraped)
        return answer and float(answer[0]["value"][1]) >= 4

    await eventually(scraped_often, 20, "four scrapes")
    # Each metric of the table is there, and nothing that the table does not know.
    there = {str(row["metric"]["__name__"]) for row in prometheus.query('{__name__=~"gateway_.+"}')}
    plain = {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in there
    }
    tls = {row.name for row in TABLE if "_tls_" in row.name}
    assert plain - tls == {row.name for row in TABLE} - tls
    empty = [
        (panel["title"], target["expr"])
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
        if not prometheus.query(
            target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
        )
        and "_tls_" not in target["expr"]
    ]
    assert empty == []
    # The balancer's metric that an alert is made of has this name and this label.
    (servers,) = prometheus.query('haproxy_backend_active_servers{proxy="gateways"}')
    assert servers["value"][1] == "3"
    assert prometheus.query('ALERTS{alertstate="firing"}') == []


def answer(prometheus, promql):
    return {row["metric"]["alertname"] for row in prometheus.query(promql)}


@pytest.mark.timeout(120)
async def test_a_redis_that_is_away_is_one_page(deployment):
    """Not ready, not delivered, no server for the balancer: one cause, and one alert."""
    prometheus = Prometheus(deployment).start()
    alice, bob = await deployment.join("alice"), await deployment.join("bob")
    await eventually(lambda: prometheus.healthy() == 4, 20, "all targets answer")
    await bob.say("hello")
    await alice.expect("bob joined the chat", "bob: hello")
    deployment.redis.stop()
    await alice.say("anybody?")
    # All that follows from it is there, and is told of 15 s later if it has another cause.
    signs = (
        "sum(gateway_ready) == 0",
        'sum(haproxy_backend_active_servers{proxy="gateways"}) == 0',
        'sum(increase(gateway_publish_outcomes_total{outcome=~"not_.*"}[1m])) > 0',
    )
    await eventually(lambda: all(map(prometheus.query, signs)), 30, "its consequences")
    firing = 'ALERTS{alertstate="firing"}'
    await eventually(lambda: answer(prometheus, firing), 30, "an alert")
    await fault_lasts(17)
    deployment.redis.cont()
    await deployment.all_up()
    await eventually(
        lambda: not answer(prometheus, firing), 30, "it is over", lambda: prometheus.query(firing)
    )
    assert answer(prometheus, f"count_over_time({firing}[5m])") == {"RedisAway"}


async def test_prometheus_in_kubernetes_labels_as_alerts_and_dashboard_want_it(deployment):
    """Its own relabelling, of what it would find there; Debian's can't look for pods itself."""
    prometheus = Prometheus(deployment)
    configuration = json.loads(prometheus.configuration.read_text())
    (job,) = prometheus.read("kubernetes.yml")["scrape_configs"]
    del job["kubernetes_sd_configs"]
    job["file_sd_configs"] = [{"files": [str(prometheus.directory / "pods.json")]}]
    configuration["scrape_configs"] = [job]
    prometheus.configuration.write_text(json.dumps(configuration))
    alive, other = deployment.places[0], deployment.places[1]
    pods = [
        ("chat", "chat-gateway", "chat-gateway-1", "admin", alive.admin_port, "Running"),
        ("chat", "chat-gateway", "chat-gateway-1", "chat", alive.port, "Running"),
        ("chat", "chat-gateway", "chat-gateway-0", "admin", 1, "Failed"),
        ("test", "chat-gateway", "chat-gateway-2", "admin", other.admin_port, "Running"),
        ("chat", "redis", "redis-0", "redis", deployment.redis.port, "Running"),
    ]
    meta = "__meta_kubernetes"
    found = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {
                f"{meta}_namespace": namespace,
                f"{meta}_pod_label_app_kubernetes_io_name": name,
                f"{meta}_pod_name": pod,
                f"{meta}_pod_container_port_name": container_port,
                f"{meta}_pod_phase": phase,
            },
        }
        for namespace, name, pod, container_port, port, phase in pods
    ]
    (prometheus.directory / "pods.json").write_text(json.dumps(found))
    prometheus.start()
    await eventually(lambda: prometheus.healthy() == 2, 20, "both answer")
    labels = [row["metric"] for row in prometheus.query('up{job="gateway"}')]
    for label in labels:
        del label["__name__"]
    assert sorted(labels, key=str) == [
        {"job": "gateway", "cluster": "chat", "instance": "chat-gateway-1"},
        {"job": "gateway", "cluster": "test", "instance": "chat-gateway-2"},
    ]
