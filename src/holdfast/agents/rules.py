"""Which agent comes next, what a failure closes, how a call is doing and when its time is over: pure decisions.

A network is a graph without rings whose links carry a policy. `Progress` is told what became of each agent and says
which may begin and which never will; it holds no task and no clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, NamedTuple, get_args

from holdfast.errors import InvalidDefinition

Policy = Literal["fail", "degrade", "skip"]
"""What the failure of an agent does: the network fails; its readers go on with a fallback; its readers are skipped."""
Became = Literal["finished", "failed", "skipped"]
State = Literal["alive", "slow", "loop-blocked", "thread-stuck", "dead"]
"""How a call is doing. `slow`: later than its type usually is. `loop-blocked`: it runs, and lets nothing else of its
loop run. `thread-stuck`: its thread goes on though its time is over. `dead`: silent beyond its lease, or deaf to its
end."""
Why = Literal["deadline", "timeout", "silence", "blocked", "given_up"]
"""Why a call was ended before its body was: see `ends`; it blocked the loop for too long; somebody gave it up."""
AGENTS_MAX = 10_000
"""How many agents one network may have."""
GRAVITY: Mapping[State, int] = {"alive": 0, "slow": 1, "loop-blocked": 2, "thread-stuck": 3, "dead": 4}


# -- the plan of a network ------------------------------------------------------------------------------------------


class Link(NamedTuple):
    """`target` reads what `source` gives; `policy`: what becomes of the target where there is nothing to read."""

    source: str
    target: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Plan:
    """A network in order. `order`: each agent after all that it reads; `layers`: those that may run side by side."""

    order: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    inputs: Mapping[str, tuple[Link, ...]]
    outputs: Mapping[str, tuple[Link, ...]]
    policies: Mapping[str, Policy]

    def is_fatal(self, name: str) -> bool:
        """Whether the failure of this agent fails the network."""
        outputs = self.outputs[name]
        if not outputs:
            return self.policies[name] == "fail"
        return any(link.policy == "fail" for link in outputs)


def plan(name: str, agents: Sequence[str], links: Iterable[Link], policies: Mapping[str, Policy]) -> Plan:
    """The plan of network `name`. Raises InvalidDefinition: no agents or too many, a name that comes twice or that no
    agent has, an unknown policy, a link that is there twice, a ring (all of it named)."""
    links = tuple(links)
    _check(name, agents, links, policies)
    inputs: dict[str, list[Link]] = {agent: [] for agent in agents}
    outputs: dict[str, list[Link]] = {agent: [] for agent in agents}
    for link in links:
        inputs[link.target].append(link)
        outputs[link.source].append(link)
    depth: dict[str, int] = {}
    waits_for = {agent: len(found) for agent, found in inputs.items()}
    free = deque(agent for agent in agents if not waits_for[agent])
    while free:
        agent = free.popleft()
        depth[agent] = 1 + max((depth[link.source] for link in inputs[agent]), default=-1)
        for link in outputs[agent]:
            waits_for[link.target] -= 1
            if not waits_for[link.target]:
                free.append(link.target)
    if len(depth) < len(agents):
        ring = _ring(inputs, next(agent for agent in agents if agent not in depth), depth)
        raise InvalidDefinition(f"network {name}: agents that wait for each other: {' -> '.join(ring)}; cut one edge")
    layers: list[list[str]] = [[] for _ in range(1 + max(depth.values()))]
    for agent in agents:
        layers[depth[agent]].append(agent)
    return Plan(
        order=tuple(agent for layer in layers for agent in layer),
        layers=tuple(tuple(layer) for layer in layers),
        inputs={agent: tuple(found) for agent, found in inputs.items()},
        outputs={agent: tuple(found) for agent, found in outputs.items()},
        policies={agent: policies.get(agent, "fail") for agent in agents},
    )


def _check(name: str, agents: Sequence[str], links: Sequence[Link], policies: Mapping[str, Policy]) -> None:
    known = set(agents)
    if not 0 < len(agents) <= AGENTS_MAX:
        raise InvalidDefinition(f"network {name}: expected 1 to {AGENTS_MAX} agents, saw {len(agents)}")
    if len(known) < len(agents):
        twice = sorted(agent for agent in known if agents.count(agent) > 1)
        raise InvalidDefinition(f"network {name}: agents that come twice: {', '.join(twice)}; give each its own name")
    told = [end for link in links for end in (link.source, link.target)] + list(policies)
    if unknown := sorted(set(told) - known):
        raise InvalidDefinition(f"network {name}: no agent {', '.join(unknown)}; there are {', '.join(agents)}")
    for policy in [link.policy for link in links] + list(policies.values()):
        if policy not in get_args(Policy):
            raise InvalidDefinition(
                f"network {name}: expected a policy of {', '.join(get_args(Policy))}, saw {policy!r}"
            )
    if len({link[:2] for link in links}) < len(links):
        raise InvalidDefinition(f"network {name}: an edge that is there twice; each pair has one")


def _ring(inputs: Mapping[str, Sequence[Link]], agent: str, done: Mapping[str, int]) -> list[str]:
    """A ring among those that could not be ordered, in the direction in which results go."""
    path = [agent]
    while True:
        before = next(link.source for link in inputs[path[-1]] if link.source not in done)
        if before in path:
            ring = path[path.index(before) :]
            return [before, *reversed(ring)]
        path.append(before)


class Turn(NamedTuple):
    """What follows from one more result: who may begin, and who never will."""

    ready: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


class Progress:
    """Where a network is. `became`: what is known of each agent; `fatal`: those whose failure failed the network,
    after which nobody new begins. Each link is looked at once, however large the network is."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waits_for = {agent: len(links) for agent, links in plan.inputs.items()}
        self._closed: set[str] = set()
        self.became: dict[str, Became] = {}
        self.fatal: list[str] = []

    def begin(self) -> tuple[str, ...]:
        """Those that read nothing, and so may begin at once."""
        return tuple(agent for agent in self._plan.order if not self._plan.inputs[agent])

    def settle(self, agent: str, became: Literal["finished", "failed"]) -> Turn:
        """What follows from what became of `agent`."""
        assert agent not in self.became, f"agent {agent} ended twice"
        self.became[agent] = became
        if became == "failed" and self._plan.is_fatal(agent):
            self.fatal.append(agent)
        ready: list[str] = []
        skipped: list[str] = []
        settled = deque([agent])
        while settled:
            source = settled.popleft()
            for link in self._plan.outputs[source]:
                self._waits_for[link.target] -= 1
                if self.became[source] != "finished" and link.policy != "degrade":
                    self._closed.add(link.target)
                if self._waits_for[link.target]:
                    continue
                if link.target in self._closed:
                    self.became[link.target] = "skipped"
                    skipped.append(link.target)
                    settled.append(link.target)
                else:
                    ready.append(link.target)
        return Turn(() if self.fatal else tuple(ready), tuple(skipped))

    @property
    def is_complete(self) -> bool:
        """Whether every agent finished."""
        return len(self.became) == len(self._plan.order) and set(self.became.values()) == {"finished"}

    def __repr__(self) -> str:
        return f"Progress({len(self.became)} of {len(self._plan.order)} settled)"


# -- one call -------------------------------------------------------------------------------------------------------


class Times(NamedTuple):
    """The times of one call, all on one clock. `sign_at`: the last sign of life; `hard_at`: the caller's deadline;
    `blocked_s`: for how long its loop was blocked by others meanwhile, which is not counted against it."""

    began_at: float
    sign_at: float
    timeout_s: float
    lease_ttl_s: float
    hard_at: float = math.inf
    blocked_s: float = 0.0
    ending_at: float | None = None


def ends(times: Times) -> tuple[float, Why]:
    """When the call's time is over, and for which reason. What a blocked loop took from it is given back, but for the
    deadline of the caller, who waits no longer for that."""
    over: list[tuple[float, Why]] = [
        (times.hard_at, "deadline"),
        (times.began_at + times.timeout_s + times.blocked_s, "timeout"),
        (times.sign_at + times.lease_ttl_s + times.blocked_s, "silence"),
    ]
    return min(over, key=itemgetter(0))


def state_of(times: Times, *, now: float, slow_s: float, grace_s: float, is_blocking: bool, in_thread: bool) -> State:
    """How the call is doing."""
    if is_blocking:
        return "loop-blocked"
    if times.ending_at is not None and now >= times.ending_at + grace_s:
        return "thread-stuck" if in_thread else "dead"
    if now >= times.sign_at + times.lease_ttl_s + times.blocked_s:
        return "dead"
    return "slow" if now - times.began_at - times.blocked_s >= slow_s else "alive"


def worst(states: Iterable[State]) -> State:
    """The gravest of them; "alive" for none."""
    return max(states, key=GRAVITY.__getitem__, default="alive")
