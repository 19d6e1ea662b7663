"""A statechart as its author writes it: frozen values that go to and from JSON.

States form a tree. A state's id is its *path*: the names from the top joined by dots ("analysis.k8s"), and every
target, initial and history entry names a full path. Nothing here is checked; `compile` does that.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast import codec

Kind = Literal["atomic", "compound", "parallel", "final", "shallow_history", "deep_history"]
JoinKind = Literal["all", "any", "quorum"]

DONE_PREFIX = "done.state."
"""Completion events are `done.state.PATH`. Only the chart raises them."""

DEADLINE_PREFIX = "deadline.state."
"""The timer of a join's deadline sends `deadline.state.PATH`, PATH being the parallel state."""


class TimerDef(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Send `event` once the state has been active for `after_s` seconds; set on entry, dropped on exit."""

    event: str
    after_s: float


class TransitionDef(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an active state does about an event.

    `event` holds one or several descriptors separated by spaces, as in SCXML: "a" takes "a" and "a.b", "*" takes
    all, and "" makes the transition eventless. Done and deadline events of a path are taken exactly:
    "done.state.a" is not "done.state.a.b" ("done.state.a.*" takes both). No targets: actions only, nothing is left.
    `internal` keeps a compound source active where all targets lie inside it. `raises` are events for the chart itself.
    """

    event: str = ""
    targets: tuple[str, ...] = ()
    guard: str = ""
    internal: bool = False
    actions: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()


class Join(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """When a parallel state is done: once `all`, `any` or `count` (kind "quorum") of its regions are final.

    With `deadline_s` the event `deadline.state.PATH` comes that many seconds after entry. What it means is said by
    the transition that takes it: `event="done.state.p deadline.state.p"` goes on with what there is, a transition of
    its own goes elsewhere.
    """

    kind: JoinKind = "all"
    count: int = 0
    deadline_s: float | None = None


class StateDef(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One state. `children` are in document order, which decides between equals.

    `initial` are the paths that a compound state enters by default (empty: its first child); of a history state, what
    it stands for until something is remembered (empty: its parent's own default).
    """

    name: str
    kind: Kind = "atomic"
    children: tuple[StateDef, ...] = ()
    initial: tuple[str, ...] = ()
    transitions: tuple[TransitionDef, ...] = ()
    entry: tuple[str, ...] = ()
    exit: tuple[str, ...] = ()
    entry_raises: tuple[str, ...] = ()
    exit_raises: tuple[str, ...] = ()
    timers: tuple[TimerDef, ...] = ()
    join: Join = Join()


class ChartDef(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A whole chart. Its top behaves like a compound state without a name: a top-level final state ends it.

    Example: `ChartDef("door", 1, (StateDef("open", transitions=(TransitionDef("close", ("shut",)),)),
    StateDef("shut", "final")))`.
    """

    name: str
    version: int = 1
    children: tuple[StateDef, ...] = ()
    initial: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """This definition as JSON. Fields at their defaults are left out, so a new field changes no stored chart."""
        return codec.encode(self, what=f"chart {self.name}")

    @classmethod
    def from_json(cls, data: bytes) -> ChartDef:
        """The definition that `to_json` wrote. Raises InvalidInput, naming the place, on any other shape."""
        return codec.decode(data, cls, what="chart definition")
