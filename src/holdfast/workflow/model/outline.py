"""A workflow without its functions: what is stored of a declaration, so that a process without its code can judge.

Everything that a decision needs is in it, but for two functions of the run's data: `lock=` and `about=`. A decision
that would have to ask one of these is refused with `NeedsCode`; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from holdfast import chart as charts
from holdfast import codec
from holdfast.chart import ChartDef
from holdfast.errors import Corrupt, InvalidDefinition, Rejected
from holdfast.store.contract.records import SYSTEM_TENANT, Key
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.definition import ChildSpec, Forward, Join, Retry, StateSpec
from holdfast.workflow.model.run import queue_of
from holdfast.workflow.model.workflow import Workflow

OUTLINE = "outline"


class NeedsCode(Rejected):
    """The decision depends on a function of the workflow's code, which this process does not have."""


class StateOutline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A declared state as plain facts. `leaf`: its leaf in the chart, "" where it is none."""

    path: str
    kind: str
    leaf: str = ""
    edges: dict[str, str] = {}
    signals: dict[str, str | Forward] = {}
    after: tuple[tuple[float, str], ...] = ()
    retry: Retry = Retry()
    has_lock: bool = False
    has_about: bool = False
    child: str = ""
    into: str | None = None
    timeout_s: float | None = None
    sla_s: float | None = None
    on_error: str | None = None
    is_start: bool = False
    is_deep: bool = True
    join: Join = Join()


class Outline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A workflow as plain facts: its chart, by definition and hash, and what was declared of its states."""

    workflow: str
    version: int
    chart_hash: str
    chart: ChartDef
    states: tuple[StateOutline, ...]
    deadline_s: float | None = None

    @property
    def queue(self) -> str:
        """The queue of its runs: "name@2"."""
        return queue_of(self.workflow, self.version)


def outline_key(workflow: str, version: int) -> Key:
    """Where the outline of the newest code of a version is kept."""
    return Key(SYSTEM_TENANT, "", OUTLINE, queue_of(workflow, version))


def outline_of(built: Built) -> Outline:
    """The outline of a compiled workflow."""
    leaves = {spec.path: leaf for leaf, spec in built.leaf_specs.items()}
    return Outline(
        workflow=built.name,
        version=built.version,
        chart_hash=built.chart.hash,
        chart=built.chart.definition,
        states=tuple(_facts(spec, leaves.get(spec.path, "")) for spec in built.specs.values()),
        deadline_s=built.deadline_s,
    )


def decode_outline(body: bytes) -> Outline:
    """The outline in a stored body. Raises Corrupt where it is none."""
    try:
        return msgspec.json.decode(body, type=Outline)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"outline: expected the stored form of a workflow, saw something else: {error}") from error


def encode_outline(outline: Outline) -> bytes:
    """The stored form of an outline; the same outline gives the same bytes."""
    return codec.encode(outline, what=f"outline of workflow {outline.queue}")


class Outlined(Workflow):
    """A workflow known by its outline alone: signals, pauses and cancels are judged by it, no handler can run.

    For a process that decides and works on nothing: `Engine(store, Outlined(outline), works=False)`. Its data are
    plain values, whatever type the code gives them.
    """

    def __init__(self, outline: Outline) -> None:
        super().__init__(outline.workflow, version=outline.version, deadline=outline.deadline_s)
        self._outline = outline

    def build(self) -> Built:
        """The compiled workflow. Raises InvalidDefinition where its chart is not the one that was stored."""
        if self._built is None:
            self._built = _built_of(self._outline)
        return self._built


def _built_of(outline: Outline) -> Built:
    compiled = charts.compile(outline.chart)
    if compiled.hash != outline.chart_hash:
        raise InvalidDefinition(
            f"workflow {outline.queue}: expected the chart {outline.chart_hash[:16]}, but what is stored compiles to "
            f"{compiled.hash[:16]} here; use the version of holdfast that stored it"
        )
    specs = {state.path: _spec(state) for state in outline.states}
    acceptors: dict[str, tuple[str, ...]] = {}
    for spec in specs.values():
        for signal in spec.signals:
            acceptors[signal] = (*acceptors.get(signal, ()), spec.path)
    return Built(
        name=outline.workflow,
        version=outline.version,
        chart=compiled,
        specs=specs,
        leaf_specs={state.leaf: specs[state.path] for state in outline.states if state.leaf},
        acceptors=acceptors,
        data_type=cast("type[Any]", Any),
        deadline_s=outline.deadline_s,
        migrations={},
    )


def _facts(spec: StateSpec, leaf: str) -> StateOutline:
    return StateOutline(
        path=spec.path,
        kind=spec.kind,
        leaf=leaf,
        edges=dict(spec.edges),
        signals=dict(spec.signals),
        after=spec.after,
        retry=spec.retry,
        has_lock=spec.lock is not None,
        has_about=spec.about is not None,
        child=spec.child.workflow if spec.child else "",
        into=spec.child.into if spec.child else None,
        timeout_s=spec.timeout_s,
        sla_s=spec.sla_s,
        on_error=spec.on_error,
        is_start=spec.is_start,
        is_deep=spec.is_deep,
        join=spec.join,
    )


def _spec(state: StateOutline) -> StateSpec:
    return StateSpec(
        path=state.path,
        kind=state.kind,
        edges=state.edges,
        signals=state.signals,
        after=state.after,
        retry=state.retry,
        lock=_absent(state.path, "lock") if state.has_lock else None,
        about=_absent(state.path, "about") if state.has_about else None,
        child=_child(state) if state.child else None,
        timeout_s=state.timeout_s,
        sla_s=state.sla_s,
        on_error=state.on_error,
        is_start=state.is_start,
        is_deep=state.is_deep,
        join=state.join,
    )


def _child(state: StateOutline) -> ChildSpec:
    return ChildSpec(workflow=state.child, input=_absent(state.path, "child"), into=state.into)


def _absent(path: str, option: str) -> Callable[[Any], Any]:
    """Stands for a function that was declared, and says so when it is asked."""

    def ask(data: Any) -> Any:
        raise NeedsCode(f"state {path}: its {option}= is a function of the workflow's code, which is not here")

    return ask
