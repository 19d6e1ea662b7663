"""How a run begins: its first record, from a workflow and an input. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast import chart, codec
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import ABSENT, Put
from holdfast.workflow.decisions.advance import enter, with_shown
from holdfast.workflow.decisions.decision import Decision, Row
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.fairness import NORMAL, Priority
from holdfast.workflow.model.run import Run, Timer, spec_text, ticket_key


def first_data(built: Built, given: Any) -> bytes:
    """The data a run starts with: `given` as the workflow's type, or that type's defaults."""
    if given is None:
        try:
            given = built.data_type()
        except TypeError as error:
            raise InvalidInput(
                f"workflow {built.name}: its data type {built.data_type.__name__} has fields without defaults; "
                "give them, or hand in data= when starting"
            ) from error
    body = codec.encode(given, what=f"data of workflow {built.name}")
    built.decode_data(body)
    return body


def ticket_put(run: Run) -> Put:
    """The write by which the user's own id leads to a new run."""
    return Put(
        key=ticket_key(run),
        body=codec.encode({"run": run.id, "workflow": run.workflow}),
        expect=ABSENT,
        labels={"run": run.id},
    )


def begin(
    built: Built,
    *,
    run_id: str,
    ticket_id: str,
    tenant: str,
    user: str,
    data: bytes,
    by: str,
    labels: Mapping[str, str],
    now: float,
    priority: Priority = NORMAL,
) -> Decision:
    """The decision that starts a run: entered where the chart starts, one journal row. Its input is put in later."""
    first = chart.start(built.chart)
    configuration = first.configuration
    typed = built.decode_data(data)
    leaves = {
        path: enter(built.leaf_specs[path], typed, configuration.visits[path], now)
        for path in configuration.leaves
        if path in built.leaf_specs
    }
    run = Run(
        id=run_id,
        workflow=built.name,
        version=built.version,
        ticket_id=ticket_id,
        tenant=tenant,
        user=user,
        status="running",
        main_state="",
        sub_state="",
        detailed_state="",
        configuration=configuration,
        leaves=leaves,
        timers=tuple(Timer(timer.state, timer.event, timer.visit, now + timer.after_s) for timer in first.timers_set),
        data=msgspec.Raw(data),
        input=msgspec.Raw(b"null"),
        created_at=now,
        max_retries=next((built.spec_of(path).retry.max_retries for path in leaves), 3),
        timeout_at=None if built.deadline_s is None else now + built.deadline_s,
        started_by=by,
        labels=dict(labels),
        priority=priority,
    )
    run = with_shown(replace(run, status="running" if run.has_work else "waiting"))
    row = Row(to_state="|".join(spec_text(path) for path in leaves), trigger="start", agent=by)
    return Decision(run=run, rows=(row,), entered=tuple(leaves))


def forked(run: Run, *, run_id: str, ticket_id: str, by: str, now: float, built: Built) -> Decision:
    """A new run that stands where `run` stood, at the entry of its states: new visits' handlers start afresh, timers
    run anew from now, and nothing is shared with the original."""
    typed = built.decode_data(bytes(run.data))
    leaves = {path: enter(built.spec_of(path), typed, leaf.visit, now) for path, leaf in run.leaves.items()}
    after = {(node.path, timer.event): timer.after_s for node in built.chart.nodes for timer in node.timers}
    timers = tuple(
        Timer(timer.state, timer.event, timer.visit, now + after[timer.state, timer.event])
        for timer in run.timers
        if (timer.state, timer.event) in after
    )
    copy = replace(
        run,
        id=run_id,
        ticket_id=ticket_id,
        leaves=leaves,
        timers=timers,
        status="running",
        created_at=now,
        timeout_at=None if built.deadline_s is None else now + built.deadline_s,
        started_by=by,
        forked_from=run.id,
        escalated=False,
        alert_level=0,
        retry_count=0,
        reason="",
        deaths=0,
        memos_seen=0,
        outcome="",
        is_cancelled=False,
        parent=None,
    )
    copy = with_shown(replace(copy, status="running" if copy.has_work else "waiting"))
    row = Row(name="forked", agent=by, metadata={"from": run.id, "states": [spec_text(path) for path in leaves]})
    return Decision(run=copy, rows=(row,), entered=tuple(leaves))
