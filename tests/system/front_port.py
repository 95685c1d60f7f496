"""A whole local cluster behind one port, for clients that come back to the same address."""

from __future__ import annotations

import contextlib
import re
import sys

import psutil
from processes import Process, eventually


class FrontPort(Process):
    """``gateway cluster``: made by ``start``; one port, gateways that can be killed."""

    @classmethod
    async def start(cls, gateways: int = 2) -> FrontPort:
        front = cls("front-port")
        options = ("--gateways", str(gateways), "--port", "0")
        front.spawn(sys.executable, "-m", "gateway", "cluster", *options)
        await eventually(
            lambda: "chat is up" in front.output or not front.running,
            30,
            "the cluster is up;",
            lambda: front.output,
        )
        assert front.running, front.output
        return front

    @property
    def port(self) -> int:
        found = re.search(r"^chat is up: nc localhost (\d+)$", self.output, re.M)
        assert found
        return int(found[1])

    def gateways(self) -> list[psutil.Process]:
        """The gateways' processes, in the order of their ports."""
        ports = [int(port) for port in re.findall(r"^gateway \d+ on \S+:(\d+)$", self.output, re.M)]
        found = {}
        for child in psutil.Process(self.pid).children():
            try:
                for each in child.net_connections("inet"):
                    if each.status == psutil.CONN_LISTEN:
                        found[each.laddr.port] = child
            except psutil.Error:  # it has just ended
                continue
        return [found[port] for port in ports if port in found]

    def gateway_of(self, name: str) -> psutil.Process:
        """The gateway on which ``name`` was the last time that it joined or came back."""
        number = re.findall(rf"^{re.escape(name)} joined on gateway (\d+)", self.output, re.M)[-1]
        return self.gateways()[int(number) - 1]

    def close(self) -> None:
        """End everything.  Idempotent."""
        children = psutil.Process(self.pid).children(recursive=True) if self.running else []
        super().close()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
