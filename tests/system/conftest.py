"""Fixtures of the system tests: real gateways on a real Redis, ended whatever happens."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from cluster import Cluster, logs
from processes import Process, eventually

Starter = Callable[..., Awaitable[Cluster]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the processes wrote."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {label}", text) for label, text in logs()]
    return report


def pytest_sessionfinish() -> None:
    Process.close_all()


@pytest.fixture
def processes_end() -> Iterator[None]:
    """Whatever process a test starts ends with it."""
    others = tuple(Process.living)
    yield
    for process in tuple(Process.living):
        if process not in others:
            process.close()


@pytest_asyncio.fixture
async def start_cluster(processes_end: None) -> AsyncIterator[Starter]:
    """Starts clusters with the test's own flags; their logs must hold no traceback."""
    started: list[Cluster] = []

    async def start(gateways: int = 1, *flags: str) -> Cluster:
        started.append(await Cluster.start(gateways, *flags))
        return started[-1]

    yield start
    blemishes = [blemish for cluster in started for blemish in cluster.blemishes()]
    for cluster in started:
        await cluster.close()
    assert not blemishes


@pytest_asyncio.fixture
async def cluster(start_cluster: Starter) -> Cluster:
    """Three gateways on one Redis."""
    return await start_cluster(3)


@pytest_asyncio.fixture
async def gateway(start_cluster: Starter) -> Cluster:
    """One gateway."""
    return await start_cluster(1)


class Parent(Process):
    """Another process, which has a child."""

    async def run(self, code: str) -> int:
        """Run ``code``, which prints the id of what it spawned."""
        self.spawn(sys.executable, "-c", textwrap.dedent(code))
        await eventually(lambda: self.output.endswith("\n"), 15, "it prints an id")
        return int(self.output)


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent("parent")
    yield parent
    parent.close()
