"""A chart of the size that diagrams have to stay legible at: an incident from its ticket to its closing."""

from __future__ import annotations

from holdfast.chart import ChartDef, Join, StateDef, TimerDef, TransitionDef

HOUR_S = 3600.0


def line(path: str, *names: str, then: str = "", event: str = "done") -> tuple[StateDef, ...]:
    """States that follow each other on `event`; the last goes on to the path `then`."""
    goals = [*(f"{path}.{name}" for name in names[1:]), then]
    return tuple(
        StateDef(name, transitions=(TransitionDef(event, (goal,)),) if goal else ())
        for name, goal in zip(names, goals, strict=True)
    )


def region(path: str, work: str) -> StateDef:
    """A region with one piece of work and its end; people see only the work."""
    inner = (StateDef(work, transitions=(TransitionDef("done", (f"{path}._end",)),)), StateDef("_end", "final"))
    return StateDef(path.rpartition(".")[2], "compound", inner)


def definition() -> ChartDef:
    """The whole chart."""
    return ChartDef("incident", 1, (_idle(), _processing(), _errors(), StateDef("closed", "final")))


def _idle() -> StateDef:
    monitoring = StateDef("monitoring", transitions=(TransitionDef("assigned", ("system_idle.ticket_detected",)),))
    detected = StateDef("ticket_detected", transitions=(TransitionDef("", ("ticket_processing",)),))
    return StateDef("system_idle", "compound", (monitoring, detected))


def _processing() -> StateDef:
    return StateDef(
        "ticket_processing",
        "compound",
        (
            _acceptance("ticket_processing.ticket_acceptance"),
            _analysis("ticket_processing.analysis"),
            StateDef(
                "remediation",
                "compound",
                line(
                    "ticket_processing.remediation",
                    *("fix_generation", "code_validation", "test_generation", "pr_creation", "remediation_complete"),
                    then="ticket_processing.review",
                ),
            ),
            _review("ticket_processing.review"),
            _deployment("ticket_processing.deployment"),
            StateDef("_where_it_was", "deep_history"),
        ),
        transitions=(TransitionDef("error", ("error_handling",)),),
    )


def _acceptance(path: str) -> StateDef:
    accepted, rejected = f"{path}.ticket_accepted", f"{path}.ticket_rejected"
    return StateDef(
        "ticket_acceptance",
        "compound",
        (
            *line(path, "validating_ticket", then=f"{path}.accepting_ticket"),
            StateDef(
                "accepting_ticket",
                transitions=(TransitionDef("accept", (accepted,)), TransitionDef("reject", (rejected,))),
            ),
            StateDef("ticket_accepted", transitions=(TransitionDef("done", ("ticket_processing.analysis",)),)),
            StateDef("ticket_rejected", transitions=(TransitionDef("done", ("closed",)),)),
        ),
    )


def _analysis(path: str) -> StateDef:
    both = f"{path}._evidence"
    regions = (region(f"{both}.cluster", "k8s_event_analysis"), region(f"{both}.source", "source_code_analysis"))
    go_on = TransitionDef(f"done.state.{both} deadline.state.{both}", (f"{path}.correlation",))
    evidence = StateDef("_evidence", "parallel", regions, transitions=(go_on,), join=Join(deadline_s=HOUR_S))
    tail = ("correlation", "root_cause_generation", "confidence_calculation", "analysis_complete")
    children = (
        *line(path, "data_collection", then=both),
        evidence,
        *line(path, *tail, then="ticket_processing.remediation"),
    )
    return StateDef("analysis", "compound", children)


def _review(path: str) -> StateDef:
    def verdict(event: str, name: str) -> TransitionDef:
        return TransitionDef(event, (f"{path}.{name}",))

    verdicts = (
        verdict("request_changes", "changes_requested"),
        verdict("approve", "approved"),
        verdict("reject", "rejected"),
    )
    late = TransitionDef("too_late", ("error_handling.escalation",))
    return StateDef(
        "review",
        "compound",
        (
            StateDef(
                "awaiting_review",
                transitions=(verdict("opened", "review_in_progress"), late),
                timers=(TimerDef("too_late", 48 * HOUR_S),),
            ),
            StateDef("review_in_progress", transitions=verdicts),
            *line(path, "changes_requested", then="ticket_processing.remediation"),
            *line(path, "approved", then="ticket_processing.deployment"),
            *line(path, "rejected", then="closed"),
        ),
    )


def _deployment(path: str) -> StateDef:
    ends = (
        TransitionDef("healthy", (f"{path}.deployment_complete",)),
        TransitionDef("unhealthy", (f"{path}.deployment_failed",)),
    )
    return StateDef(
        "deployment",
        "compound",
        (
            *line(path, "triggering_deployment", "deployment_in_progress", then=f"{path}.validation_in_progress"),
            StateDef("validation_in_progress", transitions=ends),
            *line(path, "deployment_complete", then="closed"),
            *line(path, "deployment_failed", then="closed"),
        ),
    )


def _errors() -> StateDef:
    path = "error_handling"
    verdicts = (TransitionDef("again", (f"{path}.retry",)), TransitionDef("give_up", (f"{path}.escalation",)))
    return StateDef(
        path,
        "compound",
        (
            *line(path, "error_detection", then=f"{path}.retry_evaluation"),
            StateDef("retry_evaluation", transitions=verdicts),
            StateDef("retry", transitions=(TransitionDef("", ("ticket_processing._where_it_was",)),)),
            *line(path, "escalation", then="closed"),
        ),
    )
