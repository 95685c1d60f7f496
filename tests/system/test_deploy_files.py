"""``deploy/``, held against the tools that will read it and against the code it speaks of.

Nothing is deployed here: each file is given to the program that reads it in production,
or to the schema that this one publishes.  What is run for real is in the other
``test_deploy_*`` files.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
from deployment import DEPLOY, HAPROXY_CFG, REPOSITORY, missing, run, tool

from gateway import __version__
from gateway.cli import serve
from gateway.config import FLAGS, Config
from gateway.ops.metrics import TABLE, Kind

EXTRA = "pip install --editable '.[deploy]'"
SETTINGS = {f"GATEWAY_{setting.name.upper()}" for setting in FLAGS}
SYSTEMD = DEPLOY / "systemd"
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
    """PyYAML, which comes with the extra."""
    try:
        import yaml
    except ImportError:
        missing("PyYAML", EXTRA)
    return yaml


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


# The container and what is made of it.


def test_hadolint_finds_nothing_in_the_dockerfile():
    run(tool("hadolint", EXTRA), DEPLOY / "container" / "Dockerfile")


def test_the_dockerfile_copies_what_is_there_and_what_is_needed(tmp_path):
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text()
    wanted = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M)
    names = [name for line in wanted for name in line.split()]
    assert {"pyproject.toml", "README.md", "gateway", "deploy/constraints.txt"} == set(names)
    assert [name for name in names if not (REPOSITORY / name).exists()] == []
    ignored = (DEPLOY / "container" / "Dockerfile.dockerignore").read_text()
    assert [name for name in names if f"!{name}\n" not in ignored] == []
    assert re.findall(r"^USER (.*)$", dockerfile, re.M) == ["10001:10001"]


def test_what_is_installed_is_constrained_in_all_its_parts():
    """Each package that the gateway needs, and those that these need, in a version that fits."""
    requirements = pytest.importorskip("packaging.requirements")
    lines = re.findall(r"^([^#\s]+)==(\S+)$", (DEPLOY / "constraints.txt").read_text(), re.M)
    pinned = {name.lower().replace("_", "-"): version for name, version in lines}
    needed, unseen = set(), ["chat-gateway"]
    while unseen:
        for text in metadata.requires(unseen.pop()) or ():
            requirement = requirements.Requirement(text)
            name = requirement.name.lower().replace("_", "-")
            # For the image's Python, and without extras but the one that is asked for.
            place = {"python_version": "3.13", "python_full_version": "3.13.0"}
            wanted = [{"extra": extra, **place} for extra in ("", "hiredis")]
            if requirement.marker and not any(map(requirement.marker.evaluate, wanted)):
                continue
            assert requirement.specifier.contains(pinned[name]), text
            unseen += [name] if name not in needed else []
            needed.add(name)
    assert needed == set(pinned)


def test_images_are_of_a_version(yaml):
    """A release of its series, with what was mended since; never whatever is the newest."""
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=3\.\d+-slim-[a-z]+$", dockerfile, re.M)
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    images = {service["image"] for service in services.values()}
    assert len(images) == 5
    assert [image for image in images if not re.search(r":v?\d+\.\d+(\.\d+)?$", image)] == []
    assert f"chat-gateway:{__version__}" in images


def test_compose_takes_its_file(yaml, tmp_path):
    compose = DEPLOY / "compose" / "compose.yaml"
    told = run(tool("docker-compose", EXTRA), "-f", compose, "config", "--format", "json")
    services = json.loads(told)["services"]
    assert set(services) == {
        *("redis", "gateway-1", "gateway-2", "gateway-3"),
        *("haproxy", "prometheus", "grafana"),
    }
    sources = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert len(sources) == 5
    assert [source for source in sources if not source.exists()] == []
    for service in services.values():
        for context in [service["build"]] if "build" in service else []:
            assert (Path(context["context"]) / context["dockerfile"]).is_file()
    # Each gateway is one that the balancer knows, and one that Prometheus asks.
    gateways = sorted(name for name in services if name.startswith("gateway"))
    known = services["haproxy"]["environment"]
    assert [known[f"SERVER_{number}"] for number in (1, 2, 3)] == [f"{g}:8080" for g in gateways]
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets["gateway"] == [f"{gateway}:9080" for gateway in gateways]
    assert targets["haproxy"] == ["haproxy:8404"]


@pytest.fixture(scope="module")
def manifests(yaml):
    kubectl = tool("kubectl", "apt-get install kubernetes-client")
    rendered = run(kubectl, "kustomize", DEPLOY / "kubernetes")
    return {each["kind"]: each for each in yaml.safe_load_all(rendered)}


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_manifests_are_valid(manifests, version):
    """Against the schemas that Kubernetes publishes, without a field that these do not know."""
    try:
        import kubernetes_validate
    except ImportError:
        missing("kubernetes-validate", EXTRA)
    assert set(manifests) == {
        *("ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"),
    }
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kubernetes_manifests_mean_what_they_should(manifests):
    deployment, service = manifests["Deployment"], manifests["Service"]
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    # A service called "gateway" would set GATEWAY_PORT=tcp://… in all pods.
    assert pod["spec"]["enableServiceLinks"] is False
    assert service["metadata"]["name"] == "chat-gateway"
    labels = pod["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= labels
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    budget = manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    dockerfile = (DEPLOY / "container" / "Dockerfile").read_text()
    assert f"GATEWAY_PORT={ports['chat']} " in dockerfile
    assert f"GATEWAY_ADMIN_PORT={ports['admin']} " in dockerfile
    assert service["spec"]["ports"][0]["targetPort"] == "chat"
    assert manifests["ConfigMap"]["metadata"]["name"] in str(container["envFrom"])


def test_kubernetes_runs_one_version_and_the_readme_builds_it(manifests):
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example/chat-gateway:{__version__}"
    readme = (DEPLOY / "README.md").read_text()
    built, pushed = re.findall(r"^docker (?:build .* -t|push) (\S+)(?: \.)?$", readme, re.M)
    assert built == pushed == container["image"]


def test_kubernetes_gives_the_password_to_the_gateway_alone(manifests):
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mount,) = container["volumeMounts"]
    (variable,) = container["env"]
    assert variable["name"] == "GATEWAY_REDIS_PASSWORD_FILE"
    assert mount["name"] == volume["name"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"] == 10001
    readme = (DEPLOY / "README.md").read_text()
    made = re.search(r"create secret generic (\S+) --from-file=(\w+)=", readme)
    assert made[1] == volume["secret"]["secretName"]
    assert variable["value"] == f"{mount['mountPath']}/{made[2]}"
    url = manifests["ConfigMap"]["data"]["GATEWAY_REDIS_URL"]
    assert re.fullmatch(r"redis://gateway@[^:@]+:6379/0", url)


def test_kubernetes_lets_in_clients_and_prometheus_and_out_to_redis(manifests):
    policy, deployment = manifests["NetworkPolicy"]["spec"], manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {port["name"] for port in container["ports"]} == {"chat", "admin"}
    anybody, monitoring = policy["ingress"]
    assert anybody == {"ports": [{"port": "chat"}]}
    (admin,) = monitoring["ports"]
    assert admin == {"port": "admin"}
    (source,) = monitoring["from"]
    namespace = {"kubernetes.io/metadata.name": "monitoring"}
    assert source == {"namespaceSelector": {"matchLabels": namespace}}
    redis, dns = policy["egress"]
    url = manifests["ConfigMap"]["data"]["GATEWAY_REDIS_URL"]
    assert f":{redis['ports'][0]['port']}/" in url
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert all(rule["to"] for rule in (redis, dns))


def test_podmonitor_names_the_job_as_the_alerts_do(yaml, manifests):
    """The Operator's own default would be NAMESPACE/NAME."""
    spec = yaml.safe_load((DEPLOY / "kubernetes" / "podmonitor.yaml").read_text())["spec"]
    pod = manifests["Deployment"]["spec"]["template"]
    assert spec["selector"]["matchLabels"] == pod["metadata"]["labels"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == "admin"
    labels = {each["targetLabel"]: each for each in endpoint["relabelings"]}
    assert labels["job"]["replacement"] == "gateway"
    assert labels["cluster"]["sourceLabels"] == ["__meta_kubernetes_namespace"]


# Prometheus and Grafana.


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


def test_the_tools_of_these_tests_are_installed_by_ci():
    """A test that is skipped for want of a tool proves nothing."""
    ci = (REPOSITORY / ".ci" / "run").read_text()
    for package in ("haproxy", "systemd", "prometheus", "kubernetes-client", "deploy"):
        assert package in ci
