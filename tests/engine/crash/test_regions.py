"""Parallel regions: what one has done is not done again whatever befalls the other, and the join fires once."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast import codec
from tests.engine.crash.findings import examine, runs_now
from tests.engine.crash.processes import Stage

DATA = {"k8s": "k8s", "found": "code", "read": "read", "cause": "decide"}


def test_a_region_that_was_done_is_not_run_again_after_the_other_crashed(stage: Stage) -> None:
    process = stage.start("regions", starts=1, awaits=1, holds=("code",))
    process.until_line("code")
    process.until(lambda: _is_left(stage, "k8s"), "the end of k8s")
    process.kill()
    stage.run("regions", awaits=1)
    _check(stage, k8s=1, code=2, read=1, decide=1)


@pytest.mark.parametrize("last", ["k8s", "code"])
@pytest.mark.parametrize("point", ["before-transition", "transition"])
def test_the_join_fires_once_whichever_region_ends_last(stage: Stage, last: str, point: str) -> None:
    """Killed before or after the commit of the join, which the region that was held up takes."""
    process = stage.start("regions", starts=1, awaits=1, holds=(last,), fault=f"{point}:3:kill")
    process.until_line(last)
    process.until(lambda: _is_left(stage, "code" if last == "k8s" else "k8s"), "the end of the other")
    process.let_go()
    process.until_killed()
    stage.run("regions", awaits=1)
    again = {} if point == "transition" else {"k8s": 1} if last == "k8s" else {"read": 1}
    _check(stage, **{body: 1 + again.get(body, 0) for body in ("k8s", "code", "read", "decide")})


def test_a_running_region_goes_on_while_the_other_fails_and_is_retried(stage: Stage) -> None:
    """k8s is held up over the failure, the back-off and the end of code, and is neither stopped nor started again;
    code takes its first step from its memo."""
    process = stage.start("regions", starts=1, awaits=1, holds=("k8s", "code-fails"))
    process.until_line("k8s")
    process.until(lambda: _is_left(stage, "code"), "the end of code")
    process.let_go()
    process.finish()
    _check(stage, k8s=1, code=1, read=1, decide=1)
    found = examine(stage.url)["T-0"]
    assert [row.trigger for row in found.rows].count("retry") == 2  # decided, then begun


def test_a_region_in_back_off_is_retried_by_the_next_process(stage: Stage) -> None:
    """Killed after the failure of code was committed: k8s, which was done, stays done, the retry comes when due."""
    process = stage.start("regions", starts=1, awaits=1, holds=("code-fails",), fault="before-transition:4:kill")
    process.until_killed()
    before = examine(stage.url)["T-0"]
    assert ("analysis:code", "error_handling:error_detection") in before.transitions
    stage.run("regions", awaits=1, holds=("code-fails",))
    _check(stage, k8s=1, code=1, read=1, decide=1)


def _check(stage: Stage, **bodies: int) -> None:
    assert Counter(line.what for line in stage.ledger.lines() if line.key) == bodies
    found = examine(stage.url)["T-0"]
    assert [target for _, target in found.transitions].count("decide") == 1
    assert found.transitions[-1] == ("decide", "done")
    assert codec.decode(found.run.data) == DATA


def _is_left(stage: Stage, region: str) -> bool:
    run = runs_now(stage.url).get("T-0")
    return run is not None and not any(region in path for path in run.leaves)
