"""Failures: retried on the dot, apart from what succeeded; escalated where declared, else stopped and resumable."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import (
    ErrorSeverity,
    ErrorType,
    InvalidTransition,
    Retry,
    RunContext,
    RunHandle,
    Workflow,
    WorkflowError,
)
from tests.engine.journal import facts, moves
from tests.engine.labs import ON_ALL, OpenLab, World, nothing

pytestmark = ON_ALL

ERROR_ROWS = [
    "try -error-> error_handling:error_detection",
    "error_handling:error_detection -evaluate-> error_handling:retry_evaluation",
]


def failing(times: int, *, world: World, error: Exception | None = None, **options: Any) -> Workflow:
    """A workflow whose second step fails `times` times."""
    workflow = Workflow("shaky", **{name: options.pop(name) for name in ("escalate_to", "retry") if name in options})

    def second() -> str:
        if world.do("second") <= times:
            raise error or ConnectionError("try again")
        return "done"

    @workflow.state("try", start=True, to="end", **options)
    async def attempt(ctx: RunContext) -> None:
        world.do("attempt")
        await ctx.step("first", world.do, "first")
        await ctx.step("second", second)

    workflow.final("end")
    return workflow


async def error_of(run: RunHandle) -> dict[str, Any]:
    """The facts of the first failure in a run's journal."""
    return next(facts(event)["metadata"] for event in await run.history() if facts(event).get("trigger") == "error")


async def test_the_first_retry_comes_after_2_seconds_and_the_next_after_4(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(failing(3, world=world, retry=Retry(jitter=0)))
    run = await lab.start("shaky")
    for seconds, attempts in ((1.999, 1), (0.001, 2), (3.999, 2), (0.001, 3), (7.999, 3), (0.001, 4)):
        await lab.skip(seconds)
        assert world.calls["attempt"] == attempts
    assert (await run.refresh()).state == "end"
    assert world.calls["first"] == 1, "what succeeded is not run again"
    waits = [facts(event)["metadata"] for event in await run.history() if facts(event).get("trigger") == "retry"]
    assert [wait["wait_s"] for wait in waits if "wait_s" in wait] == [2, 4, 8]


async def test_jitter_begins_with_the_second_retry(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(failing(3, world=world))
    run = await lab.start("shaky")
    await lab.skip("20s")
    rows = [facts(event)["metadata"] for event in await run.history()]
    first, second, third = [row["wait_s"] for row in rows if "wait_s" in row]
    assert first == 2
    assert 4 < second <= 4.8
    assert 8 < third <= 9.6


async def test_a_failing_run_is_shown_in_error_handling_with_its_count(open_lab: OpenLab) -> None:
    lab = await open_lab(failing(9, world=World()))
    run = await lab.start("shaky")
    await lab.settle()
    await run.refresh()
    assert (run.run.main_state, run.run.sub_state, run.run.retry_count, run.run.max_retries) == (
        "error_handling", "retry", 1, 3,
    )  # fmt: skip
    assert (run.state, run.status) == ("try", "waiting")
    error = await error_of(run)
    assert error == {"error": "ConnectionError", "message": "try again", "type": "transient"}


async def test_retries_spent_without_a_way_out_stop_the_run_until_it_is_resumed(open_lab: OpenLab) -> None:
    world = World()
    lab = await open_lab(failing(5, world=world, retry=Retry(attempts_max=2)))
    run = await lab.start("shaky")
    await lab.skip("2s")
    await run.refresh()
    assert (run.status, run.run.alert_level, world.calls["attempt"]) == ("failed", 1, 2)
    assert run.run.reason == "ConnectionError: try again"
    with pytest.raises(WorkflowError, match="is failed in try: ConnectionError: try again"):
        await run.result()
    await run.resume(by="ops", reason="the network is back")
    assert (run.run.retry_count, run.run.escalated) == (0, False), "a fresh budget"
    await lab.skip("2s")
    assert (await run.refresh()).status == "failed"
    await run.resume(by="ops")
    await lab.skip("2s")
    assert (await run.refresh()).state == "end"
    assert world.calls == {"attempt": 6, "first": 1, "second": 6}


@pytest.mark.parametrize("kind", [ErrorType.PERMANENT, ErrorType.VALIDATION])
async def test_what_no_retry_can_help_is_not_retried(open_lab: OpenLab, kind: ErrorType) -> None:
    world = World()
    error = WorkflowError("the manifest is wrong", error_type=kind, severity=ErrorSeverity.HIGH, file="a.yaml")
    lab = await open_lab(failing(1, world=world, error=error))
    run = await lab.start("shaky")
    await lab.skip("10s")
    assert ((await run.refresh()).status, world.calls["attempt"]) == ("failed", 1)
    assert await moves(run) == [
        "-start-> try",
        *ERROR_ROWS,
        "error_handling:retry_evaluation -escalation-> error_handling:escalation",
    ]
    failure = run.run.leaves["try"].failure
    assert failure is not None
    assert (failure.error_type, failure.severity, failure.facts["file"]) == (kind.value, "high", "a.yaml")


async def test_on_error_is_taken_when_retries_are_spent(open_lab: OpenLab) -> None:
    workflow = failing(9, world=World(), retry=Retry(attempts_max=2), on_error="excused")
    workflow.final("excused")
    lab = await open_lab(workflow)
    run = await lab.start("shaky")
    await lab.skip("2s")
    assert (await run.refresh()).state == "excused"
    assert (await moves(run))[-1] == "error_handling:escalation -escalation-> excused"


async def test_escalate_to_takes_what_has_no_way_of_its_own(open_lab: OpenLab) -> None:
    workflow = failing(9, world=World(), retry=Retry(attempts_max=1), escalate_to="human")
    workflow.wait("human", on={"close": "end"})
    lab = await open_lab(workflow)
    run = await lab.start("shaky")
    await lab.settle()
    await run.refresh()
    assert (run.state, run.status, run.run.escalated, run.run.alert_level) == ("human", "waiting", True, 1)
    await run.send("close", by="ana")
    assert run.state == "end"


async def test_an_error_handler_that_fails_is_retried_like_any_state(open_lab: OpenLab) -> None:
    """The state that a run escalates to is a state like others, with retries and memos of its own."""
    world = World()
    workflow = failing(9, world=world, retry=Retry(attempts_max=1), escalate_to="tell")

    @workflow.state("tell", to="end", retry=Retry(attempts_max=3))
    async def tell(ctx: RunContext) -> None:
        if world.do("tell") < 3:
            raise ConnectionError("the pager is away")

    lab = await open_lab(workflow)
    run = await lab.start("shaky")
    await lab.skip("10s")
    assert ((await run.refresh()).state, world.calls["tell"]) == ("end", 3)


async def test_an_outcome_without_an_edge_is_a_permanent_failure_that_lists_the_edges(open_lab: OpenLab) -> None:
    workflow = Workflow("sure")

    @workflow.state("decide", start=True, to={"sure": "end", "unsure": "end"})
    async def decide(ctx: RunContext) -> str:
        return "perhaps"

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("sure")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "returned 'perhaps', expected one of ['sure', 'unsure']" in run.run.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "expected a value that JSON can hold, saw"),
        (float("nan"), "expected finite numbers, saw NaN or infinity"),
        ("a\0b", "expected text without NUL"),
        (None, "expected at most {} bytes, saw"),
    ],
    ids=["object", "nan", "nul", "too big"],
)
@pytest.mark.parametrize(("place", "bytes_max"), [("data", 1024 * 1024), ("result", 32 * 1024 * 1024)])
async def test_poison_fails_its_own_run_and_no_other(
    open_lab: OpenLab, value: object, reason: str, place: str, bytes_max: int
) -> None:
    workflow = Workflow("poison")
    value = "x" * bytes_max if value is None else value

    def poison() -> Any:
        return value

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        if ctx.input == "innocent":
            return
        if place == "data":
            ctx.data["value"] = value
        else:
            await ctx.step("poison", poison)

    workflow.final("end")
    lab = await open_lab(workflow)
    runs = [await lab.start("poison", what) for what in ("innocent", "guilty", "innocent")]
    await lab.settle()
    assert [(await run.refresh()).status for run in runs] == ["done", "failed", "done"]
    assert reason.format(bytes_max) in runs[1].run.reason
    (failure,) = [leaf.failure for leaf in runs[1].run.leaves.values()]
    assert failure is not None
    assert failure.error_type == "validation"


async def test_a_cyclic_value_fails_its_own_run(open_lab: OpenLab) -> None:
    workflow = Workflow("cycle")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        ctx.data["self"] = ctx.data

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("cycle")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert run.data == {}, "nothing of it was kept"


async def test_only_a_stopped_run_can_be_resumed(open_lab: OpenLab) -> None:
    workflow = Workflow("fine")
    workflow.add_state("work", nothing, start=True, to="review")
    workflow.wait("review", on={"go": "end"})
    workflow.final("end")
    lab = await open_lab(workflow)
    run = await (await lab.start("fine")).reach("review")
    with pytest.raises(InvalidTransition, match="is waiting; only a paused, failed or set-aside run can be resumed"):
        await run.resume(by="ops")
