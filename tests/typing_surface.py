"""What a user's type checker infers from the public names. `mypy --strict` reads this file; nothing has to run it."""

from __future__ import annotations

from typing import assert_type

from holdfast import (
    BreakerOpen,
    BulkheadFull,
    CircuitBreaker,
    CommitUnknown,
    Conflict,
    Corrupt,
    Deadline,
    DeadlineExceeded,
    ErrorSeverity,
    ErrorType,
    Fenced,
    FieldConflict,
    FieldPolicy,
    Guard,
    HoldfastError,
    InvalidDefinition,
    InvalidInput,
    InvalidTransition,
    LockTimeout,
    MergeConflict,
    Merged,
    NotFound,
    Nothing,
    Rejected,
    RetryBudget,
    Stamp,
    StateChange,
    StateCheckpoint,
    StateManager,
    StateObject,
    StateTransaction,
    StreamSnapshot,
    SyncFigures,
    SyncManager,
    Unavailable,
    UserExecutionContext,
    UserStreams,
    WorkflowError,
    WrongContext,
    merge,
    retry,
)


def a_context_narrows() -> None:
    context = UserExecutionContext(user="ana", scopes=frozenset({"read"}))
    assert_type(context.child(deadline_s=1.0), UserExecutionContext)
    assert_type(context.deadline_s, float | None)
    assert_type(context.scopes, frozenset[str])


def an_error_says_what_to_do() -> None:
    error = WorkflowError("away", error_type=ErrorType.TRANSIENT, severity=ErrorSeverity.LOW)
    assert_type(error.error_type, ErrorType)
    assert_type(error.severity, ErrorSeverity)
    assert_type(error.is_retryable, bool)
    assert_type(error.message, str)


def every_error_is_one_of_ours() -> tuple[type[HoldfastError], ...]:
    return (Conflict, Fenced, NotFound, Rejected, Unavailable, CommitUnknown, Corrupt, WorkflowError)


def a_refusal_is_a_rejection_and_what_python_calls_it() -> None:
    rejections: tuple[type[Rejected], ...] = (InvalidTransition, InvalidDefinition, InvalidInput, WrongContext)
    values: tuple[type[ValueError], ...] = (InvalidTransition, InvalidDefinition, InvalidInput)
    types: tuple[type[TypeError], ...] = (WrongContext,)
    lookups: tuple[type[LookupError], ...] = (NotFound,)
    del rejections, values, types, lookups


def a_merge_says_what_is_left_to_decide() -> None:
    merged = merge(
        {"a": 1}, {"a": 2}, {"a": 3}, policies={"/a": FieldPolicy.MERGE}, stamps=(Stamp(1, "x"), Stamp(2, "y"))
    )
    assert_type(merged, Merged)
    assert_type(merged.conflicts, tuple[FieldConflict, ...])
    assert_type(merged.is_clean, bool)
    missing: Nothing = Nothing.NOTHING
    conflicts: tuple[type[Conflict], ...] = (MergeConflict,)
    del missing, conflicts


async def writers_are_kept_apart(sync: SyncManager, context: UserExecutionContext) -> None:
    assert_type(sync.figures(), SyncFigures)
    assert_type(sync.figures().lag_s, float)
    assert_type((await sync.read(context, "plan")).version, int)


async def a_guarded_call_gives_what_it_gives(guard: Guard, breaker: CircuitBreaker, budget: RetryBudget) -> None:
    async def ask() -> int:
        return 1

    assert_type(await guard.call(ask, user="ana", load="people", deadline=Deadline(1.0)), int)
    assert_type(await breaker.call(ask), int)
    assert_type(await retry(ask, budget=budget), int)
    refusals: tuple[type[Unavailable], ...] = (BreakerOpen, BulkheadFull, DeadlineExceeded, LockTimeout)
    timeouts: tuple[type[TimeoutError], ...] = (DeadlineExceeded,)
    del refusals, timeouts


async def state_is_what_it_was_asked_as(state: StateManager, context: UserExecutionContext) -> None:
    assert_type(await state.get(context, "plan", Stamp), StateObject[Stamp])
    assert_type(await state.find(context, "plan", Stamp), StateObject[Stamp] | None)
    assert_type((await state.set(context, "plan", 1)).value, int)
    assert_type((await state.update(context, "plan", lambda stamp: stamp, Stamp)).value, Stamp)
    assert_type([each.value async for each in state.scan(context, "", Stamp)], list[Stamp])

    async def work(t: StateTransaction) -> str:
        assert_type((await t.get("plan", Stamp)).value, Stamp)
        assert_type([each.value async for each in t.scan("", Stamp)], list[Stamp])
        return "done"

    assert_type(await state.transact(context, work), str)
    assert_type([change async for change in state.watch(context)], list[StateChange])
    assert_type(await state.checkpoint(context, "kept"), StateCheckpoint)


async def a_stream_gives_events_and_snapshots(streams: UserStreams, context: UserExecutionContext) -> None:
    async for item in streams.stream(context, after="1:42"):
        assert_type(item.name, str)
        if isinstance(item, StreamSnapshot):
            assert_type(item.is_last, bool)
        else:
            assert_type(item.run, str)
