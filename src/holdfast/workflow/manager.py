"""`WorkflowStateManager`: the spec's names for an engine's doors, for one user's context.

`transition_state` names a target instead of an event: the chart is asked which event leads there. None is an invalid
transition; several that differ are ambiguous unless `trigger_event` names one.
"""

from __future__ import annotations

import enum
from contextlib import AbstractAsyncContextManager
from typing import Any

from holdfast import codec
from holdfast.chart import step
from holdfast.chart.queries import events_accepted
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import (
    Conflict,
    InvalidTransition,
    NotFound,
    Rejected,
    Unavailable,
    UnknownWorkflow,
    WorkflowError,
)
from holdfast.locks import Lease, Mode
from holdfast.locks.service import LEASE_TTL_S
from holdfast.store.contract.records import Key
from holdfast.workflow.client import Client
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions import rules
from holdfast.workflow.decisions.advance import ERROR_STATE
from holdfast.workflow.decisions.decision import TRANSITION
from holdfast.workflow.decisions.failure import failure_of
from holdfast.workflow.engine import Engine
from holdfast.workflow.model.build import CANCEL, DONE_STATE, Built
from holdfast.workflow.model.run import RUN, Failure, Run, spec_state, where_of
from holdfast.workflow.process.runtime import ATTEMPTS_MAX, Stored
from holdfast.workflow.spec import StateTransition, WorkflowState, state_of, text_of

State = enum.Enum | str
Target = tuple[str, str, str]

SEEN_MAX = 1000
"""Of how many runs a manager remembers which version it saw, so that it never shows an older one."""


class WorkflowStateManager:
    """The spec's manager for one user. `workflow` names which of the engine's workflows it creates.

    Example::

        manager = WorkflowStateManager(engine, UserExecutionContext(user="ana"), workflow="incident")
        workflow_id = await manager.create_workflow_instance("INC-42", {"service": "cart"})
    """

    def __init__(self, engine: Engine, context: UserExecutionContext, *, workflow: str) -> None:
        self._engine = engine
        self._context = require_context(context)
        self._workflow = workflow
        self._seen: dict[str, int] = {}

    async def create_workflow_instance(self, ticket_id: str, initial_context: dict[str, Any]) -> str:
        """Start a run for a ticket; its workflow_id. The same ticket and context gives the run that exists."""
        run = await self._client.start(self._workflow, initial_context, id=ticket_id, data=initial_context)
        return run.id

    async def transition_state(
        self,
        workflow_id: str,
        new_main_state: State,
        new_sub_state: State | None = None,
        new_detailed_state: State | None = None,
        trigger_event: str = "",
        agent_id: str = "",
        context_updates: dict[str, Any] | None = None,
    ) -> bool:
        """Move a run to the named state and log it; True once it is durable. One at a time per run.

        Raises InvalidTransition (a ValueError naming both states; nothing changed), UnknownWorkflow (a ValueError
        naming the workflow), Rejected where several events lead there and `trigger_event` names none of them.
        """
        target = (text_of(new_main_state), text_of(new_sub_state), text_of(new_detailed_state))
        for _ in range(ATTEMPTS_MAX):
            stored = await self._load(workflow_id)
            occurrence = self._occurrence(
                stored.run, target, trigger_event, agent_id or self._context.user, context_updates or {}
            )
            try:
                self._saw(await self._client.occur(workflow_id, occurrence, expect_version=stored.version))
            except Conflict:
                continue  # it moved meanwhile: whether this may still happen is judged anew
            return True
        raise Unavailable(f"workflow {workflow_id}: it changed {ATTEMPTS_MAX} times meanwhile; try again")

    async def get_workflow_state(self, workflow_id: str) -> WorkflowState:
        """How the run stands. Raises UnknownWorkflow.

        For people and their views: where the store has a cache it may be about a second behind, but never goes back
        behind what this manager has seen, or this process has done.
        """
        key = Key(self._context.tenant, self._context.user, RUN, workflow_id)
        least_version = self._seen.get(workflow_id, 0)
        try:
            record = await self._engine.inside.runtime.look(self._client.scope, key, least_version=least_version)
        except NotFound as error:
            raise _unknown(workflow_id) from error
        stored = Stored.of(record)
        self._saw(stored)
        return state_of(stored, record.written_at)

    async def get_transition_history(self, workflow_id: str) -> list[StateTransition]:
        """Every transition of the run, oldest first."""
        await self._load(workflow_id)
        return [StateTransition.of(row) for row in await self._client.events(workflow_id) if row.name == TRANSITION]

    def acquire_resource_lock(
        self,
        resource_type: str,
        resource_name: str,
        *,
        mode: Mode = "exclusive",
        ttl_s: float = LEASE_TTL_S,
        wait_max_s: float | None = None,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold a resource for a block, waiting in line for it:
        `async with manager.acquire_resource_lock("repository", "company/microservice-x") as lease`. See `Engine.lock`.
        """
        locks = self._engine.inside.runtime.locks
        return locks.hold_one(
            self._context, resource_type, resource_name, mode=mode, ttl_s=ttl_s, wait_max_s=wait_max_s
        )

    async def handle_workflow_error(self, error: WorkflowError) -> WorkflowState:
        """Judge a failure of the run that `error.workflow_id` names: it retries by itself (2 s, then doubling),
        or is escalated. How the run then stands."""
        await self._load(error.workflow_id)
        occurrence = on.Reported(
            failure=failure_of(error),
            draw=self._engine.inside.runtime.randomness.random(),
            agent=self._context.user,
        )
        self._saw(await self._client.occur(error.workflow_id, occurrence))
        return await self.get_workflow_state(error.workflow_id)

    async def recover_active_workflows(self) -> list[str]:
        """One recovery sweep now; the ids of the runs it took up."""
        return await self._engine.recover_active_workflows()

    @property
    def _client(self) -> Client:
        return self._engine.client(context=self._context)

    async def _load(self, workflow_id: str) -> Stored:
        try:
            key = Key(self._context.tenant, self._context.user, RUN, workflow_id)
            stored = await self._engine.inside.runtime.load(self._client.scope, key)
        except NotFound as error:
            raise _unknown(workflow_id) from error
        self._saw(stored)
        return stored

    def _saw(self, stored: Stored) -> None:
        self._seen.pop(stored.run.id, None)
        self._seen[stored.run.id] = stored.version
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def _occurrence(self, run: Run, target: Target, trigger: str, agent: str, updates: dict[str, Any]) -> on.Occurrence:
        runtime = self._engine.inside.runtime
        built = runtime.built(run)
        run = rules.at_home(built, run, now=runtime.store.now_s()).run
        failing = next((path for path, leaf in run.leaves.items() if leaf.phase == "failing"), None)
        if target[0] == ERROR_STATE:
            if failing is not None:
                raise _invalid(run, target)
            text = trigger or f"reported by {agent}"
            return on.Reported(failure=Failure("unknown", "medium", text, "Reported"), agent=agent)
        if failing is not None and _is_target(failing, target):
            return on.RetryDue(leaf=failing, visit=run.leaves[failing].visit, agent=agent)
        event = _event_to(built, run, target, trigger)
        body = codec.encode(updates, what="context updates")
        return on.Directed(event=event, trigger=trigger or event.rpartition("/")[2], updates=body, agent=agent)


def _unknown(workflow_id: str) -> UnknownWorkflow:
    return UnknownWorkflow(f"workflow {workflow_id!r} is not known", run=workflow_id)


def _event_to(built: Built, run: Run, target: Target, trigger: str) -> str:
    """The event that leads to `target`. Raises InvalidTransition for none, Rejected for several that differ."""
    found: dict[str, tuple[str, ...]] = {}
    for event in events_accepted(built.chart, run.configuration):
        if event == CANCEL and trigger != "cancel":
            continue
        taken = step(built.chart, run.configuration, event)
        entered = [path for path in taken.configuration.leaves if path in taken.entered]
        if taken.is_accepted and any(_arrives(path, target) for path in entered):
            found[event] = taken.configuration.leaves
    if not found:
        others = [path for path in run.leaves if not _is_target(path, target)]
        if len(others) == 1 and len(run.leaves) == 2:  # side by side: going on to one region completes the other
            return _completion(built, run, others[0], target)
        raise _invalid(run, target)
    named = [event for event in found if trigger and trigger in (event, event.rpartition("/")[2])]
    if named:
        return named[0]
    declared = {event: leaves for event, leaves in found.items() if not event.startswith(("/escalate/", "/after/"))}
    choices = declared or found
    if len(set(choices.values())) > 1:
        raise Rejected(
            f"run {run.id}: several events lead from {where_of(run)} to {_text(target)}: {', '.join(sorted(choices))}; "
            "name one as trigger_event"
        )
    return next(iter(choices))


def _completion(built: Built, run: Run, region: str, target: Target) -> str:
    """The event that completes one active region and leaves the other one alone."""
    for event in events_accepted(built.chart, run.configuration):
        taken = step(built.chart, run.configuration, event)
        others_stay = all(path in taken.configuration.leaves for path in run.leaves if path != region)
        if taken.is_accepted and region in taken.exited and others_stay:
            return event
    raise _invalid(run, target)


def _arrives(path: str, target: Target) -> bool:
    """Whether entering `path` is arriving: the structural end of a region is not."""
    return not path.endswith(f".{DONE_STATE}") and _is_target(path, target)


def _is_target(path: str, target: Target) -> bool:
    return all(wanted in ("", seen) for wanted, seen in zip(target, spec_state(path), strict=True))


def _text(target: Target) -> str:
    return ":".join(part for part in target if part)


def _invalid(run: Run, target: Target) -> InvalidTransition:
    return InvalidTransition(
        f"invalid transition of run {run.id}: from {where_of(run)} to {_text(target)}",
        from_state=where_of(run),
        to_state=_text(target),
        run=run.id,
    )
