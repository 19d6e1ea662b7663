"""Health is judged from facts, and an engine's own facts say what is wrong and what to do."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast import Check, Engine, Health, InvalidInput, Status, Workflow, health_of, set_up_logs
from holdfast.logs import get_logger
from holdfast.observe.logs import LOGGERS
from holdfast.observe.rules import Facts, judge, worst
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency

WELL = Facts(
    store_ailment=None,
    durability="the process",
    lease_left_s=4.0,
    sweep_problem=None,
    is_recovery_running=True,
    active_runs=3,
    free_places=7,
)


@dataclass
class Case:
    name: str
    facts: dict[str, object]
    status: Status
    check: str = ""
    others: dict[str, object] = field(default_factory=dict)


CASES = [
    Case("well", {}, Status.GREEN),
    Case("dead writer", {"store_ailment": "the writer died"}, Status.RED, "store"),
    Case("a cache away", {"store_weakness": "the cache is not used"}, Status.DEGRADED, "store"),
    Case("lapsed lease", {"lease_left_s": -0.5}, Status.RED, "lease"),
    Case("no recovery", {"is_recovery_running": False}, Status.RED, "recovery"),
    Case("store away", {"sweep_problem": "locked"}, Status.DEGRADED, "recovery"),
    Case("no place", {"free_places": 0}, Status.DEGRADED, "places"),
    Case("a clock ahead", {"clock_ahead_s": 5.1}, Status.DEGRADED, "clock"),
    Case("a clock behind", {"clock_ahead_s": -3600.0}, Status.DEGRADED, "clock"),
    Case("a model down", {"dependencies": {"llm": "ill; failed"}}, Status.DEGRADED, "dependency llm"),
    Case("others up", {"dependencies_well": 2}, Status.GREEN),
    Case("a run stopped", {"problems": {"run 1": "OSError"}}, Status.DEGRADED, "run 1"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_fact_shows_in_its_check_with_advice(case: Case) -> None:
    facts = Facts(**({name: getattr(WELL, name) for name in WELL.__struct_fields__} | case.facts))  # type: ignore[arg-type]
    health = judge(facts)
    assert health.status is case.status
    bad = [check for check in health.checks if check.status is not Status.GREEN]
    assert [check.name for check in bad] == ([case.check] if case.check else [])
    assert all(check.advice for check in bad)


def test_the_line_on_recovery_tells_what_it_did_and_what_it_cannot() -> None:
    fields = {name: getattr(WELL, name) for name in WELL.__struct_fields__}
    facts = Facts(**fields | {"recovered": "3 runs recovered", "suspects_here": "no such module"})
    (seen,) = [check.seen for check in judge(facts).checks if check.name == "recovery"]
    assert seen == "sweeps; 3 runs recovered; suspects are tried in this process: no such module"


def test_clocks_far_apart_are_told_with_the_mend() -> None:
    facts = Facts(**{name: getattr(WELL, name) for name in WELL.__struct_fields__} | {"clock_ahead_s": -61.25})
    (clock,) = [check for check in judge(facts).checks if check.name == "clock"]
    assert clock.seen == "61.2 s behind the store's"
    assert "let NTP set it" in clock.advice


def test_the_verdict_is_as_bad_as_the_worst_check() -> None:
    assert worst([]) is Status.GREEN
    assert worst([Status.GREEN, Status.RED, Status.DEGRADED]) is Status.RED


def idle_workflow() -> Workflow:
    workflow = Workflow("idle")
    workflow.wait("wait", start=True, on={"go": "end"})
    workflow.final("end")
    return workflow


@pytest.mark.parametrize("place", ["memory", "sqlite"])
async def test_an_open_engine_is_green_and_says_what_it_stands_on(tmp_path: Path, place: str) -> None:
    url = "memory:" if place == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, idle_workflow()) as engine:
        health = health_of(engine)
        assert isinstance(health, Health)
        assert health.status is Status.GREEN, health
        checks: dict[str, Check] = {check.name: check for check in health.checks}
        assert ("nothing: it ends with this process" in checks["store"].seen) is (place == "memory")
        assert ("not needed" in checks["lease"].seen) is (place == "memory")


@pytest.fixture
def quiet_after() -> Iterator[None]:
    """Leave logging as it was found."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.mark.usefixtures("quiet_after")
def test_logs_are_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(level="info", form="json")
    get_logger("holdfast.test").info("run taken up", run="r-1", share="5%")
    get_logger("holdfast.test").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["run"], told["share"], told["level"]) == ("run taken up", "r-1", "5%", "info")
    assert told["timestamp"].endswith("+00:00")


@pytest.mark.usefixtures("quiet_after")
def test_logs_for_people_carry_the_facts(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(form="console")
    get_logger("holdfast.test").warning("lease lost", process="p-1")
    out, err = capsys.readouterr()
    assert err.rstrip().endswith("WARNING lease lost process='p-1'")
    assert out == ""


def test_without_any_set_up_nothing_is_written_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("holdfast.test").warning("lease lost", process="p-1")
    assert capsys.readouterr().out == ""


def test_an_unknown_log_level_is_named() -> None:
    with pytest.raises(InvalidInput, match="loud"):
        set_up_logs(level="loud")


async def test_dependencies_that_are_not_well_show_by_name() -> None:
    nodes = [Dependency(name="llm", kind="llm"), Dependency(name="agent", kind="agent", needs=["llm"])]
    dependencies = Dependencies(*nodes, Dependency(name="db", kind="database"))
    async with Engine("memory:", dependencies=dependencies) as engine:
        assert health_of(engine).status is Status.GREEN
        dependencies.breaker("llm").open("planted", wait_s=60)
        health = health_of(engine)
        seen = {check.name: check.seen for check in health.checks if "depend" in check.name}
        assert seen == {
            "dependency llm": "ill; planted; for 0 s, its objective is 120 s",
            "dependency agent": "blocked by llm",
            "dependencies": "1 well",
        }
        assert health.status is Status.DEGRADED
