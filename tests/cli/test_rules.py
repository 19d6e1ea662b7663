"""The command line's own decisions, pure: what is due, what a hash names, how far away a time is, what doctor finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from holdfast import Status, Workflow
from holdfast.chart import start
from holdfast.cli import rules
from holdfast.cli.health import BackupFacts, LockLine, ProcessFacts, RunFacts, StoreFacts, TicketLine, diagnose
from holdfast.cli.rules import distance, is_about, next_due
from holdfast.workflow.model.run import Leaf, Run, Timer

TIMES = st.none() | st.floats(1, 1000)


def waiting_run() -> Run:
    """A run that waits, with no time set."""
    workflow = Workflow("wait")
    workflow.wait("wait", on={"go": "end"}, start=True)
    workflow.final("end")
    return Run(
        id="r", workflow="wait", version=1, ticket_id="T", tenant="main", user="ana", status="waiting",
        main_state="wait", sub_state="", detailed_state="", configuration=start(workflow.build().chart).configuration,
        leaves={"wait": Leaf(visit=1, phase="waiting", entered_at=0.0)}, timers=(), data=Raw(b"{}"), input=Raw(b"null"),
        created_at=0.0, max_retries=3,
    )  # fmt: skip


RUN = waiting_run()


@given(retry_at=TIMES, deadline_at=TIMES, sla_at=TIMES, timeout_at=TIMES, timers=st.lists(st.floats(1, 1000)))
def test_what_is_due_next_is_when_the_engine_wakes_for_it(
    retry_at: float | None,
    deadline_at: float | None,
    sla_at: float | None,
    timeout_at: float | None,
    timers: list[float],
) -> None:
    leaf = replace(RUN.leaves["wait"], retry_at=retry_at, deadline_at=deadline_at, sla_at=sla_at)
    running = tuple(Timer("wait", f"/after/wait/{number}", 1, due) for number, due in enumerate(timers))
    run = replace(RUN, leaves={"wait": leaf}, timers=running, timeout_at=timeout_at)
    due = next_due(run)
    assert (due.at if due else None) == run.due
    assert next_due(replace(run, status="paused")) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "now"), (-0.4, "now"), (3.2, "in 3s"), (-61, "1m1s ago"), (172800, "in 2d"), (-172740, "1d23h ago")],
)
def test_times_are_said_from_here(seconds: float, words: str) -> None:
    assert distance(1000 + seconds, 1000) == words


@pytest.mark.parametrize(
    ("given_hash", "is_it"),
    [("3f9a2c41", True), ("3f9a2c4", True), ("3f9a2c", False), ("3f9a2c42", False), ("", False), ("3f9a2c41d7", True)],
)
def test_seven_signs_name_a_subject(given_hash: str, is_it: bool) -> None:
    assert is_about(given_hash, "3f9a2c41d7") is is_it


def test_a_short_subject_is_named_by_the_whole_of_it() -> None:
    assert is_about("v2", "v2")
    assert not is_about("v", "v2")


PROCESS = ProcessFacts(id="p", host="here", pid=7, started_at="2026-01-01T00:00:00.000Z", lease_left_s=4, is_alive=True)
DEAD = replace(PROCESS, id="q", pid=8, lease_left_s=-1.0, is_alive=False)
STUCK = RunFacts(id="r", ticket="T-1", workflow="shop@1", status="running", reason="", idle_s=60.0)
BACKUP = BackupFacts(at="2026-01-01T00:00:00.000Z", age_s=600.0, took_s=2.0, place="here:/b", every_s=3600.0)
TICKET = TicketLine(
    holder="h", by="ana", mode="exclusive", since="2026-01-01T00:00:00.000Z", until=None, token=1, behind=()
)
WELL = StoreFacts(
    location="runs.db", durability="the process", ailment=None, clock_offset_s=0.0, processes=(PROCESS,),
    locks=(LockLine(lock="a/b", holders=(TICKET,), waiters=(TICKET, TICKET)),),
    runs=(), counts={"running": 1}, is_whole=True, backup=BACKUP,
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "check", "status", "seen"),
    [
        (WELL, "progress", Status.GREEN, "1 running"),
        (replace(WELL, is_whole=False), "progress", Status.GREEN, "there are more"),
        (WELL, "locks", Status.GREEN, "1 held, 2 waiting"),
        (replace(WELL, ailment="the disk is full"), "store", Status.RED, "the disk is full"),
        (replace(WELL, clock_offset_s=90.0), "clock", Status.DEGRADED, "+90.0 s"),
        (replace(WELL, copy_of="old.db"), "copy", Status.RED, "half a copy of old.db"),
        (WELL, "backup", Status.GREEN, "10m ago at here:/b, every 1h"),
        (replace(WELL, backup=replace(BACKUP, was_drilled=True)), "backup", Status.GREEN, "drilled"),
        (
            replace(WELL, backup=replace(BACKUP, age_s=4000.0)),
            "backup",
            Status.RED,
            "than its schedule: 1h6m ago",
        ),
        (replace(WELL, backup=replace(BACKUP, age_s=3900.0)), "backup", Status.GREEN, "1h5m ago"),
        (replace(WELL, backup=replace(BACKUP, age_s=9e9, every_s=None)), "backup", Status.GREEN, "ago at here:/b"),
        (
            replace(WELL, backup=replace(BACKUP, failure="the disk is full", failure_age_s=5.0)),
            "backup",
            Status.RED,
            "5s ago, failed: the disk is full; the last good one: 10m ago",
        ),
        (
            replace(WELL, backup=BackupFacts(failure="away", failure_age_s=5.0)),
            "backup",
            Status.RED,
            "the last good one: there was none",
        ),
        (replace(WELL, backup=BackupFacts()), "backup", Status.DEGRADED, "none of this store is known"),
        (replace(WELL, backup=BackupFacts(), counts={}), "backup", Status.GREEN, "none of this store is known"),
        (replace(WELL, processes=()), "processes", Status.RED, "0 alive"),
        (replace(WELL, processes=(), counts={}), "processes", Status.GREEN, "0 alive"),
        (replace(WELL, processes=(PROCESS, DEAD)), "processes", Status.DEGRADED, "1 alive, 1 dead"),
        (replace(WELL, processes=(DEAD,), counts={}), "processes", Status.GREEN, "no run waits for any"),
        (replace(WELL, runs=(STUCK,)), "progress", Status.RED, "1 run (T-1)"),
        (replace(WELL, runs=(replace(STUCK, idle_s=1.0),)), "progress", Status.GREEN, "1 running"),
        (replace(WELL, runs=(replace(STUCK, status="poisoned"),)), "poisoned", Status.RED, "1 run (T-1)"),
        (replace(WELL, runs=(STUCK,) * 7), "progress", Status.RED, "7 runs (T-1, T-1, T-1, T-1, T-1 and 2 more)"),
    ],
)
def test_doctor_judges(facts: StoreFacts, check: str, status: Status, seen: str) -> None:
    found = {each.name: each for each in diagnose(facts).checks}[check]
    assert found.status is status
    assert seen in found.seen
    assert bool(found.advice) or status is Status.GREEN


def test_doctor_names_the_workflow_version_that_no_worker_knows() -> None:
    (check,) = [each for each in diagnose(replace(WELL, runs=(STUCK,))).checks if each.name == "progress"]
    assert check.advice.startswith("start an engine that knows shop@1")


def test_a_command_that_sends_names_what_was_looked_at() -> None:
    assert rules.signal_command("T-1", "approve", visit=2, about="") == ("holdfast", "approve", "T-1", "--visit", "2")
    assert rules.signal_command("T-1", "go", visit=2, about="3f")[-4:] == ("T-1", "go", "--about", "3f")
