"""Promise 3: through each of these faults nothing is lost, doubled, reordered or made up.

Three gateways, ten people on each who talk all the time.  ``soak.py`` is the long form.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import soak
from checker import report
from soak import Fault, Storm


@pytest_asyncio.fixture
async def storm(processes_end: None) -> AsyncIterator[Storm]:
    storm = await Storm.start()
    yield storm
    await storm.close()


SHORT_FORMS: list[tuple[Fault, float]] = [
    (soak.pubsub_connections_killed, 4),
    (soak.all_connections_killed, 4),
    (soak.redis_stopped, 6),
    (soak.redis_stopped, 10),
    (soak.redis_killed_and_restarted, 4),
    (soak.one_way_to_redis_blackholed, 5),
    (soak.one_way_to_redis_blackholed, 14),
    (soak.answers_of_redis_swallowed, 5),
    (soak.answers_of_redis_late, 5),
    (soak.connections_to_redis_dropped, 3),
    (soak.subscriber_cut_by_its_output_buffer, 9),
    (soak.gateway_killed, 1),
    (soak.gateway_stopped, 20),
]


UNDISTURBED = {soak.subscriber_cut_by_its_output_buffer}
"""What has to be said in time, or its gateway is taken for dead."""


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        pytest.param(
            fault,
            seconds,
            id=f"{fault.__name__}-{seconds}s",
            marks=[pytest.mark.undisturbed] * (fault in UNDISTURBED),
        )
        for fault, seconds in SHORT_FORMS
    ],
)
async def test_nothing_is_lost_doubled_reordered_or_made_up_with(
    storm: Storm, fault: Fault, seconds: float
):
    """And nobody is disconnected because of Redis, and nobody living is said to have left."""
    await fault(storm, seconds)
    await storm.crowd.settle()
    findings = storm.crowd.findings()
    assert not findings, report(findings)
    assert not storm.cluster.blemishes()


def test_a_schedule_of_faults_can_be_replayed():
    assert soak.schedule(100, seed=7) == soak.schedule(100, seed=7)
    assert soak.schedule(100, seed=7) != soak.schedule(100, seed=8)
