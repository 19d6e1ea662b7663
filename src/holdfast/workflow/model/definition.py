"""How a workflow is declared: states with handlers, waits, parallels, finals. Checked when it is built.

A dotted name is the hierarchy. The declaration compiles to a statechart, and the chart alone says what may happen:
handlers return the name of an edge, they never choose a target.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from holdfast.clock import parse_duration_s
from holdfast.errors import InvalidDefinition
from holdfast.limits.rules import Limit, declared_once
from holdfast.locks.rules import LockName

Handler = Callable[[Any], Awaitable[str | None]]
HandlerT = TypeVar("HandlerT", bound=Handler)
Locking = Callable[[Any], LockName | Sequence[LockName]]
"""What a state's `lock=` is: from the data, one lock or several, each (kind, name) or (kind, name, mode)."""
DONE = "done"
"""The outcome of a handler that returns None, and the name of the edge a plain `to="..."` declares."""
LEAF_KINDS = ("work", "wait", "child")
"""The kinds of states that a run can stand in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How failures of a state's handler are retried: exactly `first_s` before the first retry, then doubling up to
    `cap_s`, with up to `jitter` (a fraction) added from the second on. `attempts_max` counts the first attempt."""

    attempts_max: int = 4
    first_s: float = 2.0
    cap_s: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise InvalidDefinition(f"Retry: expected attempts_max of at least 1, saw {self.attempts_max}")
        if self.first_s < 0 or self.cap_s < self.first_s or not 0 <= self.jitter <= 1:
            raise InvalidDefinition(
                "Retry: expected 0 <= first_s <= cap_s and 0 <= jitter <= 1, saw "
                f"first_s={self.first_s}, cap_s={self.cap_s}, jitter={self.jitter}"
            )

    @property
    def max_retries(self) -> int:
        """Retries after the first attempt."""
        return self.attempts_max - 1


@dataclass(frozen=True, slots=True)
class Forward:
    """An edge that goes to `target` and hands it the same signal: two transitions, two journal rows, one commit."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """When a parallel is done: "all" regions, "any" of them, or a "quorum" of `count`."""

    kind: str = "all"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """Which run a child state starts. `input`: from the data, the child's input; without it, the data. `into`: the
    field of the data that the child's own data become when it ends."""

    workflow: str
    input: Callable[[Any], Any] | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """One declared state, as plain facts. `kind`: work, wait, child, compound, parallel, final, history."""

    path: str
    kind: str
    handler: Handler | None = None
    edges: Mapping[str, str] = field(default_factory=dict)
    signals: Mapping[str, str | Forward] = field(default_factory=dict)
    after: tuple[tuple[float, str], ...] = ()
    retry: Retry = Retry()
    lock: Locking | None = None
    needs: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    about: Callable[[Any], str] | None = None
    timeout_s: float | None = None
    sla_s: float | None = None
    on_error: str | None = None
    child: ChildSpec | None = None
    is_start: bool = False
    is_deep: bool = True
    join: Join = Join()


class Declaration:
    """Collects the states of one workflow in document order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.states: dict[str, StateSpec] = {}

    def add(self, spec: StateSpec) -> None:
        if spec.path in self.states:
            raise InvalidDefinition(f"workflow {self._name}: state {spec.path!r} is declared twice")
        for segment in spec.path.split("."):
            plain = segment.replace("~", "", 1).replace("_", "").replace("-", "")
            if not plain.isalnum() or segment in ("_run", "_done"):
                raise InvalidDefinition(
                    f"workflow {self._name}: state {spec.path!r}: expected dotted names of letters, digits, -, _ and ~ "
                    f'(not "_run" or "_done", which are ours), saw {segment!r}'
                )
        self.states[spec.path] = spec

    def work(self, path: str, handler: Handler, **options: Any) -> None:
        if isinstance(options.get("needs"), str):
            raise InvalidDefinition(
                f"workflow {self._name}: state {path!r}: expected needs to be names of dependencies, such as "
                f'["{options["needs"]}"], saw one text'
            )
        if not inspect.iscoroutinefunction(handler):
            raise InvalidDefinition(
                f"workflow {self._name}: the handler of {path!r} must be an async function, saw {handler!r}; "
                "call blocking code through ctx.step, which runs sync functions in a thread"
            )
        self.add(StateSpec(path=path, kind="work", handler=handler, **options))


def edges_of(to: str | Mapping[str, str] | None) -> dict[str, str]:
    """The edges that `to=` declares: one named "done", or one per outcome, or none."""
    if to is None:
        return {}
    return {DONE: to} if isinstance(to, str) else dict(to)


def after_of(after: Mapping[str, str] | None) -> tuple[tuple[float, str], ...]:
    """The timers that `after=` declares: seconds and target, shortest first."""
    return tuple(sorted((parse_duration_s(text), target) for text, target in (after or {}).items()))


def limits_of(state: str, given: Limit | Sequence[Limit]) -> tuple[Limit, ...]:
    """The limits that `limits=` declares, in the order in which everybody asks for them: by name, one with a rate last.

    Of those a state has one at most: a token that is spent while the other is awaited would not be one of its time.
    Raises InvalidDefinition.
    """
    several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    for each in several:
        if not isinstance(each, Limit):
            raise InvalidDefinition(
                f'state {state}: expected limits= as Limit("llm", places=10) or several of them, saw {each!r:.80}'
            )
    found = declared_once(list(several)).values()
    rated = [limit.name for limit in found if limit.rate is not None]
    if len(rated) > 1:
        raise InvalidDefinition(
            f"state {state}: expected at most one limit with a rate, saw {', '.join(rated)}; take the other by "
            "ctx.place around the call that it is about"
        )
    return tuple(sorted(found, key=lambda limit: (limit.rate is not None, limit.name)))


def seconds_of(text: str | float | None) -> float | None:
    """Seconds in a duration, or None."""
    return None if text is None else parse_duration_s(text)
