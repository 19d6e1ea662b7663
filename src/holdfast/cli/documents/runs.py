"""What `--json` prints: one shape for each thing, made from what is stored. Tables draw the same shapes.

Times are ISO 8601 in UTC, absent ones null; states are as the audit trail has them ("main:sub:detailed").
"""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from holdfast import codec
from holdfast.chart import shown
from holdfast.cli import rules
from holdfast.cli.health import LockLine, StoreFacts, TicketLine
from holdfast.clock import utc
from holdfast.limits.records import slot_of
from holdfast.locks import LockView, TicketView
from holdfast.observe.rules import Health
from holdfast.store.contract.records import Event, Record
from holdfast.store.wrapping.seal import CannotOpen
from holdfast.workflow.decisions.admission import about_of, is_active, visits_of
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import Leaf, Run, Timer, decode_run, spec_text
from holdfast.workflow.process.inbox import Waiting
from holdfast.workflow.process.past import Checkpoint


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One run in one line. `where`: its active states; `since`: when the oldest of these was entered, or the run ended;
    `due`, `due_what`: what happens next by itself; `alert`: how often it ran late or gave up."""

    id: str
    ticket: str
    workflow: str
    user: str
    status: str
    where: tuple[str, ...]
    since: str
    due: str | None
    due_what: str
    alert: int
    escalated: bool
    reason: str
    owner: str
    version: int
    priority: str


class LockOfLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """A lock of a state: "kind/name" and how it is wanted, held once `token` is not 0."""

    lock: str
    mode: str
    token: int


class LeafDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An active state. `phase`: working, waiting, locking, asking, queuing, failing. `child`: the run that it waits
    for. `places`: the limits under which it has a place; `queues_for`: the one for which it stands in line, or ""."""

    state: str
    phase: str
    visit: int
    since: str
    attempts: int
    retry_at: str | None
    timeout_at: str | None
    sla_at: str | None
    about: str
    locks: tuple[LockOfLeaf, ...]
    places: tuple[str, ...]
    queues_for: str
    failure: dict[str, Any] | None
    child: str


class TimerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A timer that runs; `leads_to` is "" where the workflow is not known."""

    state: str
    due: str
    leads_to: str


class SignalDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that the run takes now, and the command that sends it and nothing else."""

    name: str
    state: str
    visit: int
    about: str
    leads_to: str
    command: str


class InboxDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was sent and not judged for good: "new", or "early" where its state is yet to come."""

    id: str
    name: str
    by: str
    status: str
    sent_at: str


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run. `is_known`: whether its workflow is known here, without which no signal is listed.
    `to_go_on`: the command that a run which stands still waits for."""

    run: RunLine
    leaves: tuple[LeafDocument, ...]
    timers: tuple[TimerDocument, ...]
    signals: tuple[SignalDocument, ...]
    inbox: tuple[InboxDocument, ...]
    is_known: bool
    to_go_on: str
    retry_count: int
    max_retries: int
    timeout_at: str | None
    created_at: str
    updated_at: str
    started_by: str
    forked_from: str
    parent: str
    outcome: str
    labels: dict[str, str]
    input: Any
    data: Any


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the audit trail. `name`: "transition", or what else was decided; `version`: the run's behind it."""

    version: int
    at: str
    name: str
    from_state: str = msgspec.field(name="from")
    to_state: str = msgspec.field(name="to")
    trigger: str
    agent: str
    metadata: dict[str, Any]


class EventDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One committed event. `position`: where it stands in its user's stream, to go on behind it."""

    position: str
    run: str
    user: str
    version: int
    at: str
    name: str
    facts: dict[str, Any]


class CheckpointDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a run that can be forked; `name` is "" for those that every decision leaves."""

    run: str
    version: int
    state: str
    at: str
    name: str


class CheckDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `doctor` looked at: "green", "degraded" or "red", what was seen, and what to do."""

    name: str
    status: str
    seen: str
    advice: str


class DoctorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of `doctor`, as bad as its worst check, and the facts that it was judged from."""

    status: str
    checks: tuple[CheckDocument, ...]
    facts: StoreFacts


class WorkerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that begins: what it serves, at most so many runs at once, and what somebody should know."""

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    notes: tuple[str, ...]


class DrainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that ended in good order; `cut_off`: runs whose handlers outlasted the grace period."""

    id: str
    cut_off: int


class WorkflowLine(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that the store knows, with its newest chart."""

    workflow: str
    chart: str
    states: int
    since: str


def iso(time_s: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, to the millisecond."""
    return utc(time_s).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(time_s: float | None) -> str | None:
    return None if time_s is None else iso(time_s)


def run_line(record: Record) -> RunLine:
    """The line of a run's record; of one that is sealed and does not open, what lies plain beside its payload."""
    try:
        run = decode_run(record.body)
    except CannotOpen:
        return _sealed_line(record)
    due = rules.next_due(run)
    since = min((leaf.entered_at for leaf in run.leaves.values()), default=record.written_at)
    return RunLine(
        id=run.id,
        ticket=run.ticket_id,
        workflow=run.queue,
        user=run.user,
        status=run.status,
        where=tuple(spec_text(path) for path in run.leaves) or (spec_text(run.outcome),),
        since=iso(since),
        due=iso(due.at) if due else None,
        due_what=due.what if due else "",
        alert=run.alert_level,
        escalated=run.escalated,
        reason=run.reason,
        owner=record.owner,
        version=record.version,
        priority=run.priority,
    )


def _sealed_line(record: Record) -> RunLine:
    return RunLine(
        id=record.key.id,
        ticket=record.labels.get("ticket", ""),
        workflow=record.queue,
        user=record.key.user,
        status=record.status,
        where=(record.labels.get("main_state", ""),),
        since=iso(record.written_at),
        due=iso_or_none(record.due),
        due_what="",
        alert=0,
        escalated=False,
        reason="sealed under a key that this codec does not have",
        owner=record.owner,
        version=record.version,
        priority="",
    )


def run_document(record: Record, built: Built | None, inbox: list[Waiting]) -> RunDocument:
    """Everything about the run of a record; `built` is its workflow where that is known."""
    run = decode_run(record.body)
    return RunDocument(
        run=run_line(record),
        leaves=tuple(_leaf(path, leaf) for path, leaf in run.leaves.items()),
        timers=tuple(_timer(timer, built) for timer in sorted(run.timers, key=lambda timer: timer.due)),
        signals=signals_of(run, built) if built else (),
        inbox=tuple(_inbox(waiting) for waiting in inbox),
        is_known=built is not None,
        to_go_on=shlex.join(rules.command_to_go_on(run.ticket_id, run.status)),
        retry_count=run.retry_count,
        max_retries=run.max_retries,
        timeout_at=iso_or_none(run.timeout_at),
        created_at=iso(run.created_at),
        updated_at=iso(record.written_at),
        started_by=run.started_by,
        forked_from=run.forked_from,
        parent=run.parent.id if run.parent else "",
        outcome=run.outcome,
        labels=run.labels,
        input=codec.plain(run.blobs["input"]) if "input" in run.blobs else codec.decode(run.input),
        data=codec.decode(run.data),
    )


def signals_of(run: Run, built: Built) -> tuple[SignalDocument, ...]:
    """The signals that an active state of the run takes, by state in document order."""
    if run.is_ended:
        return ()
    visits = visits_of(built, run)
    found = []
    for path, spec in built.specs.items():
        if not spec.signals or not is_active(built, run, path):
            continue
        about, visit = about_of(built, run, path), visits.get(path, 0)
        for name, edge in spec.signals.items():
            command = shlex.join(rules.signal_command(run.ticket_id, name, visit=visit, about=about))
            target = edge if isinstance(edge, str) else edge.target
            found.append(
                SignalDocument(
                    name=name, state=shown(path), visit=visit, about=about, leads_to=shown(target), command=command
                )
            )
    return tuple(found)


def history_row(event: Event) -> HistoryRow:
    """The row of a run's journal."""
    facts = codec.decode(event.body)
    return HistoryRow(
        version=event.version,
        at=iso(event.at),
        name=event.name,
        from_state=facts.get("from", ""),
        to_state=facts.get("to", ""),
        trigger=facts.get("trigger", ""),
        agent=facts.get("agent", ""),
        metadata=facts.get("metadata") or {},
    )


def event_document(event: Event) -> EventDocument:
    """The document of a committed event."""
    return EventDocument(
        position=str(event.position),
        run=event.key.id,
        user=event.key.user,
        version=event.version,
        at=iso(event.at),
        name=event.name,
        facts=codec.decode(event.body),
    )


def checkpoint_document(checkpoint: Checkpoint) -> CheckpointDocument:
    """The document of a checkpoint."""
    return CheckpointDocument(
        run=checkpoint.run_id,
        version=checkpoint.version,
        state=checkpoint.state,
        at=iso(checkpoint.at),
        name=checkpoint.name,
    )


def lock_line(view: LockView) -> LockLine:
    """The line of a lock."""
    return LockLine(
        lock=view.lock, holders=tuple(map(_ticket, view.holders)), waiters=tuple(map(_ticket, view.waiters))
    )


def _ticket(view: TicketView) -> TicketLine:
    return TicketLine(
        holder=view.holder, by=view.by, mode=view.mode, since=iso(view.since), until=iso_or_none(view.until),
        token=view.token, behind=view.behind,
    )  # fmt: skip


def doctor_document(health: Health, facts: StoreFacts) -> DoctorDocument:
    """The document of a verdict."""
    return DoctorDocument(
        status=health.status.value,
        checks=tuple(
            CheckDocument(name=check.name, status=check.status.value, seen=check.seen, advice=check.advice)
            for check in health.checks
        ),
        facts=facts,
    )


def _leaf(path: str, leaf: Leaf) -> LeafDocument:
    return LeafDocument(
        state=spec_text(path),
        phase=leaf.phase,
        visit=leaf.visit,
        since=iso(leaf.entered_at),
        attempts=leaf.attempts,
        retry_at=iso_or_none(leaf.retry_at),
        timeout_at=iso_or_none(leaf.deadline_at),
        sla_at=iso_or_none(leaf.sla_at),
        about=leaf.about,
        locks=tuple(LockOfLeaf(lock=str(lock), mode=lock.mode, token=lock.token) for lock in leaf.locks),
        places=leaf.places,
        queues_for=slot_of(leaf.line),
        failure=msgspec.to_builtins(leaf.failure) if leaf.failure else None,
        child=leaf.child.id if leaf.child else "",
    )


def _timer(timer: Timer, built: Built | None) -> TimerDocument:
    leads_to = ""
    if built is not None and timer.state in built.chart.numbers:
        transitions = built.chart.node(timer.state).transitions
        leads_to = next((shown(each.target_paths[0]) for each in transitions if timer.event in each.descriptors), "")
    return TimerDocument(state=spec_text(timer.state), due=iso(timer.due), leads_to=leads_to)


def _inbox(waiting: Waiting) -> InboxDocument:
    signal = waiting.signal
    return InboxDocument(
        id=signal.id, name=signal.name, by=signal.by, status=waiting.record.status, sent_at=iso(signal.sent_at)
    )
