"""The spec's view of a run: `WorkflowState` and `StateTransition`, with the names and values of the SRE workflow.

A run's truth is its configuration; these are what people, tables and other programs read of it. A workflow of one's
own has states of its own: then the fields hold plain text instead of an enum's member.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from holdfast import codec
from holdfast.clock import SystemClock, utc
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import Event
from holdfast.workflow.model.run import Run
from holdfast.workflow.process.runtime import Stored

EnumT = TypeVar("EnumT", bound=enum.Enum)


class MainState(enum.Enum):
    """The first level of the SRE workflow."""

    SYSTEM_IDLE = "system_idle"
    TICKET_PROCESSING = "ticket_processing"
    ERROR_HANDLING = "error_handling"


class TicketProcessingSubState(enum.Enum):
    """The second level, under `ticket_processing`."""

    TICKET_ACCEPTANCE = "ticket_acceptance"
    ANALYSIS = "analysis"
    REMEDIATION = "remediation"
    REVIEW = "review"
    DEPLOYMENT = "deployment"


class DetailedState(enum.Enum):
    """The third level: what is being done."""

    VALIDATING_TICKET = "validating_ticket"
    ACCEPTING_TICKET = "accepting_ticket"
    TICKET_ACCEPTED = "ticket_accepted"
    TICKET_REJECTED = "ticket_rejected"
    DATA_COLLECTION = "data_collection"
    K8S_EVENT_ANALYSIS = "k8s_event_analysis"
    SOURCE_CODE_ANALYSIS = "source_code_analysis"
    CORRELATION = "correlation"
    ROOT_CAUSE_GENERATION = "root_cause_generation"
    CONFIDENCE_CALCULATION = "confidence_calculation"
    ANALYSIS_COMPLETE = "analysis_complete"
    FIX_GENERATION = "fix_generation"
    CODE_VALIDATION = "code_validation"
    TEST_GENERATION = "test_generation"
    PR_CREATION = "pr_creation"
    REMEDIATION_COMPLETE = "remediation_complete"
    AWAITING_REVIEW = "awaiting_review"
    REVIEW_IN_PROGRESS = "review_in_progress"
    CHANGES_REQUESTED = "changes_requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    TRIGGERING_DEPLOYMENT = "triggering_deployment"
    DEPLOYMENT_IN_PROGRESS = "deployment_in_progress"
    VALIDATION_IN_PROGRESS = "validation_in_progress"
    DEPLOYMENT_COMPLETE = "deployment_complete"
    DEPLOYMENT_FAILED = "deployment_failed"


@dataclass(slots=True, kw_only=True)
class WorkflowState:
    """How a run stands. Times are aware UTC datetimes; `context` is the run's data as plain values.

    Example: `WorkflowState.from_dict({"workflow_id": "...", "main_state": "TICKET_PROCESSING", ...})`.
    """

    workflow_id: str
    ticket_id: str
    main_state: MainState | str
    created_at: datetime
    updated_at: datetime
    sub_state: TicketProcessingSubState | str | None = None
    detailed_state: DetailedState | str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    retry_count: int = 0
    max_retries: int = 3
    timeout_at: datetime | None = None
    escalated: bool = False

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether `timeout_at` has passed (`now`: an aware datetime, else the machine's clock)."""
        if self.timeout_at is None:
            return False
        return (now or utc(SystemClock().time_s())) > self.timeout_at

    def can_retry(self) -> bool:
        """Whether a retry is left: fewer than `max_retries` so far, and nobody was told yet."""
        return self.retry_count < self.max_retries and not self.escalated

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: enums by value, times in ISO 8601."""
        return {
            "workflow_id": self.workflow_id,
            "ticket_id": self.ticket_id,
            "main_state": text_of(self.main_state),
            "sub_state": text_of(self.sub_state) or None,
            "detailed_state": text_of(self.detailed_state) or None,
            "context": self.context,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "retry_count": self.retry_count,
            "max_retries": self.max_retries,
            "timeout_at": self.timeout_at.isoformat() if self.timeout_at else None,
            "escalated": self.escalated,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WorkflowState:
        """Read back from `to_dict`, or from enum names; missing retry fields take their defaults.

        Raises InvalidInput that names a missing field or a time that is none.
        """
        missing = [name for name in ("workflow_id", "ticket_id", "main_state") if not values.get(name)]
        if missing:
            raise InvalidInput(f"workflow state: expected {', '.join(missing)}, saw only {sorted(values)}")
        created_at = _time("created_at", values.get("created_at"))
        if created_at is None:
            raise InvalidInput("workflow state: expected created_at as an ISO 8601 time, saw none")
        return cls(
            workflow_id=values["workflow_id"],
            ticket_id=values["ticket_id"],
            main_state=member_of(MainState, values["main_state"]),
            sub_state=_optional(TicketProcessingSubState, values.get("sub_state")),
            detailed_state=_optional(DetailedState, values.get("detailed_state")),
            context=dict(values.get("context") or {}),
            created_at=created_at,
            updated_at=_time("updated_at", values.get("updated_at")) or created_at,
            retry_count=values.get("retry_count", 0),
            max_retries=values.get("max_retries", 3),
            timeout_at=_time("timeout_at", values.get("timeout_at")),
            escalated=values.get("escalated", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTransition:
    """One audited transition. States are "main:sub:detailed" as far as they go; "" is before the first."""

    from_state: str
    to_state: str
    timestamp: datetime
    trigger_event: str = ""
    agent_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, event: Event) -> StateTransition:
        """The transition in a journal row named "transition"."""
        body = codec.decode(event.body)
        return cls(
            from_state=body.get("from", ""),
            to_state=body.get("to", ""),
            timestamp=utc(event.at),
            trigger_event=body.get("trigger", ""),
            agent_id=body.get("agent", ""),
            metadata=body.get("metadata", {}),
        )


def state_of(stored: Stored, updated_at: float) -> WorkflowState:
    """The spec's view of a stored run: its first active leaf, in document order."""
    run: Run = stored.run
    detailed = run.detailed_state.partition("|")[0]
    return WorkflowState(
        workflow_id=run.id,
        ticket_id=run.ticket_id,
        main_state=member_of(MainState, run.main_state),
        sub_state=_optional(TicketProcessingSubState, run.sub_state),
        detailed_state=_optional(DetailedState, detailed),
        context=codec.decode(run.data),
        created_at=utc(run.created_at),
        updated_at=utc(updated_at),
        retry_count=run.retry_count,
        max_retries=run.max_retries,
        timeout_at=None if run.timeout_at is None else utc(run.timeout_at),
        escalated=run.escalated,
    )


def member_of(kind: type[EnumT], value: EnumT | str) -> EnumT | str:
    """The member with that value or name, or the text itself where a workflow has states of its own."""
    if isinstance(value, kind):
        return value
    text = str(value)
    for member in kind:
        if text in (member.value, member.name):
            return member
    return text


def text_of(state: enum.Enum | str | None) -> str:
    """A state's value as text; "" for none."""
    return "" if state is None else str(state.value if isinstance(state, enum.Enum) else state)


def _optional(kind: type[EnumT], value: EnumT | str | None) -> EnumT | str | None:
    return member_of(kind, value) if value else None


def _time(name: str, value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidInput(f"workflow state: {name}: expected an ISO 8601 time, saw {value!r}") from error
    if time.tzinfo is None:
        raise InvalidInput(f"workflow state: {name}: expected a time with its offset from UTC, saw {value!r}")
    return time
