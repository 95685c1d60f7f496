"""What operators look at: a gateway's HTTP port, and ``gateway status``."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from typing import Any

from processes import GatewayProcess, eventually
from prometheus_client.parser import text_string_to_metric_families


class Operator:
    """Asks one gateway over HTTP; it was started with ``--admin-port 0``."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway

    @property
    def port(self) -> int:
        return int(str(self._gateway.logged("admin")[-1]["address"]).rpartition(":")[2])

    async def reach(self, within_s: float = 20) -> Operator:
        """Wait until there is somebody to ask: long before the gateway is ready."""
        await eventually(lambda: self._gateway.logged("admin"), within_s, "an admin port")
        return self

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    async def why_not_ready(self) -> str:
        """'' if it is."""
        status, text = await self.get("/readyz")
        assert (status == 200) == (text == "ready\n"), (status, text)
        return "" if status == 200 else text

    async def metrics(self) -> dict[str, float]:
        """Samples by name, or ``name{word}`` where there is a label."""
        _, text = await self.get("/metrics")
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                words = "".join(f"{{{word}}}" for word in sample.labels.values())
                found[sample.name + words] = sample.value
        return found

    async def until(self, name: str, value: float, within_s: float = 10) -> None:
        """Wait until a metric has this value."""
        loop, seen = asyncio.get_running_loop(), None
        deadline = loop.time() + within_s
        while (seen := (await self.metrics()).get(name)) != value:
            assert loop.time() < deadline, f"{name} is {seen}, not {value}"

    async def until_ready(self, wanted: bool, within_s: float = 10) -> str:
        """Wait until it is ready or not; the reasons."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while bool(why := await self.why_not_ready()) is wanted:
            assert loop.time() < deadline, f"ready is still {not wanted}: {why}"
        return why


async def status(redis_url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run ``gateway status``."""
    command = [sys.executable, "-m", "gateway", "status", "--redis-url", redis_url, *flags]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=30
    )


async def status_json(redis_url: str) -> dict[str, Any]:
    done = await status(redis_url, "--json")
    assert done.returncode in (0, 1), done
    report: dict[str, Any] = json.loads(done.stdout)
    return report
