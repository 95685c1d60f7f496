"""``registry.lua``: a session keeps its name and its room, wherever it comes again."""

import pytest

ALICE = ("s1", 0, "lobby", "alice")


@pytest.fixture(autouse=True)
async def _two_gateways(redis):
    await redis.beat("G1")
    await redis.beat("G2")


@pytest.fixture
def claim(redis):
    """Claims with all fields; the answer's words, the generation as a number."""

    async def claim(session, generation, room, name, gateway="G1"):
        fields = ("claim", name.lower(), session, generation, room, name)
        verdict, *rest = (await redis.registry(fields, gateway=gateway))[0].split()
        return (int(rest[0]), *rest[1:]) if verdict == "ok" else verdict

    return claim


async def records(redis):
    """Who holds which name: ``GATEWAY SESSION GENERATION ROOM NAME``, in alphabetical order."""
    return sorted(record.decode() for record in await redis.client.hvals(redis.keys.names))


@pytest.mark.parametrize("gateway", ["G1", "G2"])
async def test_who_comes_again_gets_the_name_and_the_room_that_it_has(redis, claim, gateway):
    """DESIGN 4: the same session takes the name over; what it asks for otherwise counts less."""
    old, *_ = await claim("s1", 0, "kitchen", "Alice")
    new, *rest = await claim("s1", 0, "lobby", "bob", gateway=gateway)
    assert rest == ["kitchen", "Alice"]
    assert new == old if gateway == "G1" else new > old
    assert await records(redis) == [f"{gateway} s1 {new} kitchen Alice"]
    free, *_ = await claim("s2", 0, "lobby", "bob")
    assert free > new


async def test_a_claim_that_is_made_again_gets_the_same_answer(redis, claim):
    """Issue 3: its first answer was lost; by then the session may have moved on in its room."""
    await claim("s1", 0, "kitchen", "alice")
    first = await claim(*ALICE, gateway="G2")
    before = await redis.everything()
    before.pop(redis.keys.calls)
    assert await claim(*ALICE, gateway="G2") == first
    after = await redis.everything()
    after.pop(redis.keys.calls)
    assert after == before
    (generation, *_) = first
    assert await claim("s1", generation, "garden", "alice", gateway="G2") == (
        generation,
        "garden",
        "alice",
    )
    assert await claim(*ALICE, gateway="G2") == (generation, "garden", "alice")


async def test_the_gateway_that_a_session_came_from_frees_nothing_of_it(redis, claim):
    """DESIGN 3: holders are fenced; whether it releases or is reaped."""
    old, *_ = await claim(*ALICE)
    new, *_ = await claim(*ALICE, gateway="G2")
    await redis.release("alice", "s1", old)
    await redis.bury("G1")
    assert await redis.client.smembers(redis.keys.holds("G2")) == {b"alice"}
    assert await records(redis) == [f"G2 s1 {new} lobby alice"]
    assert (await claim(*ALICE, gateway="G2"))[0] == new


async def test_a_name_that_was_released_is_not_kept(redis, claim):
    """Promise 6: a name ends with the session, which may come again under another."""
    old, *_ = await claim(*ALICE)
    await redis.release("alice", "s1", old)
    assert await redis.client.exists(redis.keys.sessions) == 0
    new, *rest = await claim("s1", 0, "garden", "bob")
    assert (new > old, rest) == (True, ["garden", "bob"])


@pytest.mark.parametrize("order", [("alice", "al"), ("al", "alice")])
async def test_of_a_rename_that_was_half_done_the_new_name_is_kept(redis, claim, order):
    """DESIGN 4: a second name is claimed before the first one is released; nothing stays behind."""
    generation, *_ = await claim(*ALICE)
    await claim("s1", generation, "lobby", "al")
    assert await claim(*ALICE) == (generation, "lobby", "al")
    for folded in order:
        await redis.release(folded, "s1", generation)
    assert await redis.client.exists(redis.keys.names, redis.keys.sessions) == 0


async def test_after_a_rename_the_old_name_is_free_and_the_new_one_kept(redis, claim):
    """registry.lua: release; after a new name was claimed it is the old one that is freed."""
    generation, *_ = await claim(*ALICE)
    await claim("s1", generation, "lobby", "al")
    await redis.release("alice", "s1", generation)
    assert (await claim("s2", 0, "lobby", "alice"))[1:] == ("lobby", "alice")
    assert (await claim(*ALICE, gateway="G2"))[1:] == ("lobby", "al")


@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_who_went_on_elsewhere_gets_no_name_where_it_was(redis, claim, name):
    """DESIGN 3: a gateway that was stopped can't take somebody back, also under another name."""
    old, *_ = await claim(*ALICE)
    new, *_ = await claim(*ALICE, gateway="G2")
    assert await claim("s1", old, "lobby", name) == "taken"
    assert await records(redis) == [f"G2 s1 {new} lobby alice"]


@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_who_was_here_before_it_went_on_and_came_back_gets_no_name(redis, claim, name):
    """DESIGN 3: what its former connection here still asks for is not the session's wish."""
    old, *_ = await claim(*ALICE)
    await claim(*ALICE, gateway="G2")
    back, *_ = await claim(*ALICE)
    assert await claim("s1", old, "lobby", name) == "taken"
    assert await records(redis) == [f"G1 s1 {back} lobby alice"]


async def test_who_is_newer_than_the_registry_knows_is_granted_what_it_has(redis, claim):
    """DESIGN 3: a failover lost writes: a session moved, and the registry forgot it."""
    generation, *_ = await claim(*ALICE)
    newer = generation + 5
    assert await claim("s1", newer, "lobby", "alice", gateway="G2") == (newer, "lobby", "alice")
    assert await claim("s1", generation, "lobby", "alice") == "taken"
    assert (await claim("s2", 0, "lobby", "bob"))[0] > newer


async def test_what_a_claim_has_brought_is_known(redis, claim):
    """registry.lua: forgo; asked for a claim whose answer was lost and that nobody wants now."""
    asked = ("forgo", "bob", "s1", 0, "lobby", "bob")
    assert await redis.registry(asked) == ["absent"]
    generation, *_ = await claim("s1", 0, "kitchen", "Alice")
    assert await redis.registry(asked) == [f"ghost alice G1 s1 {generation} kitchen Alice"]
    assert await redis.registry(asked, gateway="G2") == ["absent"]
    second = ("held", "bob", "s1", generation, "kitchen", "bob")
    assert await redis.registry(second) == ["absent"]
    await claim("s1", generation, "kitchen", "bob")
    assert await redis.registry(second) == [f"ghost bob G1 s1 {generation} kitchen bob"]


FORGO = ("forgo", "alice", "s1", 0, "lobby", "alice")


async def test_who_had_a_session_before_has_it_again_when_it_is_forgone(redis, claim):
    """Promise 6: also if the claim was repeated in between, and there is nothing to end then."""
    old, *_ = await claim("s1", 0, "kitchen", "Alice")
    for _ in range(2):
        await claim(*ALICE, gateway="G2")
    assert await redis.registry(FORGO, gateway="G2") == ["absent"]
    assert await records(redis) == [f"G1 s1 {old} kitchen Alice"]
    assert await redis.registry(FORGO, gateway="G2") == ["absent"]
    assert await records(redis) == [f"G1 s1 {old} kitchen Alice"]
    assert await claim(*ALICE) == (old, "kitchen", "Alice")


async def test_nobody_has_a_session_again_that_let_go_of_it(redis, claim):
    """Promise 6: a name ends with the session.  Its connection there was over in between."""
    old, *_ = await claim(*ALICE)
    new, *_ = await claim(*ALICE, gateway="G2")
    await redis.release("alice", "s1", old)
    assert await redis.registry(FORGO, gateway="G2") == [f"ghost alice G2 s1 {new} lobby alice"]


async def test_a_session_that_was_taken_on_from_who_did_not_want_it_is_not_given_back_to_it(
    redis, claim
):
    """G1 had it, G2 took it for nobody, G3 takes it from there and has nobody either."""
    await redis.beat("G3")
    await claim(*ALICE)
    await claim(*ALICE, gateway="G2")
    newest, *_ = await claim(*ALICE, gateway="G3")
    assert await redis.registry(FORGO, gateway="G2") == ["absent"]
    assert await redis.registry(FORGO, gateway="G3") == [f"ghost alice G3 s1 {newest} lobby alice"]


async def test_a_session_that_went_on_here_is_not_given_back(redis, claim):
    """registry.lua: forgo; it claimed a second name in between, or set its room."""
    await claim(*ALICE)
    new, *_ = await claim(*ALICE, gateway="G2")
    await claim("s1", new, "garden", "alice", gateway="G2")
    assert await redis.registry(FORGO, gateway="G2") == [f"ghost alice G2 s1 {new} garden alice"]


async def test_a_session_that_is_here_by_an_earlier_claim_is_not_given_up(redis, claim):
    """Promise 6: a second connection here hung up; also if the first one came from elsewhere."""
    await claim(*ALICE, gateway="G2")
    here, *_ = await claim(*ALICE)
    await claim(*ALICE)
    assert await redis.registry((*FORGO[:3], here, *FORGO[4:])) == ["absent"]
    assert await records(redis) == [f"G1 s1 {here} lobby alice"]


async def test_what_a_second_connection_took_from_where_its_session_went_on_is_given_back(
    redis, claim
):
    """Promise 6: the first connection, here, does not know yet that it was replaced."""
    here, *_ = await claim(*ALICE)
    there, *_ = await claim(*ALICE, gateway="G2")
    await claim(*ALICE)
    assert await redis.registry((*FORGO[:3], here, *FORGO[4:])) == ["absent"]
    assert await records(redis) == [f"G2 s1 {there} lobby alice"]


@pytest.mark.parametrize("times", [1, 2])
async def test_an_old_name_that_is_released_late_lets_go_of_no_session(redis, claim, times):
    """Promise 6: after a rename; also if the release is repeated, since its answer was lost."""
    generation, *_ = await claim(*ALICE)
    await claim("s1", generation, "lobby", "bob")
    await claim("s1", 0, "lobby", "bob", gateway="G2")
    for _ in range(times):
        await redis.release("alice", "s1", generation)
    assert await redis.registry(FORGO, gateway="G2") == ["absent"]
    assert await records(redis) == [f"G1 s1 {generation} lobby bob"]


async def test_a_release_of_another_generation_lets_go_of_no_session(redis, claim):
    """registry.lua: the marker is of one holder."""
    generation, *_ = await claim(*ALICE)
    await claim(*ALICE, gateway="G2")
    await redis.release("alice", "s1", generation + 7)
    await redis.release("alice", "s1", generation, gateway="G3")
    assert await redis.registry(FORGO, gateway="G2") == ["absent"]
    assert await records(redis) == [f"G1 s1 {generation} lobby alice"]
