"""Several gateways on one Redis, and the people who talk over them.

Knows processes and people; what is to be heard is the tests' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from people import Person, ProgramPerson
from processes import GatewayProcess, Process, RealRedis

Somebody = TypeVar("Somebody", bound=Person)


class Cluster:
    """``gateways`` on one Redis.  Made by ``start``; ``close`` ends all of it.

    Processes of a start that failed are ``Process.close_all``'s.
    """

    def __init__(self, redis: RealRedis, flags: Sequence[str]) -> None:
        self.redis = redis
        self.flags = tuple(flags)
        self.gateways: list[GatewayProcess] = []
        self.people: list[Person] = []

    @classmethod
    async def start(cls, gateways: int, *flags: str) -> Cluster:
        """``gateways`` with these flags on a Redis of their own."""
        cluster = cls(await RealRedis(*RealRedis.DURABLE).start(), flags)
        await cluster.grow(gateways)
        return cluster

    async def grow(self, gateways: int, *, detour: str = "") -> None:
        """So many more, all ready; the first of them goes by ``detour``, another URL."""
        new = [self.launch("" if number else detour) for number in range(gateways)]
        for gateway in new:
            await gateway.wait_ready()

    def launch(self, url: str = "") -> GatewayProcess:
        """One gateway more; it is not ready yet."""
        gateway = GatewayProcess(f"gateway-{len(self.gateways)}")
        self.gateways.append(gateway.launch(url or self.redis.url, *self.flags))
        return gateway

    async def newcomer(
        self, kind: type[Somebody] = Person, *, on: int = 0, end: str = "\n"
    ) -> Somebody:
        """Somebody who is connected to gateway ``on`` and asked for a name."""
        person = await kind.connect(self.gateways[on].port, end=end)
        self.people.append(person)
        return person

    async def join(self, *names: str, on: int | None = None) -> list[Person]:
        """People who joined one after the other, the first on gateway 0, the next on 1, …

        With ``on`` all are on that gateway.  Whoever is in the room already
        takes the line of each join, so nothing is left to be heard.
        """
        joined = []
        for place, name in enumerate(names):
            gateway = place % len(self.gateways) if on is None else on
            person = await self.newcomer(on=gateway)
            await self.welcome(person, name)
            joined.append(person)
        return joined

    async def welcome(self, person: Person, name: str) -> list[str]:
        """``person`` joins as ``name``, and everybody in the room hears it; the welcome."""
        welcome = await person.join(name)
        await self.all_expect(f"{person.name} joined the chat", but=person)
        return welcome

    async def all_expect(self, *lines: str, but: Person) -> None:
        """Everybody in the room but one hears these lines next."""
        for other in self.members:
            if other is not but:
                await other.expect(*lines)

    @property
    def members(self) -> list[Person]:
        """Those who have a name and were not hung up on."""
        return [person for person in self.people if person.name and not person.hung_up]

    async def close(self) -> None:
        """Everybody goes, every process ends.  Idempotent."""
        for person in self.people:
            if isinstance(person, ProgramPerson):
                await person.gone()
            else:
                person.abort()
        self.people.clear()
        for process in (*self.gateways, self.redis):
            process.close()

    def blemishes(self) -> list[str]:
        """Tracebacks and the like in any gateway's log."""
        return [blemish for gateway in self.gateways for blemish in gateway.blemishes()]


def logs(most_lines: int = 40) -> list[tuple[str, str]]:
    """The end of what each living process wrote, for the report of a failed test."""
    told = []
    for process in Process.living:
        text = process.log if isinstance(process, RealRedis) else process.output
        told.append((process.label, "\n".join(text.splitlines()[-most_lines:])))
    return told
