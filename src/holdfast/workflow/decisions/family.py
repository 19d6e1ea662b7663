"""Runs among runs: how a run's child comes to be, and what the two leave in one another's inbox. Pure.

A child begins in the very change in which its parent enters the state that waits for it. What one must know of the
other is a signal, written in the change that is its cause: the child's end to the parent, the parent's leave-taking to
the child. So neither can be lost, whoever dies in between; who owns the receiver judges it, and a sweep finds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.chart import shown
from holdfast.errors import ErrorSeverity, ErrorType, InvalidDefinition, WorkflowError
from holdfast.store.contract.records import ABSENT, Key, NewEvent, Put
from holdfast.store.rows.blobs import BLOB_BYTES_MAX
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.advance import ask
from holdfast.workflow.decisions.begin import begin, first_data, ticket_put
from holdfast.workflow.decisions.chunks import with_input
from holdfast.workflow.decisions.decision import Decision, events_of
from holdfast.workflow.decisions.signals import NEW, inbox_put
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.definition import DONE, StateSpec
from holdfast.workflow.model.fairness import BEGUN
from holdfast.workflow.model.run import RUN, Leaf, Relative, Run, Signal, encode_run, spec_text

CHILD_ENDED = "/child-ended"
PARENT_LEFT = "/parent-left"
"""The signals between parent and child. No user's signal begins with a slash."""
STOPPED = ("failed", "poisoned")
"""Statuses in which a run goes on only if somebody resumes it."""
FAILED, CANCELLED = "failed", "cancelled"
DEPTH_MAX = 16
"""Bound on the generations of runs: further down it is a mistake that starts itself."""


class ChildEnd(msgspec.Struct, frozen=True):
    """How a child stands that has ended, or stopped: `outcome` is its final state, `data` are its data."""

    child: str
    status: str
    outcome: str
    reason: str
    data: msgspec.Raw


class Kin(NamedTuple):
    """What a decision means to the run's relatives: the run with its new children, what is written beside it, and the
    relatives that are to be told once it is committed."""

    run: Run
    puts: tuple[Put, ...] = ()
    events: tuple[NewEvent, ...] = ()
    told: tuple[Key, ...] = ()


def check_children(workflows: Mapping[str, Built]) -> None:
    """Raises InvalidDefinition where a state starts runs of a workflow that is not among `workflows`."""
    known = {built.name for built in workflows.values()}
    for queue, built in workflows.items():
        for spec in built.specs.values():
            if spec.child is not None and spec.child.workflow not in known:
                raise InvalidDefinition(
                    f"workflow {queue}: state {spec.path!r} starts runs of {spec.child.workflow!r}, which this engine "
                    f"does not have; give it to the engine beside {', '.join(sorted(known))}"
                )


def kin_of(
    workflows: Mapping[str, Built],
    built: Built,
    before: str,
    decision: Decision,
    *,
    new_id: Callable[[], str],
    now: float,
) -> Kin:
    """What `decision` means to the run's relatives. `before`: the run's status until now; `new_id` draws a run's id.

    Raises WorkflowError and InvalidInput where a child cannot begin.
    """
    kin = Kin(decision.run)
    if decision.run.parent is not None and decision.run.status != before:
        kin = _told_parent(kin, decision.run.parent, new_id)
    for _, leaf in decision.left:
        if leaf.child is not None:
            kin = _told_child(kin, leaf.child, decision)
    for path in decision.entered:
        spec = built.leaf_specs.get(path)
        if spec is not None and spec.child is not None and _is_childless(kin.run.leaves.get(path)):
            kin = _with_child(kin, workflows, built, path, spec, new_id, now)
    return kin


def occurrence_of(run: Run, signal: Signal, record_version: int) -> on.Signalled:
    """What a signal in the inbox is to the run: a relative's word, or just a signal."""
    if signal.name == PARENT_LEFT:
        return on.ParentLeft(signal=signal, agent=signal.by, record_version=record_version)
    if signal.name == CHILD_ENDED:
        path = leaf_waiting_for(run, codec.decode(signal.data, ChildEnd).child)
        return on.ChildEnded(signal=signal, agent=signal.by, record_version=record_version, leaf=path or "")
    return on.Signalled(signal=signal, agent=signal.by, record_version=record_version)


def leaf_waiting_for(run: Run, child_id: str) -> str | None:
    """The leaf that waits for the child, or None where none does any more."""
    return next((path for path, leaf in run.leaves.items() if leaf.child and leaf.child.id == child_id), None)


def outcome_of(spec: StateSpec, end: ChildEnd) -> str | None:
    """The edge that a child's end takes: the one named like its final state, else that of the way in which it ended:
    "done", "cancelled" or "failed". None where the state declares neither."""
    edges = spec.edges or {DONE: ""}
    way = FAILED if end.status in STOPPED else CANCELLED if end.status == CANCELLED else DONE
    names = (way,) if way == FAILED else (shown(end.outcome), way)
    return next((name for name in names if name in edges), None)


def merged(built: Built, run: Run, spec: StateSpec, end: ChildEnd) -> Run:
    """The run with the child's data in the field that its state names. Raises InvalidInput where they do not fit."""
    assert spec.child is not None
    if spec.child.into is None:
        return run
    data = codec.decode(run.data)
    data[spec.child.into] = codec.decode(end.data)
    body = codec.encode(data, what=f"data of run {run.id}")
    built.decode_data(body)
    return replace(run, data=msgspec.Raw(body))


def _is_childless(leaf: Leaf | None) -> bool:
    return leaf is not None and leaf.child is None and leaf.phase == "waiting"


def _told_parent(kin: Kin, parent: Relative, new_id: Callable[[], str]) -> Kin:
    run = kin.run
    if not run.is_ended and run.status not in STOPPED:
        return kin
    end = ChildEnd(run.id, run.status, run.outcome, run.reason, run.data)
    data = msgspec.Raw(codec.encode(end, what=f"end of run {run.id}"))
    signal = Signal(id=new_id(), name=CHILD_ENDED, by=f"run {run.id}", data=data)
    return _told(kin, parent, signal)


def _told_child(kin: Kin, child: Relative, decision: Decision) -> Kin:
    reason = f"run {kin.run.id} left its state" if not kin.run.is_cancelled else f"run {kin.run.id} was cancelled"
    agent = decision.rows[0].agent if decision.rows else "engine"
    signal = Signal(id=PARENT_LEFT, name=PARENT_LEFT, by=agent, data=msgspec.Raw(codec.encode(reason)))
    return _told(kin, child, signal)


def _told(kin: Kin, relative: Relative, signal: Signal) -> Kin:
    key = Key(kin.run.tenant, kin.run.user, RUN, relative.id)
    put = inbox_put(key, relative.queue, signal, NEW, expect=None)
    return kin._replace(puts=(*kin.puts, put), told=(*kin.told, key))


def _with_child(
    kin: Kin,
    workflows: Mapping[str, Built],
    built: Built,
    path: str,
    spec: StateSpec,
    new_id: Callable[[], str],
    now: float,
) -> Kin:
    assert spec.child is not None
    parent = kin.run
    depth = 1 if parent.parent is None else parent.parent.depth + 1
    known = [each for each in workflows.values() if each.name == spec.child.workflow]
    if not known or depth > DEPTH_MAX:
        seen = f"{depth} generations of runs" if known else "a process that does not know it"
        raise WorkflowError(
            f"state {spec.path}: expected to start a run of {spec.child.workflow}, at most {DEPTH_MAX} generations "
            f"down, in a process that knows it; saw {seen}",
            error_type=ErrorType.PERMANENT,
            severity=ErrorSeverity.HIGH,
            workflow_id=parent.id,
        )
    taken = max(known, key=lambda each: each.version)
    run_id, given = new_id(), _input(built, parent, spec)
    first = begin(
        taken,
        run_id=run_id,
        ticket_id=run_id,
        tenant=parent.tenant,
        user=parent.user,
        data=first_data(taken, None),
        by=f"run {parent.id}",
        labels={},
        now=now,
        priority=parent.priority,
    )
    child, chunks = with_input(replace(first.run, parent=Relative(parent.id, parent.queue, depth)), given)
    inner = kin_of(workflows, taken, "", replace(first, run=child), new_id=new_id, now=now)
    body = encode_run(inner.run)
    due = BEGUN if inner.run.status == "running" else inner.run.due  # its parent has had its turn
    run_put = Put(
        key=child.key, body=body, expect=ABSENT, status=inner.run.status, due=due, queue=child.queue,
        labels=inner.run.record_labels(),
    )  # fmt: skip
    leaf = replace(parent.leaves[path], child=Relative(run_id, child.queue))
    return Kin(
        run=replace(parent, leaves={**parent.leaves, path: leaf}),
        puts=(*kin.puts, run_put, ticket_put(child), *chunks, *inner.puts),
        events=(*kin.events, *events_of(inner.run, first.rows, b"", body, 1), *inner.events),
        told=(*kin.told, child.key, *inner.told),
    )


def _input(built: Built, parent: Run, spec: StateSpec) -> bytes:
    assert spec.child is not None
    if spec.child.input is None:
        return bytes(parent.data)
    given = ask(spec, "input", spec.child.input, built.decode_data(bytes(parent.data)))
    what = f"input of the child of state {spec_text(spec.path)}"
    return codec.encode(given, what=what, bytes_max=BLOB_BYTES_MAX)
