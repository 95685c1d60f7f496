"""The names of everything that the gateways keep in Redis.

All keys of a room share the hash tag ``{room}``, and those of names and leases
the tag ``{registry}``: each script touches one tag only.  Channels carry the
database's number, since pub/sub does not know databases.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chat.events import GatewayId


def inbox(gateway: GatewayId) -> str:
    """The room in whose log a gateway finds what is for single sessions of it.

    No person can name a room so.
    """
    return f"@{gateway}"


@dataclass(frozen=True, slots=True)
class Keys:
    namespace: str
    database: int = 0

    def room(self, room: str) -> tuple[str, str, str, str]:
        """meta, log, history, members."""
        base = f"{self.namespace}:{{room:{room}}}"
        return f"{base}:meta", f"{base}:log", f"{base}:history", f"{base}:members"

    def refs(self, room: str) -> str:
        """What a session's id is put behind: the key of its refs in the room."""
        return f"{self.namespace}:{{room:{room}}}:refs:"

    def channel(self, room: str) -> str:
        return f"{self.namespace}:{self.database}:room:{room}"

    def probes(self, gateway: GatewayId) -> str:
        """The gateway's own channel."""
        return f"{self.namespace}:{self.database}:gateway:{gateway}"

    @property
    def names(self) -> str:
        return f"{self.namespace}:{{registry}}:names"

    @property
    def clock(self) -> str:
        return f"{self.namespace}:{{registry}}:clock"

    @property
    def beats(self) -> str:
        return f"{self.namespace}:{{registry}}:beats"

    @property
    def dying(self) -> str:
        return f"{self.namespace}:{{registry}}:dying"

    @property
    def gateways(self) -> str:
        return f"{self.namespace}:{{registry}}:gateways"

    @property
    def rooms(self) -> str:
        return f"{self.namespace}:{{registry}}:rooms"

    @property
    def sessions(self) -> str:
        return f"{self.namespace}:{{registry}}:sessions"

    @property
    def calls(self) -> str:
        return f"{self.namespace}:{{registry}}:calls"

    def holds(self, gateway: GatewayId) -> str:
        return f"{self.namespace}:{{registry}}:holds:{gateway}"
