"""Schedules: one run for each due time; what was missed, what would overlap, what is paused; new timing."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidDefinition, Workflow, codec
from holdfast.store.contract.records import Change, Query, Record, Scope
from holdfast.testing import Lab
from holdfast.workflow.model.schedule import SCHEDULE, Policy, Timing
from holdfast.workflow.model.scheduling import next_due, turn
from holdfast.workflow.recovery.scheduler import paused, state_of
from tests.engine.labs import ON_ALL, ON_MEMORY, OpenLab

HOUR_S = 3600.0
MIDNIGHT = 1_767_225_600.0
"""Where virtual time begins: 2026-01-01 00:00 UTC."""


def swept(interval: str = "1h", **options: Any) -> Workflow:
    """Each run stays until it is told to end."""
    workflow = Workflow("sweep", data=dict, version=options.pop("version", 1))
    workflow.wait("at-it", on={"end": "over"}, start=True)
    workflow.final("over")
    if interval:
        workflow.every(interval, name="often", user="ana", **options)
    return workflow


async def dues(lab: Lab) -> list[str]:
    """The due times for which there is a run."""
    found, _ = await lab.engine.client("ana").runs(workflow="sweep")
    return sorted(str(codec.decode(run.run.input)["due"])[11:16] for run in found)


async def record_of(lab: Lab) -> Record:
    (record,) = (await lab.store.scan(Scope.system(), Query(kind=SCHEDULE))).records
    return record


@ON_ALL
async def test_each_due_time_starts_one_run(open_lab: OpenLab) -> None:
    lab = await open_lab(swept("5s"))
    await lab.skip("16s")
    found, _ = await lab.engine.client("ana").runs(workflow="sweep")
    assert sorted(run.ticket_id for run in found) == [f"often@2026-01-01T00:00:{s:02}Z" for s in (5, 10, 15)]
    assert {(run.run.started_by, run.run.labels["schedule"]) for run in found} == {("schedule often", "often")}
    record = await record_of(lab)
    assert (record.due, state_of(record).started, state_of(record).last_due) == (MIDNIGHT + 20, 3, MIDNIGHT + 15)


@ON_ALL
async def test_a_schedules_input_is_as_large_as_any_runs(open_lab: OpenLab) -> None:
    lab = await open_lab(swept("5s", input={"text": "x" * 1_000_000}))
    await lab.skip("6s")
    (run,), _ = await lab.engine.client("ana").runs(workflow="sweep")
    assert codec.decode(await run.get_blob(run.run.blobs["input"])) == {"text": "x" * 1_000_000}


@ON_MEMORY
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"missed": "skip"}, ["01:00", "06:00"]),
        ({"missed": "one"}, ["01:00", "05:00", "06:00"]),
        ({"missed": "all"}, ["01:00", "02:00", "03:00", "04:00", "05:00", "06:00"]),
        ({"missed": "all", "missed_max": 2}, ["01:00", "04:00", "05:00", "06:00"]),
    ],
)
async def test_missed_times_by_policy(open_lab: OpenLab, policy: dict[str, Any], expected: list[str]) -> None:
    """Nobody works from 01:20 to 05:20."""
    lab = await open_lab(swept(**policy))
    await lab.skip("80m")
    await lab.restart(works=False)
    await lab.skip("4h")
    await lab.restart(works=True)
    await lab.skip("1h")
    assert await dues(lab) == expected
    assert state_of(await record_of(lab)).dropped == 6 - len(expected)


@ON_MEMORY
async def test_a_run_that_would_overlap_is_left_out(open_lab: OpenLab) -> None:
    lab = await open_lab(swept(overlap="skip"))
    await lab.skip("3h")
    assert await dues(lab) == ["01:00"]
    (run,), _ = await lab.engine.client("ana").runs(workflow="sweep")
    await run.send("end", by="ana")
    await lab.skip("1h")
    assert await dues(lab) == ["01:00", "04:00"]
    assert state_of(await record_of(lab)).dropped == 2


@ON_MEMORY
async def test_while_paused_due_times_pass(open_lab: OpenLab) -> None:
    """Also over a restart; the first due time after it goes on starts a run."""
    lab = await open_lab(swept())
    for is_paused in (True, False):
        write = paused(await record_of(lab), is_paused=is_paused)
        await lab.store.commit(Scope.system(), Change(change_id=f"set {is_paused}", writes=(write,)))
        await lab.restart()
        await lab.skip("2h")
    assert await dues(lab) == ["03:00", "04:00"]


@ON_MEMORY
async def test_a_new_interval_is_adopted(open_lab: OpenLab) -> None:
    lab = await open_lab(swept("1h"))
    await lab.skip("70m")
    await lab.restart(swept("30m"))
    await lab.skip("50m")
    assert await dues(lab) == ["01:00", "01:30", "02:00"]


@ON_MEMORY
async def test_older_code_leaves_the_schedules_of_newer_code_alone(open_lab: OpenLab) -> None:
    lab = await open_lab(swept("1h", version=2))
    await lab.restart(swept("10m", version=1))
    await lab.skip("70m")
    assert await dues(lab) == []
    await lab.restart(swept("1h", version=2))
    await lab.settle()
    assert await dues(lab) == ["01:00"]


@ON_MEMORY
async def test_a_schedule_that_is_declared_no_more_is_gone(open_lab: OpenLab) -> None:
    lab = await open_lab(swept())
    await lab.restart(swept(""))
    assert not (await lab.store.scan(Scope.system(), Query(kind=SCHEDULE))).records


@ON_MEMORY
async def test_a_record_made_anew_starts_nothing_twice(open_lab: OpenLab) -> None:
    """The ticket of a due time is taken: the schedule goes on to the next one."""
    lab = await open_lab(swept())
    await lab.skip("1h")
    record = await record_of(lab)
    again = msgspec_replaced(paused(record, is_paused=False), due=MIDNIGHT + HOUR_S)
    await lab.store.commit(Scope.system(), Change(change_id="back", writes=(again,)))
    await lab.restart()
    await lab.skip("1h")
    assert await dues(lab) == ["01:00", "02:00"]


def msgspec_replaced(write: Any, **fields: Any) -> Any:
    """The write with other fields."""
    return type(write)(**({name: getattr(write, name) for name in write.__struct_fields__} | fields))


TIMINGS = st.one_of(
    st.builds(Timing, every_s=st.integers(1, 100_000).map(float)),
    st.builds(
        Timing,
        at=st.sampled_from(["00:00", "02:30", "09:15", "23:59"]),
        days=st.sampled_from([(), ("mon",), ("sat", "sun")]),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    ),
)
TIMES = st.integers(1_700_000_000, 1_800_000_000).map(float)


@given(timing=TIMINGS, after=TIMES)
def test_due_times_rise_and_none_lies_between_two(timing: Timing, after: float) -> None:
    due = next_due(timing, after)
    assert due > after
    assert next_due(timing, (after + due) / 2) == due
    if timing.at:
        local = datetime.fromtimestamp(due, ZoneInfo(timing.zone))
        assert (
            f"{local:%H:%M}" == timing.at
            or local.utcoffset() != datetime.fromtimestamp(due - 7200, ZoneInfo(timing.zone)).utcoffset()
        ), "another time only where the clocks skip it"


@given(
    timing=TIMINGS,
    after=TIMES,
    late=st.integers(0, 1000),
    missed=st.sampled_from(["skip", "one", "all"]),
    most=st.integers(1, 5),
)
def test_every_due_time_is_started_or_dropped(timing: Timing, after: float, late: int, missed: Any, most: int) -> None:
    """Turn by turn until none is due any more: each due time is counted once, and the bound holds."""
    policy = Policy(missed=missed, missed_max=most)
    first = next_due(timing, after)
    now, expected, due = first, 1, first
    for _ in range(late % 20):
        now, expected = next_due(timing, now), expected + 1
    started, dropped = [], 0
    while due <= now:
        found = turn(timing, policy, due, now)
        assert found.next_due > due
        started += [] if found.start is None else [found.start]
        dropped, due = dropped + found.dropped, found.next_due
    assert len(started) + dropped == expected
    assert started == sorted(set(started))
    assert len(started) <= (most if missed == "all" else 1)
    assert due == next_due(timing, now)


@pytest.mark.parametrize(
    "options",
    [
        {"interval": "0.5s"},
        {"interval": "1h", "missed": "some"},
        {"interval": "1h", "missed_max": 0},
        {"interval": "1h", "name": "a/b"},
        {"at": "25:00"},
        {"at": "09:00", "zone": "Mars/Olympus"},
        {"at": "09:00", "days": ["someday"]},
    ],
)
def test_what_means_nothing_is_refused(options: dict[str, Any]) -> None:
    workflow = swept("")
    with pytest.raises(InvalidDefinition, match="expected"):
        workflow.daily(**options) if "at" in options else workflow.every(**options)


def test_two_of_one_name_are_refused() -> None:
    workflow = swept("1h")
    with pytest.raises(InvalidDefinition, match="declared twice"):
        workflow.every("2h", name="often")
