"""What a seed decides beforehand, as plain values: a plan that can be printed, repeated and shrunk.

The order in which things run is drawn as they run, from a chance of its own that the plan's `order` begins.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from holdfast.clock import Randomness

T = TypeVar("T")

FAULTS_S = 16.0
"""How long faults may come: from then on the world heals."""
NODES_MAX = 3
PLACES = (16, 3, 2, 1)
"""How many runs a node works on at once: with few, others wait in line."""
RUNS_MAX = 6
TROUBLES_MAX = 12
USERS = ("ana", "bob", "cem")
ACTS_MAX = 6
TIMES_MAX = 8
ALONE_RATE = 0.75
"""How likely it is that users do nothing beside runs: what they do makes a seed twice as dear."""
END_RATE = 0.1
"""How likely it is, after each run and each trouble, that no more come."""


class Deed(enum.Enum):
    """What users do beside runs."""

    COUNT = "count"
    """Add one to an object of shared state, by a function."""
    TRANSFER = "transfer"
    """Take from one object what another one gets, in a transaction."""
    CHECKPOINT = "checkpoint"
    """Keep all of one's objects as they are at one moment."""
    ORDER = "order"
    """Call a tool with a key, until it is acknowledged, and once more."""
    PUBLISH = "publish"
    """Publish in one's stream, and follow it."""
    NETWORK = "network"
    """Begin a run whose state is a network of agents."""


class Trouble(enum.Enum):
    """What happens to a node, or between it and the store."""

    DRAIN = "drain"
    """It lets its runs go in good order, for up to `length_s`, and boots again at once."""
    CRASH = "crash"
    """Its power is cut; `length_s` later it boots again."""
    STALL = "stall"
    """Nothing of it runs for `length_s`, then it goes on as if nothing had been."""
    OUST = "oust"
    """It stands still until another one has taken a run from it, and goes on then or up to a second later: it finds out
    by what it writes. From `at_s` on, or (at a `rate` from 1/3) from its next claim of a run on, or (from 2/3) from the
    next token on that it shows to the world."""
    SKEW = "skew"
    """Its clock is set wrong, by up to `rate` times 20 s, forward or back."""
    PARTITION = "partition"
    """It cannot reach the store, nor hear of it."""
    LATENCY = "latency"
    """Calls to the store are slow to arrive."""
    LATE_ANSWER = "late answer"
    """Calls to the store are done, and their answers slow to come back."""
    REFUSE = "refuse"
    """Calls are refused, with nothing done."""
    LOSE_BEFORE = "lose before"
    """The caller is told that nobody knows, and nothing was done."""
    LOSE_AFTER = "lose after"
    """The caller is told that nobody knows, and it was done."""
    STALE = "stale"
    """Who only looks is shown an older record."""
    MISS = "miss"
    """Wake-ups do not come."""
    REPEAT = "repeat"
    """Wake-ups come with nothing new behind them."""
    FLAKY = "flaky"
    """Effects fail before they happen, or after."""
    FLIP = "flip"
    """One byte of a stored run is another."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One trouble: on node number `node`, from `at_s` on for `length_s` virtual seconds, at `rate` (0 to 1) a call."""

    trouble: Trouble
    node: int
    at_s: float
    length_s: float
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.trouble.value} on node {self.node} at {self.at_s:.3f} s for {self.length_s:.3f} s, "
            f"rate {self.rate:.2f}"
        )


@dataclass(frozen=True, slots=True)
class Beginning:
    """One run: whose, when, of which workflow (counted round), and how often its user pauses or cancels it."""

    user: str
    at_s: float
    workflow: int
    meddling: float


@dataclass(frozen=True, slots=True)
class Act:
    """What a user does beside runs: `times` times, from `at_s` on. With `is_shared` he counts what all count."""

    user: str
    deed: Deed
    at_s: float
    times: int
    is_shared: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is drawn beforehand. The chance of the scheduler begins with `order`, that of what workflows are made
    with `shape`."""

    nodes: int
    places: int
    beginnings: tuple[Beginning, ...]
    strikes: tuple[Strike, ...]
    shape: int
    order: int
    acts: tuple[Act, ...] = ()
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        lines = [self.name, f"{self.nodes} nodes of {self.places} places, order {self.order}, shape {self.shape}"]
        return "\n  ".join([*lines, *map(str, self.beginnings), *map(str, self.strikes), *map(str, self.acts)])


def drawn_plan(
    chance: Randomness, *, name: str = "", troubles: Sequence[Trouble] = tuple(Trouble), alone: float = ALONE_RATE
) -> Plan:
    """A plan. Low draws are calm ones, so that whoever shrinks the chance shrinks the trouble."""
    nodes = 1 + _index(chance, NODES_MAX)
    places = PLACES[_index(chance, len(PLACES))]
    beginnings = (_beginning(chance), *_some(chance, lambda: _beginning(chance), RUNS_MAX - 1))
    strikes = _some(chance, lambda: _strike(chance, nodes, troubles), TROUBLES_MAX if troubles else 0)
    shape, order = chance.getrandbits(16), chance.getrandbits(32)
    acts = _some(chance, lambda: _act(chance), ACTS_MAX) if chance.random() >= alone else ()
    return Plan(nodes, places, beginnings, strikes, shape, order, acts, name)


def _some(chance: Randomness, draw: Callable[[], T], most: int) -> tuple[T, ...]:
    """Up to `most`, each after asking whether there is one more: whoever shrinks can leave out any of them."""
    found: list[T] = []
    while len(found) < most and chance.random() >= END_RATE:
        found.append(draw())
    return tuple(found)


def _beginning(chance: Randomness) -> Beginning:
    return Beginning(
        user=USERS[_index(chance, len(USERS))],
        at_s=_thousandths(chance, FAULTS_S / 2),
        workflow=_index(chance, 6),
        meddling=round(max(0.0, chance.random() - 0.6), 3),
    )


def _act(chance: Randomness) -> Act:
    return Act(
        user=USERS[_index(chance, len(USERS))],
        deed=tuple(Deed)[_index(chance, len(Deed))],
        at_s=_thousandths(chance, FAULTS_S / 2),
        times=1 + _index(chance, TIMES_MAX),
        is_shared=chance.random() >= 0.5,
    )


def _strike(chance: Randomness, nodes: int, troubles: Sequence[Trouble]) -> Strike:
    trouble = troubles[_index(chance, len(troubles))]
    at_s = _thousandths(chance, FAULTS_S)
    length_s = _thousandths(chance, FAULTS_S - at_s)
    return Strike(trouble, _index(chance, nodes), at_s, length_s, rate=round(chance.random(), 3))


def _index(chance: Randomness, count: int) -> int:
    return min(int(chance.random() * count), count - 1)


def _thousandths(chance: Randomness, most: float) -> float:
    return round(chance.random() * most, 3)
