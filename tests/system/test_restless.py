"""Names, memberships and rooms of sessions that never stay; ``restless.py`` is the long form."""

from checker import report
from crowd import RATES
from restless import GATEWAYS, Unrest

SECONDS, SEED = 8, 1


async def test_nothing_is_left_of_those_who_never_stay_and_nobody_acts_who_is_not_there(
    start_cluster,
):
    """Promises 1, 2 and 6, for sessions that hang up, move, are renamed and go on elsewhere
    while they do so.
    """
    unrest = await Unrest.start(await start_cluster(GATEWAYS, *RATES), SEED)
    await unrest.run(SECONDS)
    found = unrest.findings()
    assert not found, report(found)
    assert sum(len(one.said) for one in unrest.restless) > 100, "too calm"
