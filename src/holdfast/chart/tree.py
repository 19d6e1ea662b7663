"""The compiled chart: states as numbers in document order, sets of states as bits of one integer.

Node 0 is the unnamed top, always active and in no set. A set of states is an `int` with bit i for node i, so "every
descendant of" or "all that are active" is one `&`. Everything here is frozen; the memo of a chart only remembers what
pure functions answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.chart.definition import ChartDef, Join, Kind, TimerDef
from holdfast.errors import InvalidInput

Guard = Callable[[Any, Any], bool]
"""A pure predicate over (the run's data, the event's data)."""

MEMO_ENTRIES_MAX = 4096
"""Bound on each table of a chart's memo; a full table starts afresh. Event names come from outside and never end."""


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """A compiled transition. `number` is its place in document order over the whole chart."""

    number: int
    source: int
    event: str
    descriptors: tuple[str, ...]
    targets: tuple[int, ...]
    target_paths: tuple[str, ...]
    guard: str
    is_internal: bool
    actions: tuple[str, ...]
    raises: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A compiled state. `above` lists its proper ancestors from the parent to the top; `below` is a set of states.

    `initial` is resolved: what is entered by default, also for a history state that remembers nothing.
    `join_count` is the number of final regions that make a parallel state done, 0 for any other kind.
    """

    number: int
    path: str
    kind: Kind
    parent: int
    above: tuple[int, ...]
    below: int
    children: tuple[int, ...]
    histories: tuple[int, ...]
    initial: tuple[int, ...]
    transitions: tuple[Transition, ...]
    entry: tuple[str, ...]
    exit: tuple[str, ...]
    entry_raises: tuple[str, ...]
    exit_raises: tuple[str, ...]
    timers: tuple[TimerDef, ...]
    join: Join
    join_count: int

    @property
    def is_history(self) -> bool:
        """Whether this is a history state: entered through, never active."""
        return self.kind in ("shallow_history", "deep_history")

    @property
    def is_leaf(self) -> bool:
        """Whether an active configuration may end here."""
        return self.kind in ("atomic", "final")

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition(".")[2]


@dataclass(slots=True, eq=False)
class Memo:
    """Answers of the chart's pure functions, by their arguments. Forgetting any of it changes no result."""

    moves: dict[Any, Any] = field(default_factory=dict)
    microsteps: dict[Any, Any] = field(default_factory=dict)
    active: dict[tuple[str, ...], int] = field(default_factory=dict)
    drawings: dict[str, Any] = field(default_factory=dict)

    def forget(self) -> None:
        """Empty all tables: the next questions are answered from the rules again."""
        for table in (self.moves, self.microsteps, self.active, self.drawings):
            table.clear()


def remember(table: dict[Any, Any], key: object, value: object) -> None:
    """Keep `value` in a bounded table of the memo."""
    if len(table) >= MEMO_ENTRIES_MAX:
        table.clear()
    table[key] = value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chart:
    """A chart that has a meaning, ready to step. Made by `compile`; `hash` is the digest of its definition."""

    definition: ChartDef
    hash: str
    nodes: tuple[Node, ...]
    numbers: Mapping[str, int]
    guards: Mapping[str, Guard]
    leaves: int
    histories: tuple[str, ...]
    memo: Memo = field(default_factory=Memo)

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.definition.name

    @property
    def version(self) -> int:
        """The definition's version."""
        return self.definition.version

    @property
    def paths(self) -> tuple[str, ...]:
        """All states' paths in document order, history states included."""
        return tuple(node.path for node in self.nodes[1:])

    def node(self, path: str) -> Node:
        """The state at `path`. Raises InvalidInput if there is none."""
        number = self.numbers.get(path)
        if number is None:
            raise InvalidInput(
                f"chart {self.name}: expected the path of a state, saw {path!r}; its top states are "
                f"{', '.join(self.nodes[child].path for child in self.nodes[0].children)}",
                chart=self.name,
                seen=path,
            )
        return self.nodes[number]

    def __repr__(self) -> str:
        return f"Chart({self.name!r} version {self.version}, {len(self.nodes) - 1} states, {self.hash[:12]})"


def bits(states: int) -> Iterator[int]:
    """The numbers in a set of states, in document order."""
    while states:
        low = states & -states
        yield low.bit_length() - 1
        states ^= low


def bits_backwards(states: int) -> Iterator[int]:
    """The numbers in a set of states, in reverse document order: the order of leaving."""
    while states:
        high = states.bit_length() - 1
        yield high
        states ^= 1 << high
