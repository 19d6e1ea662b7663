"""What a soak draws from its seed, pure: the shapes of its workflows, and what is decided about each of its runs.

Every process draws the same from the same seed, whatever happens to it and to the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar, get_args

T = TypeVar("T")

Kind = Literal["steps", "once", "regions", "flaky", "timer", "approval", "lock", "locks", "block", "child"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORKFLOWS = len(KINDS)
STAGES_MORE = 4
STEPS_MAX = 3
FAILURES_MAX = 2
ROUNDS_MAX = 3
"""How often an approval sends a run back at most."""
RESOURCES = 5
USERS = 4
EXPIRY = "24h"
"""When an approval that nobody gives runs out: long after the soak."""

APPROVE, AGAIN, REJECT, CANCEL = "approve", "request_changes", "reject", "cancel"
Verdict = Literal["approve", "request_changes", "reject", "cancel"]
Fancy = Literal["", "cancel", "pause"]
ENDS = {APPROVE: "done", REJECT: "rejected", CANCEL: "cancelled"}
CHILD, TICK = "soak-child", "soak-tick"
"""The workflow of the runs that runs start, and the one that a schedule starts."""
TICK_S = 2
KEPT = "resource"
"""The field of a run's data that is no effect: what its locks are on."""
ANSWERED = "answered"
"""The label that says whether anybody decides about a run ("yes" or "no")."""


class Stage(NamedTuple):
    """One state, or one parallel state, of a workflow. `names`: its effects, or those of each of its regions;
    `failures`: how many attempts fail, `fails_late`: after their effect; `after_ms`: of a timer."""

    kind: Kind
    path: str
    names: tuple[str, ...] = ()
    failures: int = 0
    fails_late: bool = False
    after_ms: int = 0

    @property
    def leaves(self) -> tuple[str, ...]:
        """The paths of its states."""
        if self.kind == "regions":
            return tuple(f"{self.path}.r{number}" for number in range(len(self.names)))
        return (self.path,)

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """(state, step) of each of its effects."""
        if self.kind == "regions":
            return tuple(zip(self.leaves, self.names, strict=True))
        return tuple((self.path, name) for name in self.names)


class Shape(NamedTuple):
    """One workflow: its stages one after the other."""

    name: str
    stages: tuple[Stage, ...]


def chance(*words: object) -> float:
    """A number in [0, 1) that `words` alone decide."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def drawn(choices: Sequence[T], *words: object) -> T:
    """One of `choices`, decided by `words`."""
    return choices[int(chance(*words) * len(choices))]


def shapes(seed: int) -> tuple[Shape, ...]:
    """The workflows that customers start. Each kind of stage is in at least one of them."""
    return tuple(_shape(seed, number) for number in range(WORKFLOWS))


def others() -> tuple[Shape, ...]:
    """The workflows that nobody starts: a run does, or a schedule."""
    child = (Stage("steps", "s0", ("act0", "act1")), Stage("timer", "s1", after_ms=50), Stage("steps", "s2", ("act0",)))
    return Shape(CHILD, child), Shape(TICK, (Stage("steps", "s0", ("act0",)),))


def _shape(seed: int, number: int) -> Shape:
    count = 2 + int(chance(seed, number, "count") * STAGES_MORE)
    kinds = [KINDS[number], *(drawn(KINDS, seed, number, place) for place in range(count - 1))]
    kinds.sort(key=lambda kind: chance(seed, number, "order", kind))
    stages = tuple(_stage(kind, f"s{place}", seed, number, place) for place, kind in enumerate(kinds))
    return Shape(f"soak-{number}", stages)


def _stage(kind: Kind, path: str, *words: int) -> Stage:
    match kind:
        case "timer":
            return Stage(kind, path, after_ms=20 + int(chance(*words, "after") * 400))
        case "approval" | "child":
            return Stage(kind, path)
        case "flaky":
            failures = 1 + int(chance(*words, "failures") * FAILURES_MAX)
            return Stage(kind, path, ("act",), failures=failures, fails_late=chance(*words, "late") < 0.5)
        case "regions":
            count = 2 + int(chance(*words, "regions") * 2)
            return Stage(kind, path, tuple(f"act{place}" for place in range(count)))
        case "lock" | "locks" | "block" | "once":
            return Stage(kind, path, ("act",))
        case "steps":
            return Stage(kind, path, tuple(f"act{place}" for place in range(1 + int(chance(*words) * STEPS_MAX))))


def is_answered(seed: int, ticket: str) -> bool:
    """Whether somebody decides about the run; else it waits at its first approval until the soak is over."""
    return chance(seed, ticket, "answered") < 0.97


def verdict_on(seed: int, ticket: str, state: str, visit: int) -> Verdict:
    """What is decided about a run at an approval: the same, whoever decides."""
    number = chance(seed, ticket, state, visit)
    if number < 0.15 and visit < ROUNDS_MAX:
        return "request_changes"
    if number < 0.2:
        return "reject"
    return "cancel" if number < 0.25 else "approve"


def fancy_of(seed: int, ticket: str) -> Fancy:
    """What a customer does with a run of his own besides waiting for it."""
    number = chance(seed, ticket, "fancy")
    return "cancel" if number < 0.04 else "pause" if number < 0.1 else ""


def resource_of(seed: int, ticket: str) -> str:
    """The resource that the run's locked states share with others."""
    return f"resource-{int(chance(seed, ticket, 'resource') * RESOURCES)}"


def neighbour_of(resource: str) -> str:
    """The resource that a state which shares `resource` has for itself at the same time."""
    return f"resource-{(int(resource.rpartition('-')[2]) + 1) % RESOURCES}"


def child_field(path: str) -> str:
    """The field of a run's data that takes the data of the child that state `path` waited for."""
    return f"{CHILD}:{path}"


def user_of(seed: int, ticket: str) -> str:
    """Whose run it is."""
    return f"user-{int(chance(seed, ticket, 'user') * USERS)}"
