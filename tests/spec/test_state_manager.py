"""SPEC W2 to W5: the states, their values, and the manager that moves between them, on the SRE workflow's chart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import (
    DetailedState,
    Engine,
    InvalidTransition,
    MainState,
    StateTransition,
    TicketProcessingSubState,
    UnknownWorkflow,
    UserExecutionContext,
    WorkflowState,
    WorkflowStateManager,
    WrongContext,
)
from holdfast_sre.flow.chart import NAME, manual_workflow

T = MainState.TICKET_PROCESSING
S = TicketProcessingSubState
D = DetailedState
ANA = UserExecutionContext(user="ana")

THE_WAY = (
    (S.TICKET_ACCEPTANCE, D.VALIDATING_TICKET),
    (S.TICKET_ACCEPTANCE, D.ACCEPTING_TICKET),
    (S.TICKET_ACCEPTANCE, D.TICKET_ACCEPTED),
    (S.ANALYSIS, D.DATA_COLLECTION),
    (S.ANALYSIS, D.K8S_EVENT_ANALYSIS),
    (S.ANALYSIS, D.SOURCE_CODE_ANALYSIS),
    (S.ANALYSIS, D.CORRELATION),
    (S.ANALYSIS, D.ROOT_CAUSE_GENERATION),
    (S.ANALYSIS, D.CONFIDENCE_CALCULATION),
    (S.ANALYSIS, D.ANALYSIS_COMPLETE),
    (S.REMEDIATION, D.FIX_GENERATION),
    (S.REMEDIATION, D.CODE_VALIDATION),
    (S.REMEDIATION, D.TEST_GENERATION),
    (S.REMEDIATION, D.PR_CREATION),
    (S.REMEDIATION, D.REMEDIATION_COMPLETE),
    (S.REVIEW, D.AWAITING_REVIEW),
    (S.REVIEW, D.REVIEW_IN_PROGRESS),
    (S.REVIEW, D.CHANGES_REQUESTED),
    (S.REMEDIATION, D.FIX_GENERATION),
    (S.REMEDIATION, D.CODE_VALIDATION),
    (S.REMEDIATION, D.TEST_GENERATION),
    (S.REMEDIATION, D.PR_CREATION),
    (S.REMEDIATION, D.REMEDIATION_COMPLETE),
    (S.REVIEW, D.AWAITING_REVIEW),
    (S.REVIEW, D.REVIEW_IN_PROGRESS),
    (S.REVIEW, D.APPROVED),
    (S.DEPLOYMENT, D.TRIGGERING_DEPLOYMENT),
    (S.DEPLOYMENT, D.DEPLOYMENT_IN_PROGRESS),
    (S.DEPLOYMENT, D.VALIDATION_IN_PROGRESS),
    (S.DEPLOYMENT, D.DEPLOYMENT_COMPLETE),
)


@pytest.fixture
async def manager() -> AsyncIterator[WorkflowStateManager]:
    async with Engine("memory:", manual_workflow()) as engine:
        yield WorkflowStateManager(engine, ANA, workflow=NAME)


def test_the_states_have_exactly_the_values_of_the_spec() -> None:
    assert [state.value for state in MainState] == ["system_idle", "ticket_processing", "error_handling"]
    assert [state.value for state in S] == ["ticket_acceptance", "analysis", "remediation", "review", "deployment"]
    assert len(D) == 26
    assert all(state.value == state.name.lower() for state in D)


def test_every_state_of_the_spec_is_in_the_chart() -> None:
    shown = {path.rpartition(".")[2].partition("~")[0] for path in manual_workflow().build().chart.paths}
    assert {state.value for state in D} <= shown
    assert {state.value for state in S} <= shown
    assert {"system_idle", "monitoring", "ticket_detected", "escalation"} <= shown


async def test_a_ticket_goes_the_whole_way_by_naming_targets(manager: WorkflowStateManager) -> None:
    workflow_id = await manager.create_workflow_instance("TICKET-1", {"service": "cart"})
    assert await manager.transition_state(workflow_id, MainState.SYSTEM_IDLE, "ticket_detected", agent_id="monitor")
    for sub, detailed in THE_WAY:
        assert await manager.transition_state(workflow_id, T, sub, detailed, agent_id="agent-7")
        state = await manager.get_workflow_state(workflow_id)
        if detailed is not D.SOURCE_CODE_ANALYSIS:
            assert (state.main_state, state.sub_state, state.detailed_state) == (T, sub, detailed)
    await manager.transition_state(workflow_id, MainState.SYSTEM_IDLE)
    history = await manager.get_transition_history(workflow_id)
    assert all(isinstance(row, StateTransition) and row.agent_id for row in history)
    assert history[-1].to_state == "system_idle"
    assert history[-1].from_state == "ticket_processing:deployment:deployment_complete"
    assert [row.timestamp for row in history] == sorted(row.timestamp for row in history)


async def test_the_context_is_updated_with_the_transition(manager: WorkflowStateManager) -> None:
    workflow_id = await manager.create_workflow_instance("TICKET-2", {"service": "cart"})
    await manager.transition_state(
        workflow_id, MainState.SYSTEM_IDLE, "ticket_detected", context_updates={"namespace": "shop"}
    )
    state = await manager.get_workflow_state(workflow_id)
    assert state.context["service"] == "cart"
    assert state.context["namespace"] == "shop"


async def test_an_invalid_transition_names_both_states_and_changes_nothing(manager: WorkflowStateManager) -> None:
    workflow_id = await manager.create_workflow_instance("TICKET-3", {})
    before = await manager.get_workflow_state(workflow_id)
    with pytest.raises(
        ValueError, match="system_idle:monitoring to ticket_processing:deployment:deployment_complete"
    ) as told:
        await manager.transition_state(workflow_id, T, S.DEPLOYMENT, D.DEPLOYMENT_COMPLETE)
    assert isinstance(told.value, InvalidTransition)
    assert await manager.get_workflow_state(workflow_id) == before
    assert len(await manager.get_transition_history(workflow_id)) == 1


async def test_an_unknown_workflow_is_a_value_error_that_names_it(manager: WorkflowStateManager) -> None:
    with pytest.raises(ValueError, match="no-such-run") as told:
        await manager.transition_state("no-such-run", T)
    assert isinstance(told.value, UnknownWorkflow)


async def test_another_users_workflow_is_unknown() -> None:
    async with Engine("memory:", manual_workflow()) as engine:
        workflow_id = await WorkflowStateManager(engine, ANA, workflow=NAME).create_workflow_instance("T", {})
        bob = WorkflowStateManager(engine, UserExecutionContext(user="bob"), workflow=NAME)
        with pytest.raises(UnknownWorkflow):
            await bob.transition_state(workflow_id, MainState.SYSTEM_IDLE, "ticket_detected")


async def test_anything_else_where_a_context_is_due_is_a_typed_error() -> None:
    async with Engine("memory:", manual_workflow()) as engine:
        with pytest.raises(WrongContext, match="must be UserExecutionContext"):
            WorkflowStateManager(engine, "ana", workflow=NAME)  # type: ignore[arg-type]


class TestWorkflowState:
    NOW = datetime(2020, 11, 21, 12, 0, tzinfo=UTC)

    def state(self, **fields: object) -> WorkflowState:
        values: dict[str, object] = {
            "workflow_id": "w", "ticket_id": "t", "main_state": T, "created_at": self.NOW, "updated_at": self.NOW,
        }  # fmt: skip
        return WorkflowState(**(values | fields))  # type: ignore[arg-type]

    def test_defaults(self) -> None:
        state = self.state()
        assert (state.retry_count, state.max_retries, state.timeout_at, state.escalated) == (0, 3, None, False)

    def test_is_expired_compares_aware_times(self) -> None:
        late = self.state(timeout_at=self.NOW - timedelta(seconds=1))
        assert late.is_expired(self.NOW) is True
        assert late.is_expired() is True
        assert self.state(timeout_at=self.NOW).is_expired(self.NOW - timedelta(days=1)) is False
        assert self.state().is_expired() is False

    def test_can_retry(self) -> None:
        assert self.state(retry_count=2).can_retry()
        assert not self.state(retry_count=3).can_retry()
        assert not self.state(retry_count=0, escalated=True).can_retry()

    def test_round_trip_through_values(self) -> None:
        state = self.state(sub_state=S.REVIEW, detailed_state=D.APPROVED, context={"a": [1]}, timeout_at=self.NOW)
        values = state.to_dict()
        assert values["main_state"] == "ticket_processing"
        assert values["detailed_state"] == "approved"
        assert values["created_at"] == "2020-11-21T12:00:00+00:00"
        assert WorkflowState.from_dict(values) == state

    def test_reads_names_and_fills_in_missing_retry_fields(self) -> None:
        values = self.state().to_dict()
        values |= {"main_state": "TICKET_PROCESSING", "sub_state": "REVIEW", "detailed_state": "AWAITING_REVIEW"}
        for name in ("retry_count", "max_retries", "escalated"):
            del values[name]
        state = WorkflowState.from_dict(values)
        assert (state.main_state, state.sub_state, state.detailed_state) == (T, S.REVIEW, D.AWAITING_REVIEW)
        assert (state.retry_count, state.max_retries, state.escalated) == (0, 3, False)

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            ({"workflow_id": ""}, "workflow_id"),
            ({"created_at": "today"}, "created_at"),
            ({"created_at": "2026-01-01"}, "UTC"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, broken: dict[str, str], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            WorkflowState.from_dict(self.state().to_dict() | broken)
