"""``deploy/container``, ``compose`` and ``kubernetes``, held against the tools that will read them.

Nothing is deployed here.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
from deployment import DEPLOY, EXTRA, REPOSITORY, missing, pyyaml, run, tool

from gateway import __version__

PROMETHEUS = DEPLOY / "prometheus"


@pytest.fixture(scope="module")
def yaml():
    return pyyaml()


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
