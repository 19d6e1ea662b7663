"""From a declaration to a chart: the one place that knows how workflow words become statechart words.

A handler's result is the event `/done/PATH/OUTCOME`, a timer `/after/PATH/N`, giving up `/escalate/PATH/error`,
cancelling `/cancel`. Users' signals are plain names and cannot begin with "/". A working leaf that completes its
parent goes to a structural final state `_done`; as a region of a parallel it is wrapped, so that `analysis.k8s`
becomes `analysis.k8s._run` and `analysis.k8s._done`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from holdfast import chart as charts
from holdfast import codec
from holdfast.chart import Chart, ChartDef, Configuration, StateDef, TimerDef, TransitionDef, shown
from holdfast.chart import Join as ChartJoin
from holdfast.errors import HoldfastError, InvalidDefinition
from holdfast.limits.rules import Limit
from holdfast.workflow.model.definition import DONE, LEAF_KINDS, Forward, StateSpec
from holdfast.workflow.model.run import Run, Timer
from holdfast.workflow.model.schedule import Schedule

CANCEL = "/cancel"
CANCELLED = "cancelled"
RUN, DONE_STATE = "_run", "_done"
ENDING_KINDS = ("work", "child")
"""The kinds of states that end by themselves, and complete their parent where they declare no edge."""


class Declared(Protocol):
    """What `build` needs of a workflow."""

    name: str
    version: int
    data_type: type[Any]
    deadline_s: float | None
    escalate_to: str | None
    cancel_to: str | None
    migrations: dict[int, dict[str, str]]
    schedules: list[Schedule]

    @property
    def states(self) -> Mapping[str, StateSpec]: ...


def done_event(path: str, outcome: str) -> str:
    """The event of a handler's outcome."""
    return f"/done/{path}/{outcome}"


def escalate_event(path: str) -> str:
    """The event of error handling that gave up on a state."""
    return f"/escalate/{path}/error"


def after_event(path: str, number: int) -> str:
    """The event of a state's timer."""
    return f"/after/{path}/{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A compiled workflow: its chart, and from chart leaves to what was declared."""

    name: str
    version: int
    chart: Chart
    specs: Mapping[str, StateSpec]
    leaf_specs: Mapping[str, StateSpec]
    acceptors: Mapping[str, tuple[str, ...]]
    data_type: type[Any]
    deadline_s: float | None
    migrations: Mapping[int, Mapping[str, str]]
    cancel_event: str = CANCEL
    schedules: tuple[Schedule, ...] = ()

    def spec_of(self, leaf: str) -> StateSpec:
        """The declaration behind a chart leaf. Raises InvalidDefinition for a leaf that code no longer has."""
        spec = self.leaf_specs.get(leaf)
        if spec is None:
            raise InvalidDefinition(f"workflow {self.name}: there is no state {shown(leaf)!r}; migrate its runs")
        return spec

    @property
    def has_children(self) -> bool:
        """Whether some state starts a run of its own."""
        return any(spec.child is not None for spec in self.specs.values())

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What its states take places of."""
        return tuple(dict.fromkeys(limit for spec in self.specs.values() for limit in spec.limits))

    def leaf_of(self, path: str) -> str:
        """The chart leaf of a declared state, or `path` itself where it is one."""
        return f"{path}.{RUN}" if f"{path}.{RUN}" in self.leaf_specs else path

    def adopt(self, run: Run, states: Mapping[str, str]) -> Configuration:
        """The run's place in this chart although an older one wrote it, its leaves renamed by `states`.

        Raises InvalidDefinition where the result is not legal here.
        """
        old = run.configuration
        names = {path: self.renamed(path, states) for path in (*old.leaves, *old.visits)}
        moved = replace(
            old,
            leaves=tuple(names[path] for path in old.leaves),
            history={
                path: tuple(self.renamed(inner, states) for inner in remembered)
                for path, remembered in old.history.items()
                if path in self.chart.numbers
            },
            visits={names[path]: visit for path, visit in old.visits.items()},
        )
        return charts.adopt(self.chart, moved)

    def renamed(self, leaf: str, states: Mapping[str, str]) -> str:
        """A leaf of older code under its new name."""
        declared = leaf.removesuffix(f".{RUN}")
        return self.leaf_of(states[declared]) if declared in states else leaf

    def renamed_timer(self, timer: Timer, states: Mapping[str, str]) -> Timer:
        """A timer of older code under the new name of its state."""
        declared = timer.state.removesuffix(f".{RUN}")
        if declared not in states:
            return timer
        number = int(timer.event.rpartition("/")[2])
        return replace(timer, state=self.leaf_of(states[declared]), event=after_event(states[declared], number))

    def decode_data(self, data: bytes) -> Any:
        """The run's data as the workflow's type."""
        return codec.decode(data, self.data_type, what=f"data of workflow {self.name}")


def build(declared: Declared) -> Built:
    """Compile and check. Raises InvalidDefinition with everything that is wrong."""
    states = dict(declared.states)
    if not states:
        raise InvalidDefinition(f"workflow {declared.name}: no state is declared")
    if declared.cancel_to is None and CANCELLED not in states:
        states[CANCELLED] = StateSpec(path=CANCELLED, kind="final")
    tree = _Tree(declared, states)
    definition = ChartDef(declared.name, declared.version, tree.children(""), tree.initial(""))
    try:
        compiled = charts.compile(definition)
    except HoldfastError as error:
        raise InvalidDefinition(f"workflow {declared.name}: {error}") from error
    ignored = {CANCELLED} if declared.cancel_to is None else set()
    problems = [finding.text for finding in charts.check(compiled) if finding.state not in ignored]
    if problems:
        raise InvalidDefinition(f"workflow {declared.name}: " + "; ".join(problems), problems=problems)
    acceptors: dict[str, tuple[str, ...]] = {}
    for spec in states.values():
        for signal in spec.signals:
            acceptors[signal] = (*acceptors.get(signal, ()), spec.path)
    return Built(
        name=declared.name,
        version=declared.version,
        chart=compiled,
        specs=states,
        leaf_specs={tree.leaf(spec): spec for spec in states.values() if spec.kind in LEAF_KINDS},
        acceptors=acceptors,
        data_type=declared.data_type,
        deadline_s=declared.deadline_s,
        migrations=declared.migrations,
        schedules=tuple(declared.schedules),
    )


class _Tree:
    """Builds state definitions from the declared paths, parents implied."""

    def __init__(self, declared: Declared, states: Mapping[str, StateSpec]) -> None:
        self._declared = declared
        self._states = states
        self._paths = list(dict.fromkeys(ancestor for path in states for ancestor in _lineage(path)))
        self._cancel_to = declared.cancel_to or CANCELLED
        self._check_names()

    def children(self, parent: str) -> tuple[StateDef, ...]:
        paths = [path for path in self._paths if path.rpartition(".")[0] == parent]
        made = [self._state(path) for path in paths]
        if parent and self._completes(parent):
            made.append(StateDef(DONE_STATE, kind="final"))
        return tuple(made)

    def initial(self, parent: str) -> tuple[str, ...]:
        starts = [
            path
            for path, spec in self._states.items()
            if spec.is_start and (path.startswith(parent + ".") if parent else True)
        ]
        if not parent and len(starts) == 0:
            raise InvalidDefinition(f"workflow {self._declared.name}: expected one state with start=True, saw none")

        depth = parent.count(".") + 1 if parent else 0
        heads = sorted({".".join(path.split(".")[: depth + 1]) for path in starts})
        if len(heads) > 1:
            raise InvalidDefinition(
                f"workflow {self._declared.name}: expected one start state in {parent or 'the workflow'}, saw "
                + ", ".join(sorted(starts))
            )
        return tuple(heads)

    def leaf(self, spec: StateSpec) -> str:
        return f"{spec.path}.{RUN}" if self._is_wrapped(spec) else spec.path

    def _state(self, path: str) -> StateDef:
        spec = self._states.get(path) or StateSpec(path=path, kind="compound")
        name = path.rpartition(".")[2]
        if spec.kind == "final":
            return StateDef(name, kind="final")
        if spec.kind == "history":
            kind = "deep_history" if spec.is_deep else "shallow_history"
            return StateDef(name, kind=kind, initial=(self._target(spec, spec.edges[DONE]),))  # type: ignore[arg-type]
        timers = tuple(TimerDef(after_event(path, i), seconds) for i, (seconds, _) in enumerate(spec.after))
        if self._is_wrapped(spec):
            inner = StateDef(RUN, transitions=tuple(self._transitions(spec)), timers=timers)
            return StateDef(name, kind="compound", children=(inner, StateDef(DONE_STATE, kind="final")))
        if spec.kind in LEAF_KINDS:
            return StateDef(name, transitions=tuple(self._transitions(spec)), timers=timers)
        parallel = spec.kind == "parallel"
        return StateDef(
            name,
            kind="parallel" if parallel else "compound",
            children=self.children(path),
            initial=() if parallel else self.initial(path),
            transitions=tuple(self._transitions(spec)),
            timers=timers,
            join=ChartJoin(kind=spec.join.kind, count=spec.join.count) if parallel else ChartJoin(),  # type: ignore[arg-type]
        )

    def _transitions(self, spec: StateSpec) -> Iterable[TransitionDef]:
        path = spec.path
        if spec.kind in ENDING_KINDS and not spec.edges:
            final = f"{path}.{DONE_STATE}" if self._is_wrapped(spec) else f"{path.rpartition('.')[0]}.{DONE_STATE}"
            yield TransitionDef(done_event(path, DONE), (final,))
        elif spec.kind in ("compound", "parallel"):
            for target in spec.edges.values():
                yield TransitionDef(f"done.state.{path}", (self._target(spec, target),))
        else:
            for outcome, target in spec.edges.items():
                yield TransitionDef(done_event(path, outcome), (self._target(spec, target),))
        for signal, edge in spec.signals.items():
            forward = isinstance(edge, Forward)
            target = edge.target if isinstance(edge, Forward) else edge
            yield TransitionDef(signal, (self._target(spec, target),), raises=(signal,) if forward else ())
        for number, (_, target) in enumerate(spec.after):
            yield TransitionDef(after_event(path, number), (self._target(spec, target),))
        if spec.on_error:
            yield TransitionDef(escalate_event(path), (self._target(spec, spec.on_error),))
        if "." not in path:
            yield from self._top_transitions(path)

    def _top_transitions(self, path: str) -> Iterable[TransitionDef]:
        """Every top-level state can be cancelled, and left by what cannot be retried."""
        if self._cancel_to.split(".")[0] != path or path == CANCELLED:
            yield TransitionDef(CANCEL, (self._cancel_to,))
        if self._declared.escalate_to is None:
            return
        for inner, spec in self._states.items():
            is_inside = inner.split(".")[0] == path and inner != self._declared.escalate_to
            if is_inside and spec.kind in LEAF_KINDS and not spec.on_error:
                yield TransitionDef(escalate_event(inner), (self._declared.escalate_to,))

    def _target(self, spec: StateSpec, target: str) -> str:
        if target == DONE and target not in self._paths:
            return f"{spec.path if self._is_wrapped(spec) else spec.path.rpartition('.')[0]}.{DONE_STATE}"
        if target not in self._paths:
            raise InvalidDefinition(
                f"workflow {self._declared.name}: state {spec.path!r} leads to {target!r}, which is not declared; "
                f"{_meant(target, self._paths)}declared are {', '.join(self._paths)}"
            )
        return target

    def _is_wrapped(self, spec: StateSpec) -> bool:
        """A working or waiting region of a parallel: it needs a final state of its own to complete."""
        parent = self._states.get(spec.path.rpartition(".")[0])
        return spec.kind in LEAF_KINDS and parent is not None and parent.kind == "parallel"

    def _completes(self, parent: str) -> bool:
        """Whether some child of a compound goes to its structural final state."""
        spec = self._states.get(parent)
        if spec is not None and spec.kind == "parallel":
            return False
        inside = [item for path, item in self._states.items() if path.rpartition(".")[0] == parent]
        return any(
            (item.kind in ENDING_KINDS and not item.edges) or (DONE in _targets(item) and DONE not in self._paths)
            for item in inside
        )

    def _check_names(self) -> None:
        for path, spec in self._states.items():
            for signal in spec.signals:
                if not signal.replace("_", "").replace("-", "").isalnum():
                    raise InvalidDefinition(
                        f"workflow {self._declared.name}: state {path!r}: expected a signal of letters, digits, - and "
                        f"_, saw {signal!r}"
                    )
            parent = path.rpartition(".")[0]
            if spec.kind in ENDING_KINDS and not spec.edges and not parent:
                raise InvalidDefinition(
                    f"workflow {self._declared.name}: state {path!r} has no edge; give it to=, or make it part of a "
                    "parent that it completes"
                )
            if parent in self._states and self._states[parent].kind not in ("compound", "parallel"):
                raise InvalidDefinition(
                    f"workflow {self._declared.name}: state {path!r} lies inside {parent!r}, which is a "
                    f"{self._states[parent].kind} state and cannot have children"
                )


def _targets(spec: StateSpec) -> list[str]:
    signals = [edge.target if isinstance(edge, Forward) else edge for edge in spec.signals.values()]
    return [*spec.edges.values(), *signals, *(target for _, target in spec.after)]


def _meant(name: str, known: Iterable[str]) -> str:
    """What somebody who mistyped a state's name will have meant, as a beginning of a sentence; often nothing."""
    alike = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {alike[0]!r}? " if alike else ""


@functools.lru_cache(maxsize=4096)
def _lineage(path: str) -> tuple[str, ...]:
    parts = path.split(".")
    return tuple(".".join(parts[: length + 1]) for length in range(len(parts)))
