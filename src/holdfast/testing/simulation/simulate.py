"""One simulation: faults first, then a world that heals, in which everything must come right in a stated time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

from holdfast.chart import Chart
from holdfast.clock import Randomness, seeded_randomness
from holdfast.errors import HoldfastError
from holdfast.locks.records import LOCK, decode_tree
from holdfast.locks.rules import LockTree
from holdfast.store.contract.records import Page, Query, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.tasks import Supervisor
from holdfast.testing.simulation.checks import missing_turns
from holdfast.testing.simulation.company import Company
from holdfast.testing.simulation.desk import TEAM, Desk, team_workflow
from holdfast.testing.simulation.draws import ALONE_RATE, FAULTS_S, Plan, Strike, Trouble, drawn_plan
from holdfast.testing.simulation.loop import Livelock, SimulatedLoop, simulated_loop
from holdfast.testing.simulation.node import STORE_FAULTS, Node, SimulatedClock
from holdfast.testing.simulation.ousting import Moment, Ousting
from holdfast.testing.simulation.referee import Call, Referee
from holdfast.testing.simulation.shapes import random_workflows
from holdfast.testing.simulation.users import Person
from holdfast.testing.simulation.world import World
from holdfast.workflow.engine import Engine
from holdfast.workflow.model.run import ACTIVE, PROCESS, RUN, STILL, Run, decode_run, queue_of
from holdfast.workflow.model.schedule import SCHEDULE
from holdfast.workflow.model.workflow import Workflow
from holdfast.workflow.process.ownership import LEASE_TTL_S

HEAL_S = 120.0
"""Virtual seconds after the last fault within which every run must have ended."""
OUST_S = 2 * LEASE_TTL_S
"""How long after the faults who waits to be ousted stands still at most."""
SKEW_S_MAX = 20.0
PROBLEMS_MAX = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated. `make` builds the workflows anew for each life of each node; their effects go to the world.
    `input` gives what each run is started with, by its number. `troubles`: what may happen. `store`: what all share;
    `engine`: what the nodes run. `alone`: how likely it is that users do nothing beside runs; `world` and `desk`: what
    receives effects, and what a node has beside its engine.

    Example: `Scenario(make=lambda world, chance: [workflow_on(world)], input=lambda number: {"ticket": number})`.
    """

    make: Callable[[World, Randomness], Sequence[Workflow]] = random_workflows
    input: Callable[[int], Any] = lambda number: None
    troubles: tuple[Trouble, ...] = tuple(Trouble)
    store: Callable[[SimulatedClock], MemoryStore] = lambda clock: MemoryStore(clock=clock)
    engine: Callable[..., Engine] = Engine
    alone: float = ALONE_RATE
    world: Callable[[Randomness], World] = World
    desk: Callable[..., Desk] = Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one plan. `problems` is empty where every promise was kept; `seen` counts what happened. `repeated`:
    effects that came again under the key they had; `refused`: calls with the token of a lock that others had since;
    `met`: what users, agents and their tools came through, where the plan has acts."""

    plan: Plan
    problems: tuple[str, ...]
    seen: Counter[Trouble]
    runs: dict[str, str]
    effects: int
    repeated: int
    refused: int
    steps: int
    virtual_s: float
    calls: tuple[Call, ...]
    met: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        head = f"{len(self.problems)} problems in {self.virtual_s:.1f} virtual seconds and {self.steps} steps"
        return "\n  ".join([head, *self.problems, *str(self.plan).splitlines(), f"seen: {dict(self.seen)}"])

    def check(self) -> Report:
        """Itself. Raises AssertionError with all that was drawn where a promise was broken."""
        if self.problems:
            raise AssertionError(str(self))
        return self


async def _runs_of(user: str, engine: Engine) -> list[str]:
    return [run.id for run in (await engine.client(user).runs(limit=1000))[0]]


def _is_minded(run: Run, healed_at: float) -> bool:
    """Whether a run is to end: what a schedule begins goes on for ever, and where it fails nobody resumes it."""
    return SCHEDULE not in run.labels or (run.created_at < healed_at and run.status not in STILL)


def _is_held(tree: LockTree, now_s: float) -> bool:
    """Whether somebody has a ticket, or nobody has one of a lock said to be held. Leases lapse by themselves."""
    return not tree.queue or not all(ticket.is_lapsed(now_s) for ticket in tree.queue)


def _runs_in(page: Page) -> list[Run]:
    return [decode_run(record.body) for record in page.records]


def simulate(seed: int, scenario: Scenario | None = None) -> Report:
    """Simulate what `seed` draws. The same seed and code give the same report."""
    scenario = scenario or Scenario()
    plan = drawn_plan(seeded_randomness(seed), name=f"seed {seed}", troubles=scenario.troubles, alone=scenario.alone)
    return carry_out(plan, scenario)


def carry_out(plan: Plan, scenario: Scenario | None = None) -> Report:
    """Simulate a plan."""
    chance = seeded_randomness(plan.order)
    loop = simulated_loop(chance)
    simulation = _Simulation(plan, scenario or Scenario(), loop, chance)
    try:
        loop.run_until_complete(simulation.play())
    except (Livelock, HoldfastError, RuntimeError) as error:
        simulation.problems.append(f"{type(error).__name__}: {error}")
    finally:
        report = simulation.report()
        loop.close()
    return report


class _Simulation:
    def __init__(self, plan: Plan, scenario: Scenario, loop: SimulatedLoop, chance: Randomness) -> None:
        self.problems: list[str] = []
        self._plan = plan
        self._scenario = scenario
        self._loop = loop
        self._chance = chance
        self._seen: Counter[Trouble] = Counter()
        self._world = scenario.world(seeded_randomness(chance.getrandbits(64)))
        self._company = Company(plan.acts, self._world, scenario.desk)
        self._built = {queue_of(each.name, each.version): each.build() for each in self._made()}
        self._store = scenario.store(SimulatedClock(loop))
        self._referee = Referee(self._store, self._chart_of)
        self._nodes = [
            Node(
                number,
                loop,
                self._referee,
                self._made,
                seeded_randomness(chance.getrandbits(64)),
                engine=scenario.engine,
                places=plan.places,
                furnish=self._company.furnish if plan.acts else None,
            )
            for number in range(plan.nodes)
        ]
        self._ousting = Ousting(self._nodes, until_s=FAULTS_S + OUST_S, on_ousted=self._ousted)
        self._referee.on_claimed = self._ousting.claimed
        self._world.on_shown = self._ousting.shown
        self._people = [self._person(number) for number in range(len(plan.beginnings))]
        self._people += self._company.invite(self._nodes, chance)

    async def play(self) -> None:
        """Everything, from the first boot to the last look."""
        tasks = Supervisor("simulation", on_failure=lambda name, error: self.problems.append(f"{name}: {error!r}"))
        for node in self._nodes:
            node.boot()
        for strike in self._plan.strikes:
            tasks.start(self._strike(strike), name=str(strike))
        for person in self._people:
            tasks.start(person.live(), name=repr(person))
        for guest in self._company.guests:
            tasks.start(guest.live(), name=repr(guest))
        await asyncio.sleep(FAULTS_S + 0.001)
        await self._heal()
        await self._converge()
        await tasks.stop()
        await self._pry()
        await self._company.judge(self._store, self._nodes)
        await self._end()

    def report(self) -> Report:
        """What there is to tell by now."""
        problems = [
            *self.problems,
            *self._referee.problems,
            *self._world.problems,
            *(words for person in self._people for words in person.problems),
            *(words for guest in self._company.guests for words in guest.problems),
            *self._company.problems,
            *(words for node in self._nodes for words in node.problems if not self._is_told_damage(words)),
            *self._loop.failures,
        ]
        for node in self._nodes:
            for trouble, fault in STORE_FAULTS.items():
                self._seen[trouble] += node.store.seen[fault]
        self._seen[Trouble.FLAKY] = self._world.failed
        return Report(
            plan=self._plan,
            problems=tuple(problems[:PROBLEMS_MAX]),
            seen=+self._seen,
            runs={person.ticket: person.last for person in self._people},
            effects=len(self._world.effects),
            repeated=self._world.repeated,
            refused=self._world.fenced,
            steps=self._loop.steps,
            virtual_s=self._loop.time(),
            calls=tuple(self._referee.calls),
            met=self._company.met,
        )

    def _is_told_damage(self, words: str) -> bool:
        """Whether an engine says of one run that its bytes are not what they were: it must, where they are not."""
        return self._seen[Trouble.FLIP] > 0 and words.startswith("run ") and "Corrupt(" in words

    # -- faults, and healing ------------------------------------------------------------------------------------

    async def _strike(self, strike: Strike) -> None:
        """One trouble, from its beginning to its end."""
        await asyncio.sleep(strike.at_s)
        node, trouble = self._nodes[strike.node], strike.trouble
        match trouble:
            case Trouble.DRAIN:
                self._seen[trouble] += node.is_up
                await node.drain(strike.length_s)
                node.boot()
            case Trouble.CRASH:
                self._seen[trouble] += node.is_up
                node.crash()
                await asyncio.sleep(strike.length_s)
                node.boot()
            case Trouble.STALL:
                self._seen[trouble] += node.is_up
                node.stall(self._loop.time() + strike.length_s)
            case Trouble.OUST:
                moments: tuple[Moment, ...] = ("now", "claim", "token")
                self._ousting.plan(node, moments[int(strike.rate * 2.999)], late_s=max(0.0, strike.rate * 3 - 2))
            case Trouble.SKEW:
                self._seen[trouble] += 1
                node.clock.skew_s = (strike.rate * 2 - 1) * SKEW_S_MAX
            case Trouble.PARTITION:
                self._seen[trouble] += 1
                node.store.fall_ill("it cannot be reached, on purpose")
                await asyncio.sleep(strike.length_s)
                node.store.recover()
            case Trouble.FLAKY:
                self._world.flaky = strike.rate
                await asyncio.sleep(strike.length_s)
                self._world.flaky = 0.0
            case Trouble.FLIP:
                await self._flip()
            case _:
                node.store.rates[STORE_FAULTS[trouble]] = strike.rate
                await asyncio.sleep(strike.length_s)
                node.store.rates.pop(STORE_FAULTS[trouble], None)

    def _ousted(self) -> None:
        self._seen[Trouble.OUST] += 1

    async def _flip(self) -> None:
        """Another byte in the body of some run, as a disk might have it; nobody is told."""
        async with self._store.snapshot() as view:
            runs = [each async for each in view.histories() if each.key.kind == RUN and each.row and each.row.record]
        if not runs:
            return
        history = runs[int(self._chance.random() * len(runs))]
        assert history.row is not None
        assert history.row.record is not None
        body = bytearray(history.row.record.body)
        body[int(self._chance.random() * len(body))] ^= 1 << int(self._chance.random() * 8)
        row = history.row._replace(record=replace(history.row.record, body=bytes(body)))
        await self._store.load([replace(history, row=row)])
        self._seen[Trouble.FLIP] += 1

    async def _heal(self) -> None:
        """No fault from now on; what was damaged is repaired, who is down boots. Clocks stay as wrong as they are."""
        await self._referee.repair()
        self._world.flaky = 0.0
        self._ousting.end()
        for person in self._people:
            person.meddling = 0.0
        for node in self._nodes:
            node.store.rates.clear()
            node.store.recover()
            node.boot()

    async def _converge(self) -> None:
        """Until all nodes are up, all runs that were begun by now, and their children, have ended, and no schedule is
        behind; a problem where that takes too long."""
        healed_at, until_s = self._store.now_s(), self._loop.time() + HEAL_S
        while late := [
            *(person for person in self._people if not (person.is_done or person.problems)),
            *self._company.late,
            *(node for node in self._nodes if not node.is_up),
            *(run for run in await self._at_work() if _is_minded(run, healed_at)),
            *(record for record in await self._schedules() if (record.due or 0.0) < healed_at),
        ]:
            if self._loop.time() > until_s:
                self.problems += [f"not done {HEAL_S:g} s after the last fault: {each!r}" for each in late]
                return
            await asyncio.sleep(0.5)

    async def _at_work(self) -> list[Run]:
        """The runs that have not ended."""
        query = Query(kind=RUN, statuses=ACTIVE)
        return _runs_in(await self._store.scan(Scope.system(), query, limit=1000))

    async def _schedules(self) -> Sequence[Record]:
        return (await self._store.scan(Scope.system(), Query(kind=SCHEDULE), limit=1000)).records

    # -- the last look ------------------------------------------------------------------------------------------

    async def _pry(self) -> None:
        """Each user sees his own runs, all of them, and nobody else's, by whatever way he asks."""
        node = next((node for node in self._nodes if node.is_up), None)
        if node is None:
            return  # which is told already
        for user in sorted({person.user for person in self._people} | {"eve"}):
            listed = await node.call(partial(_runs_of, user))
            for person in self._people:
                is_seen = person.run_id in listed
                if is_seen != (user == person.user):
                    self.problems.append(f"run of {person.user}: {'' if is_seen else 'not '}listed for {user}")
                if person.key is not None:
                    await node.store.read(Scope.of_user(person.key.tenant, user), [person.key])

    async def _end(self) -> None:
        """Close all nodes: nothing is left of them, and the store is sound."""
        for node in self._nodes:
            await node.end()
        if not (found := await self._store.verify()).is_clean:
            self.problems += map(str, found.problems)
        await asyncio.sleep(LEASE_TTL_S)
        leases = await self._store.scan(Scope.system(), Query(kind=PROCESS), limit=1000)
        now_s = self._store.now_s()
        self.problems += [f"lease left over: {r!r}" for r in leases.records if r.due is None or r.due > now_s]
        page = await self._store.scan(Scope.system(), Query(kind=RUN), limit=1000)
        self.problems += [f"{record!r} has an owner still" for record in page.records if record.owner]
        runs = _runs_in(page)
        if all(run.is_ended or SCHEDULE in run.labels for run in runs):
            locks = await self._store.scan(Scope.system(), Query(kind=LOCK, statuses=("held", "queued")), limit=1000)
            held = [r for r in locks.records if _is_held(decode_tree(r), now_s)]
            self.problems += [f"{record!r}: held, though all runs have ended" for record in held]
        self.problems += missing_turns(await self._schedules(), runs, now_s)
        await self._store.close()

    def _made(self) -> Sequence[Workflow]:
        made = list(self._scenario.make(self._world, seeded_randomness(self._plan.shape)))
        return [*made, team_workflow(self._world, self._company.desks)] if self._plan.acts else made

    def _chart_of(self, run: Run) -> Chart:
        return self._built[run.queue].chart

    def _person(self, number: int) -> Person:
        beginning = self._plan.beginnings[number]
        children = {spec.child.workflow for each in self._built.values() for spec in each.specs.values() if spec.child}
        begun = [each.name for each in self._built.values() if not each.schedules]
        names = sorted({name for name in begun if name not in children and name != TEAM})
        return Person(
            beginning,
            f"T-{number}",
            names[beginning.workflow % len(names)],
            self._scenario.input(number),
            self._nodes,
            seeded_randomness(self._chance.getrandbits(64)),
        )
