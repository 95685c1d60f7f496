"""``gateway.broker.keys``, and what ``gateway/broker/README.md`` says of it."""

import re
from pathlib import Path

from gateway.broker.keys import Keys

KEYS = Keys("chat")
README = Path(__file__).parents[3] / "gateway" / "broker" / "README.md"


def all_keys():
    registry = (name for name in vars(Keys) if isinstance(vars(Keys)[name], property))
    return {
        *KEYS.room("ROOM"),
        KEYS.refs("ROOM") + "SESSION",
        KEYS.holds("GATEWAY"),
        *(getattr(KEYS, name) for name in registry),
    }


def test_each_key_is_explained_to_who_looks_into_a_redis():
    table = re.findall(r"^\| `(chat:\S+)` \|", README.read_text("utf-8"), re.M)
    assert len(table) == len(set(table))
    assert set(table) == all_keys()


def test_a_script_touches_one_slot_of_a_cluster_only():
    """DESIGN 3: all keys of a room share the hash tag {room}; no script touches two of them."""
    tags = {re.findall(r"\{(.*?)\}", key)[0] for key in all_keys()}
    assert tags == {"room:ROOM", "registry"}
