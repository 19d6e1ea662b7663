"""Processes that hold one lock: one stands still and wakes up late, one is killed; the line moves on all the same."""

from __future__ import annotations

import pytest

from tests.engine.crash.findings import stop_outside_a_commit
from tests.engine.crash.processes import Stage

ENGINE = {"heartbeat_s": 0.3, "lease_ttl_s": 1.5}


@pytest.mark.parametrize("stage", ["sqlite", "postgresql"], indirect=True)
def test_a_late_holder_is_refused_and_a_killed_one_is_survived(stage: Stage) -> None:
    """The first is stopped past its lease and wakes up while the second holds: neither its write nor its giving back
    does anything. Then the second is killed, and the only one in line has the lock when that lease is over."""
    first = stage.start("locker", holds=("hold",), engine=ENGINE)
    first.until_line("held")
    stop_outside_a_commit(first, stage.url)
    second = stage.start("locker", holds=("hold",), engine=ENGINE)
    second.until_line("held")
    first.go_on()
    first.let_go()
    first.until_line("gave back")
    third = stage.start("locker", engine=ENGINE)
    third.until_line("swept")
    one, two = (int(token) for token in stage.ledger.keys("held"))
    assert one < two, "what the first gave back was not its own any more"
    second.kill()
    third.finish()
    first.finish()
    one, two, three = (int(token) for token in stage.ledger.keys("held"))
    assert one < two < three
    assert (stage.ledger.keys("fenced"), stage.ledger.keys("wrote")) == ([str(one)], [str(three)])
