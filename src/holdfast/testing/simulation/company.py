"""Users with agents and shared state, all that a plan has of them: brought in, waited for, and judged in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from holdfast import codec
from holdfast.clock import Randomness, seeded_randomness
from holdfast.names import DEFAULT_TENANT
from holdfast.state.names import OBJECT
from holdfast.state.objects import held
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import SHARED, Event, Key, Position, Query, Scope
from holdfast.testing.simulation.desk import TEAM, Desk, Desks, expected_results, intended, is_silent, ordered
from holdfast.testing.simulation.draws import Act, Beginning, Deed
from holdfast.testing.simulation.guests import Guest
from holdfast.testing.simulation.node import Node, SimulatedClock
from holdfast.testing.simulation.sharing import COUNTER, Tally, miscounted
from holdfast.testing.simulation.users import Person
from holdfast.testing.simulation.world import World
from holdfast.workflow.model.run import RUN, Run, decode_run

READ_ON_S = 60.0
"""Virtual seconds within which who follows a stream has read it to its end, once all is done."""


class Company:
    """Of the `acts` of a plan."""

    def __init__(self, acts: Sequence[Act], world: World, desk: Callable[..., Desk]) -> None:
        self.desks = Desks()
        self.guests: list[Guest] = []
        self.problems: list[str] = []
        self._acts = acts
        self._world = world
        self._desk = desk

    def furnish(self, store: Store, clock: SimulatedClock, chance: Randomness) -> Desk:
        """A desk for the running process."""
        desk = self._desk(self._world, store, clock, chance)
        self.desks.put(desk)
        return desk

    def invite(self, nodes: Sequence[Node], chance: Randomness) -> list[Person]:
        """Bring all of them in; those who begin runs of networks are people as others are."""
        people: list[Person] = []
        for number, act in enumerate(self._acts):
            own = seeded_randomness(chance.getrandbits(64))
            if act.deed is Deed.NETWORK:
                beginning = Beginning(act.user, act.at_s, 0, 0.0)
                people.append(Person(beginning, f"N-{number}", TEAM, f"N-{number}", nodes, own))
            else:
                self.guests.append(Guest(act, f"G-{number}", nodes, own))
        return people

    @property
    def late(self) -> list[Guest]:
        """Those who are not done."""
        return [guest for guest in self.guests if not (guest.is_done or guest.problems)]

    @property
    def met(self) -> Counter[str]:
        """How often it came to what the checkers are for."""
        return sum((guest.met for guest in self.guests), Counter(self.desks.met))

    async def judge(self, store: Store, nodes: Sequence[Node]) -> None:
        """Compare what all were told with what there is. `store`: as it is behind all faults."""
        if not all(node.is_up for node in nodes):
            return  # which is told already
        for guest in self.guests:
            self.problems += [f"{guest.name}: order {key} never came" for key in _missing(guest, self._world)]
            if guest.act.deed is Deed.PUBLISH:
                await self._judge_reader(store, guest)
        await self._judge_counters(store)
        await self._judge_networks(store)

    async def _judge_reader(self, store: Store, guest: Guest) -> None:
        truth = await _stream(store, guest.act.user)
        try:
            async with asyncio.timeout(READ_ON_S):
                await guest.follow_to(truth[-1].position.seq if truth else 0)
        except TimeoutError:
            self.problems.append(f"{guest!r}: did not come to the end of his stream within {READ_ON_S:g} s")
            return
        seen = [(event.position, event.name) for event in guest.read]
        if not guest.problems and seen[: len(truth)] != [(event.position, event.name) for event in truth]:
            self.problems.append(f"{guest.name}: read another stream than there is")
        texts = {event.position: event.data["text"] for event in guest.read if event.kind == "feed"}
        for position, text in guest.published.items():
            if (there := texts.get(position)) != text:
                self.problems.append(f"{guest.name}: published {text} at {position}, where there is {there}")

    async def _judge_counters(self, store: Store) -> None:
        tallies: dict[Key, Tally] = {}
        for guest in self.guests:
            if guest.act.deed is Deed.COUNT:
                whose = SHARED if guest.act.is_shared else guest.act.user
                key = Key(DEFAULT_TENANT, whose, OBJECT, COUNTER)
                before = tallies.get(key, Tally(0, 0))
                tallies[key] = Tally(before.acknowledged + guest.counted, before.uncertain + guest.uncertain)
        for key, tally in tallies.items():
            there = held((await store.read(Scope.system(), [key]))[0])
            self.problems += miscounted(key, 0 if there is None else there.stored.value, tally)

    async def _judge_networks(self, store: Store) -> None:
        page = await store.scan(Scope.system(), Query(kind=RUN), limit=1000)
        for record in page.records:
            run = decode_run(record.body)
            if run.workflow == TEAM and run.status == "done":
                self.problems += self._amiss(run)

    def _amiss(self, run: Run) -> Iterator[str]:
        """Words about a network that is done: each agent that finished had its effect, and gave what it must."""
        data = codec.decode(run.data)
        results, failures = data["results"], data["failures"]
        if results != expected_results(failures):
            yield f"network of {run.ticket_id}: expected {expected_results(failures)}, saw {results}"
        if is_silent(run.ticket_id) and failures != ["ask"]:
            yield f"network of {run.ticket_id}: expected the failure of ask, saw {failures}"
        for agent in results:
            if not self._world.has_happened(intended(run.key.user, run.ticket_id, agent)):
                yield f"network of {run.ticket_id}: agent {agent} is said to be done, and its effect never came"

    def __repr__(self) -> str:
        return f"Company({len(self.guests)} guests, met={dict(self.met)})"


def _missing(guest: Guest, world: World) -> list[str]:
    return [key for key in guest.orders if not world.has_happened(ordered(guest.act.user, key))]


async def _stream(store: Store, user: str) -> list[Event]:
    found: list[Event] = []
    after = Position(0, 0)
    while page := await store.events(Scope.system(), stream=(DEFAULT_TENANT, user), after=after):
        found += page
        after = page[-1].position
    return found
