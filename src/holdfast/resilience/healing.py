"""Who is probed next, and how much goes where on the way back: pure decisions.

Nothing is probed before what it needs is well, for its failure would say nothing; so a system comes back from its roots
up, and what many need is probed once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from holdfast.resilience.graph import Graph
from holdfast.resilience.rules import Breaker, blocked_by, is_down

Class = Literal["people", "remediation", "background"]
"""Who waits for a call: somebody at a screen, a repair under way, or nobody in particular."""
SHARE_MIN: Mapping[Class, float] = {"people": 0.0, "remediation": 0.3, "background": 0.7}
"""The share of its calls that a dependency must let in again before each class of load goes to it."""
PROBING_MAX = 2
"""How many dependencies may be probed at once."""
ROUNDS_MAX = 1000
"""After how many openings in a row probing is left to people: an hour of a cache, most of a day of a model."""


class Ill(NamedTuple):
    """One open breaker. `is_due`: its wait is over; `rounds`: how many times in a row it has opened; `in_vain`: how
    often it was offered to callers and nobody came."""

    is_due: bool
    rounds: int
    in_vain: int = 0


class Plan(NamedTuple):
    """`probe`: who is to be probed now, in order; `blocked`: whom nobody may probe yet, and for which roots;
    `dormant`: who has failed so often that only people wake it."""

    probe: tuple[str, ...]
    blocked: Mapping[str, tuple[str, ...]]
    dormant: tuple[str, ...]


def plan(
    graph: Graph,
    breakers: Mapping[str, Breaker],
    ill: Mapping[str, Ill],
    *,
    probing_max: int = PROBING_MAX,
    rounds_max: int = ROUNDS_MAX,
) -> Plan:
    """The next probes: roots first, of equals whoever is needed by most, no more at once than `probing_max`."""
    places = probing_max - sum(breaker.state == "half_open" for breaker in breakers.values())
    blocked: dict[str, tuple[str, ...]] = {}
    dormant: list[str] = []
    ready: list[str] = []
    for name in graph.order:
        breaker = breakers.get(name, Breaker())
        if not is_down(breaker.state):
            continue
        if roots := blocked_by(graph, breakers, name):
            blocked[name] = roots
        elif name in ill and ill[name].rounds > rounds_max:
            dormant.append(name)
        elif breaker.state == "open" and name in ill and ill[name].is_due:
            ready.append(name)
    ready.sort(key=lambda name: (ill[name].in_vain, -len(graph.above(name))))  # stable: else in topological order
    return Plan(tuple(ready[: max(0, places)]), blocked, tuple(dormant))


def share_of_way(graph: Graph, breakers: Mapping[str, Breaker], name: str) -> float:
    """The share of its usual calls that `name` can take now: what it lets in itself, and all that it needs."""
    way = (name, *graph.below(name))
    return min(0.0 if is_down(each.state) else each.share for each in (breakers.get(one, Breaker()) for one in way))


def admits(share: float, load: Class) -> bool:
    """Whether a call of that class goes to a dependency that takes so much: people first, the background last."""
    return share > 0 and share >= SHARE_MIN[load]


class Recovery(NamedTuple):
    """How one dependency came back, in seconds. `took_s`: from its opening until it was closed again."""

    name: str
    took_s: float
    objective_s: float

    @property
    def is_late(self) -> bool:
        return self.took_s > self.objective_s


def closed_by_s(graph: Graph, name: str, *, lag_s: float) -> float:
    """The seconds within which `name` is closed again once all is well: each of its roots in turn waits its longest
    wait, is probed one after the other by as many probes as it asks for, and is noticed within `lag_s`.

    A bound, not a forecast; it holds where no probe fails any more and there is a place for each probe.
    """
    depth: dict[str, float] = {}
    for one in graph.order:
        options = graph.nodes[one].breaker_options
        own = options.open_max_s + options.probes * lag_s
        depth[one] = own + max((depth[need] for need in graph.nodes[one].needs), default=0.0)
    return depth[name]
