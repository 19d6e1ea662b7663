"""Who is ill, who only suffers from it, and what is one incident: decisions over the graph and breakers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from holdfast.resilience.breaker.rules import State
from holdfast.resilience.graph import Graph

Health = Literal["well", "degraded", "blocked", "ramping", "probing", "ill"]
"""`ill`: its own breaker is open. `probing`, `ramping`: on its way back. `blocked`: well, as far as is known, but it
needs what is ill. `degraded`: it works without something that it wants."""
INCIDENT_S = 5.0
"""Breakers that open within so many seconds of each other may be one incident."""
SELF_SUSPICION_SHARE = 0.5
SELF_SUSPICION_MIN = 3


class Breaker(NamedTuple):
    """What is known of one breaker. `share`: of all calls it lets in; `opened_at`: when it opened last."""

    state: State = "closed"
    share: float = 1.0
    opened_at: float | None = None


class Standing(NamedTuple):
    """How one dependency is. `by`: the roots that it is blocked by, or what it does without."""

    health: Health = "well"
    by: tuple[str, ...] = ()


def standings(graph: Graph, breakers: Mapping[str, Breaker]) -> dict[str, Standing]:
    """How each dependency is, in topological order."""
    found: dict[str, Standing] = {}
    for name in graph.order:
        node = graph.nodes[name]
        own = breakers.get(name, Breaker())
        roots = _roots(node.needs, found)
        missing = tuple(other for other in node.wants if is_down(breakers.get(other, Breaker()).state))
        if own.state in ("open", "forced_open"):
            found[name] = Standing("ill", roots)
        elif roots:
            found[name] = Standing("blocked", roots)
        elif own.state == "half_open":
            found[name] = Standing("probing")
        elif own.share < 1:
            found[name] = Standing("ramping")
        else:
            found[name] = Standing("degraded", missing) if missing else Standing()
    return found


def blocked_by(graph: Graph, breakers: Mapping[str, Breaker], name: str) -> tuple[str, ...]:
    """The roots for which a call to `name` cannot succeed, though its own breaker may let it in; () for none."""
    down = [other for other in graph.order if other in graph.below(name) and is_down(_state(breakers, other))]
    return tuple(other for other in down if not any(is_down(_state(breakers, deeper)) for deeper in graph.below(other)))


def in_words(health: Health, by: Sequence[str]) -> str:
    """How something stands, as people say it: "blocked by llm"."""
    link = {"blocked": " by ", "degraded": ": without ", "ill": ", and needs "}.get(health, " ")
    return health + (link + ", ".join(by) if by else "")


def is_down(state: State) -> bool:
    """Whether no ordinary call passes a breaker in this state."""
    return state in ("open", "forced_open", "half_open")


class Incident(NamedTuple):
    """Openings that belong together. `root`: what is to blame; `members`: all that opened, in order."""

    root: str
    members: tuple[str, ...]


def incidents(graph: Graph, opened: Sequence[tuple[str, float]], *, within_s: float = INCIDENT_S) -> list[Incident]:
    """The incidents behind openings (name, time): those that need one thing in common, and opened together, are one.

    The root is what opened and is needed by all other members; failing that the one thing that all of them need, even
    where it has not opened itself: then it is what to look at first.
    """
    left = sorted(opened, key=lambda each: each[1])
    found: list[Incident] = []
    while left:
        first = left[0][1]
        together = [name for name, at in left if at - first <= within_s]
        root, members = _largest(graph, together)
        found.append(Incident(root, members))
        left = [(name, at) for name, at in left if name not in members]
    return found


def suspects_itself(graph: Graph, breakers: Mapping[str, Breaker]) -> bool:
    """Whether so many unrelated dependencies are ill at once that it is likelier this process that is ill.

    Related ones count once, by their root. Source: Envoy's panic threshold.
    """
    ill = {name for name in graph.order if _state(breakers, name) == "open"}
    roots = {name for name in ill if not graph.below(name) & ill}
    sources = [name for name in graph.order if not graph.nodes[name].needs]
    return len(roots) >= SELF_SUSPICION_MIN and len(roots) > SELF_SUSPICION_SHARE * len(sources)


def _roots(needs: Sequence[str], found: Mapping[str, Standing]) -> tuple[str, ...]:
    roots: dict[str, None] = {}
    for need in needs:
        standing = found[need]
        if standing.health in ("blocked", "ill") and standing.by:
            roots.update(dict.fromkeys(standing.by))
        elif standing.health in ("ill", "probing"):
            roots[need] = None
    return tuple(roots)


def _state(breakers: Mapping[str, Breaker], name: str) -> State:
    breaker = breakers.get(name)
    return "closed" if breaker is None else breaker.state


def _largest(graph: Graph, together: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Of those that opened together, the root that explains the first and most others; the deepest of equals."""
    first = together[0]
    best_root: str = first
    best: tuple[str, ...] = (first,)
    for root in graph.order:
        explained = tuple(name for name in together if name == root or root in graph.below(name))
        if first in explained and len(explained) > len(best):
            best_root, best = root, explained
    return best_root, best
