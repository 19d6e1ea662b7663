"""A network of 25 agents in one state, killed in the middle: what was finished is not run again, what was not, is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from holdfast import codec
from tests.engine.crash.findings import examine, memo_names, reading
from tests.engine.crash.processes import Stage

WHERE = pytest.mark.parametrize("stage", ["sqlite", "postgresql"], indirect=True)
AGENTS = [f"{layer}-{number}" for layer in range(5) for number in range(5)]


def sums(*, fallback: int | None = None) -> dict[str, int]:
    """What each agent gives where each adds one to the sum of the layer before; `fallback`: in the place of 1-0."""
    found: dict[str, int] = {}
    for layer in range(5):
        before = [found[f"{layer - 1}-{number}"] for number in range(5)] if layer else [0]
        if layer == 2 and fallback is not None:
            before[0] = fallback
        for number in range(5):
            found[f"{layer}-{number}"] = 1 + sum(before)
    return found


def finished(stage: Stage) -> set[str]:
    """The agents whose results are on the disk."""
    return {name.rpartition("/")[2] for name in memo_names(reading(stage.url))}


def data_of(stage: Stage) -> dict[str, Any]:
    """What the run has come to, after the whole store was checked."""
    data: dict[str, Any] = codec.decode(examine(stage.url)["T-0"].run.data)
    return data


def counts(stage: Stage) -> Counter[str]:
    """How often each agent was run, in all processes."""
    return Counter(line.what for line in stage.ledger.lines() if line.what in AGENTS)


@WHERE
def test_finished_agents_are_not_run_again_after_a_kill(stage: Stage) -> None:
    """SIGKILL while two agents of the third layer are at work, three others of it are done and durable: the next
    process runs these two and the ten behind them, once; the two have the key that they had before."""
    first = stage.start("network", starts=1, awaits=1, holds=("2-1", "2-3"))
    for name in ("2-0", "2-1", "2-2", "2-3", "2-4"):
        first.until_line(name)
    first.until(lambda: len(finished(stage)) >= 13, "the memos of the 13 that are done")
    first.kill()
    stage.run("network", awaits=1)
    ran = counts(stage)
    assert {name: times for name, times in ran.items() if times > 1} == {"2-1": 2, "2-3": 2}
    assert sorted(ran) == AGENTS
    for name in ("2-1", "2-3"):
        assert len(set(stage.ledger.keys(name))) == 1
    assert len({line.key for line in stage.ledger.lines() if line.what in AGENTS}) == len(AGENTS)
    run = examine(stage.url)["T-0"].run
    assert data_of(stage)["results"] == sums()
    assert run.status == "done"


@WHERE
def test_a_failure_that_was_put_up_with_stays_one(stage: Stage) -> None:
    """1-0 failed, 2-0 was built on its fallback; the process dies. In the next one 1-0 would work, and is not asked:
    its readers would else have read two different things."""
    first = stage.start("network", starts=1, awaits=1, holds=("2-1", "fail-once"))
    for name in ("2-0", "2-1", "2-4"):
        first.until_line(name)
    first.until(lambda: len(finished(stage)) >= 14, "the memos of all but 2-1")
    first.kill()
    stage.run("network", awaits=1)
    assert counts(stage)["1-0"] == 1
    data = data_of(stage)
    expected = sums(fallback=1000)
    del expected["1-0"]
    assert data["results"] == expected
    assert list(data["failures"]) == ["1-0"]


@WHERE
def test_wherever_it_is_killed_each_finished_agent_ran_once(stage: Stage) -> None:
    """SIGKILL behind every fourth memo that reaches the disk, again and again, until it is done: an agent whose memo
    was on the disk is not in the ledger of a later process."""
    done_before: set[str] = set()
    stage.start("network", starts=1, awaits=1, fault="memo:1:kill").until_killed()
    for _ in range(3):
        done = finished(stage)
        assert done >= done_before
        done_before = done
        lines = len(stage.ledger.lines())
        stage.start("network", awaits=1, fault="memo:1:kill").until_killed()
        again = {line.what for line in stage.ledger.lines()[lines:]}
        assert not again & done
    lines = len(stage.ledger.lines())
    done = finished(stage)
    stage.run("network", awaits=1)
    assert not {line.what for line in stage.ledger.lines()[lines:]} & done
    assert data_of(stage)["results"] == sums()
