"""Who needs whom: the graph of dependencies, checked when it is built. Pure.

An edge is hard where the one cannot work without the other, soft where it works worse. Hard edges make no ring; soft
ones may, for nothing waits along them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from holdfast.errors import InvalidDefinition, InvalidInput
from holdfast.names import check_id
from holdfast.resilience.breaker.options import BreakerOptions
from holdfast.resilience.breaker.presets import PRESETS, preset

Kind = Literal["llm", "database", "redis", "http", "agent"]
OBJECTIVES_S: Mapping[str, float] = {"llm": 120.0, "database": 30.0, "redis": 10.0, "http": 60.0, "agent": 60.0}
"""How soon one of a kind should be back in use after it was found ill, unless its declaration says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something that calls go to: a domain such as a model or a database, or an agent.

    `kind` chooses the preset of its breaker, `options` replace it. `needs` are hard edges, `wants` soft ones. `probe`
    is a cheap call that shows whether it is well, such as a PING or a SELECT 1: where there is one, no user's call is
    risked. `recovery_s`: its recovery time objective, the seconds within which it should be back in use after it was
    found ill; None for that of its kind. Raises InvalidInput for values that mean nothing.

    Example::

        Dependency(name="triage", kind="agent", needs=["llm", "db"], wants=["cache"], recovery_s=30)
    """

    name: str
    kind: Kind = "http"
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    recovery_s: float | None = None
    probe: Callable[[], Awaitable[object]] | None = field(default=None, repr=False, compare=False)
    options: BreakerOptions | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_id("dependency", self.name)
        if self.kind not in get_args(Kind):
            raise InvalidInput(f"dependency {self.name}: expected a kind of {', '.join(PRESETS)}, saw {self.kind!r}")
        for what in ("needs", "wants"):
            given = getattr(self, what)
            if isinstance(given, str):
                raise InvalidInput(f'dependency {self.name}: expected {what} to be names, such as ["{given}"]')
            object.__setattr__(self, what, tuple(dict.fromkeys(given)))
        if both := set(self.needs) & set(self.wants):
            raise InvalidInput(f"dependency {self.name}: needs and wants {', '.join(sorted(both))}: say one of them")
        if self.recovery_s is None:
            object.__setattr__(self, "recovery_s", OBJECTIVES_S[self.kind])
        elif not 0 < self.recovery_s < float("inf"):
            raise InvalidInput(f"dependency {self.name}: expected recovery_s above 0, saw {self.recovery_s!r}")

    @property
    def objective_s(self) -> float:
        """Its recovery time objective in seconds."""
        assert self.recovery_s is not None
        return self.recovery_s

    @property
    def breaker_options(self) -> BreakerOptions:
        """Its own options, or its kind's; with waits short enough to notice within the objective that it is well."""
        options = self.options or preset(self.kind)
        open_max_s = min(options.open_max_s, max(self.objective_s / 2, 0.001))
        return replace(options, open_max_s=open_max_s, open_s=min(options.open_s, open_max_s))


class Graph:
    """All dependencies of a program. Raises InvalidDefinition for edges to nobody, names given twice and rings."""

    def __init__(self, dependencies: Iterable[Dependency]) -> None:
        self.nodes: dict[str, Dependency] = {}
        for node in dependencies:
            if node.name in self.nodes:
                raise InvalidDefinition(f"dependency {node.name}: declared twice")
            self.nodes[node.name] = node
        for node in self.nodes.values():
            for other in (*node.needs, *node.wants):
                if other not in self.nodes:
                    raise InvalidDefinition(
                        f"dependency {node.name}: {other} is not declared; there are {', '.join(sorted(self.nodes))}"
                    )
        self.order = _ordered(self.nodes)
        """All names, each behind what it needs."""
        self._below: dict[str, frozenset[str]] = {}
        for name in self.order:
            needs = self.nodes[name].needs
            self._below[name] = frozenset(needs).union(*(self._below[need] for need in needs))
        self._above = {
            name: frozenset(other for other in self.order if name in self._below[other]) for name in self.order
        }

    def check(self, name: str, *, who: str = "") -> None:
        """Raises InvalidDefinition where nothing of that name is declared."""
        if name not in self.nodes:
            known = ", ".join(sorted(self.nodes)) or "none"
            raise InvalidDefinition(f"{who}{name}: no such dependency is declared; there are {known}")

    def below(self, name: str) -> frozenset[str]:
        """All that it needs, and what that needs in turn."""
        return self._below[name]

    def above(self, name: str) -> frozenset[str]:
        """All that need it, directly or not."""
        return self._above[name]

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} dependencies)"


def _ordered(nodes: Mapping[str, Dependency]) -> tuple[str, ...]:
    """Names in topological order, as declared where that leaves a choice."""
    order: list[str] = []
    done: set[str] = set()
    left = list(nodes)
    while left:
        ready = [name for name in left if all(need in done for need in nodes[name].needs)]
        if not ready:
            ring = " -> ".join(_ring(nodes, left))
            raise InvalidDefinition(
                f"dependencies need each other in a ring: {ring}; make one of these edges soft (wants)"
            )
        order += ready
        done |= set(ready)
        left = [name for name in left if name not in done]
    return tuple(order)


def _ring(nodes: Mapping[str, Dependency], left: list[str]) -> list[str]:
    """One ring among those of which each needs another of them."""
    path = [left[0]]
    while True:
        onward = next(need for need in nodes[path[-1]].needs if need in left)
        if onward in path:
            return [*path[path.index(onward) :], onward]
        path.append(onward)
