"""The SRE workflow's chart: every state and edge, with the usual longest durations. Who does the work is handed in.

A run is one ticket. It begins under `system_idle` and ends there: the final states share that name, and what follows
the "~" tells how it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from holdfast import Dependencies, Forward, RunContext, Workflow
from holdfast_sre.flow.incident import Incident

Handler = Callable[[RunContext], Awaitable[str | None]]

NAME = "sre"
LLM = "llm"
"""The language model, where one is configured."""
TICKET_DETECTED = "ticket_detected"
MONITORING = "system_idle.monitoring"
ACCEPTANCE = "ticket_processing.ticket_acceptance"
ANALYSIS = "ticket_processing.analysis"
REMEDIATION = "ticket_processing.remediation"
REVIEW = "ticket_processing.review"
DEPLOYMENT = "ticket_processing.deployment"
AWAITING_REVIEW = f"{REVIEW}.awaiting_review"
REVIEW_IN_PROGRESS = f"{REVIEW}.review_in_progress"
ESCALATION = "error_handling.escalation"
CLOSED = "system_idle~closed"
REJECTED = "system_idle~rejected"
FAILED = "system_idle~failed"
ESCALATED = "system_idle~escalated"
SECOND_OPINION = f"{ANALYSIS}.second_opinion"
"""Where the rules leave a choice and a model is configured: the only state that needs one."""
SIDE_BY_SIDE = f"{ANALYSIS}._side_by_side"


class Working(NamedTuple):
    """A state in which the bot works: where its outcomes lead (None: it completes its region), and its usual longest
    duration; `is_locked` states hold the repository's lock, those that `needs` something park while it is away."""

    path: str
    to: str | Mapping[str, str] | None
    sla: str | None = None
    is_locked: bool = False
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last segment: the spec's detailed state, and the name of the handler."""
        return self.path.rpartition(".")[2]


STATES: tuple[Working | str, ...] = (
    MONITORING,
    Working("system_idle.ticket_detected", f"{ACCEPTANCE}.validating_ticket"),
    Working(f"{ACCEPTANCE}.validating_ticket", f"{ACCEPTANCE}.accepting_ticket"),
    Working(
        f"{ACCEPTANCE}.accepting_ticket",
        {"accepted": f"{ACCEPTANCE}.ticket_accepted", "rejected": f"{ACCEPTANCE}.ticket_rejected"},
        "30s",
    ),
    Working(f"{ACCEPTANCE}.ticket_accepted", f"{ANALYSIS}.data_collection"),
    Working(f"{ACCEPTANCE}.ticket_rejected", REJECTED, "2m"),
    Working(f"{ANALYSIS}.data_collection", SIDE_BY_SIDE),
    SIDE_BY_SIDE,
    Working(f"{SIDE_BY_SIDE}.k8s_event_analysis", None, "15m"),
    Working(f"{SIDE_BY_SIDE}.source_code_analysis", None, "30m"),
    Working(f"{ANALYSIS}.correlation", f"{ANALYSIS}.root_cause_generation"),
    Working(
        f"{ANALYSIS}.root_cause_generation",
        {"certain": f"{ANALYSIS}.confidence_calculation", "doubtful": SECOND_OPINION},
        "45m",
    ),
    Working(SECOND_OPINION, f"{ANALYSIS}.confidence_calculation", "45m", needs=(LLM,)),
    Working(f"{ANALYSIS}.confidence_calculation", f"{ANALYSIS}.analysis_complete"),
    Working(f"{ANALYSIS}.analysis_complete", f"{REMEDIATION}.fix_generation"),
    Working(f"{REMEDIATION}.fix_generation", f"{REMEDIATION}.code_validation", "30m"),
    Working(f"{REMEDIATION}.code_validation", f"{REMEDIATION}.test_generation"),
    Working(f"{REMEDIATION}.test_generation", f"{REMEDIATION}.pr_creation"),
    Working(f"{REMEDIATION}.pr_creation", f"{REMEDIATION}.remediation_complete", "5m", is_locked=True),
    Working(f"{REMEDIATION}.remediation_complete", AWAITING_REVIEW),
    AWAITING_REVIEW,
    REVIEW_IN_PROGRESS,
    Working(f"{REVIEW}.changes_requested", f"{REMEDIATION}.fix_generation"),
    Working(f"{REVIEW}.approved", f"{DEPLOYMENT}.triggering_deployment"),
    Working(f"{REVIEW}.rejected", REJECTED, "2m"),
    Working(f"{DEPLOYMENT}.triggering_deployment", f"{DEPLOYMENT}.deployment_in_progress", is_locked=True),
    Working(f"{DEPLOYMENT}.deployment_in_progress", f"{DEPLOYMENT}.validation_in_progress", "15m"),
    Working(
        f"{DEPLOYMENT}.validation_in_progress",
        {"complete": f"{DEPLOYMENT}.deployment_complete", "failed": f"{DEPLOYMENT}.deployment_failed"},
        "10m",
    ),
    Working(f"{DEPLOYMENT}.deployment_complete", CLOSED, "2m"),
    Working(f"{DEPLOYMENT}.deployment_failed", FAILED, is_locked=True),
    Working(ESCALATION, ESCALATED, "2m"),
)
"""In document order; those that are only named wait, or hold others side by side."""

WORKING = tuple(state for state in STATES if isinstance(state, Working))

VERDICTS = {
    "approve": f"{REVIEW}.approved",
    "request_changes": f"{REVIEW}.changes_requested",
    "reject": f"{REVIEW}.rejected",
}


def sre_workflow(handlers: Mapping[str, Handler], *, dependencies: Dependencies | None = None) -> Workflow:
    """The workflow with a handler per working state, by the state's name. Of what states need, only what is among
    `dependencies` can be away; the rest is not called over a network."""
    known = [view.dependency.name for view in dependencies.look()] if dependencies is not None else []

    def work(workflow: Workflow, state: Working) -> None:
        lock = _repository_lock if state.is_locked else None
        needs = [name for name in state.needs if name in known]
        workflow.add_state(state.path, handlers[state.name], to=state.to, sla=state.sla, lock=lock, needs=needs)

    return _declared(work, dependencies)


def manual_workflow() -> Workflow:
    """The same chart with nobody at work: every state waits to be moved on by hand, by the outcomes' names.

    For a `WorkflowStateManager` whose transitions are made from outside.
    """

    def wait(workflow: Workflow, state: Working) -> None:
        if state.to is None:  # a region hears a signal of its own, or both would end at once
            workflow.wait(state.path, on={f"{state.name}_done": "done"}, sla=state.sla)
        else:
            workflow.wait(state.path, on={"done": state.to} if isinstance(state.to, str) else state.to, sla=state.sla)

    return _declared(wait)


def _declared(declare: Callable[[Workflow, Working], None], dependencies: Dependencies | None = None) -> Workflow:
    workflow = Workflow(NAME, data=Incident, escalate_to=ESCALATION, dependencies=dependencies)
    forward = {verdict: Forward(REVIEW_IN_PROGRESS) for verdict in VERDICTS}
    for state in STATES:
        if isinstance(state, Working):
            declare(workflow, state)
        elif state == MONITORING:
            workflow.wait(state, on={TICKET_DETECTED: "system_idle.ticket_detected"}, start=True, sla="5m")
        elif state == SIDE_BY_SIDE:
            workflow.parallel(state, to=f"{ANALYSIS}.correlation")
        elif state == AWAITING_REVIEW:
            workflow.wait(state, on={"start_review": REVIEW_IN_PROGRESS, **forward}, about=_diff_hash, sla="24h")
        else:
            workflow.wait(state, on=VERDICTS, about=_diff_hash, sla="4h")
    workflow.final(CLOSED, REJECTED, FAILED, ESCALATED)
    return workflow


def _diff_hash(incident: Any) -> str:
    return str(incident.diff_hash)


def _repository_lock(incident: Any) -> tuple[str, str]:
    return "repository", str(incident.repository)
