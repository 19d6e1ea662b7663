"""`job-failed`: a job gave up, and no later one of the same cron job succeeded."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def job(world: World, name: str, *, failed: bool, start: str) -> None:
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    status = {"startTime": start, **({"conditions": [condition]} if failed else {"succeeded": 1})}
    ref = world.add("Job", name, {"status": status}, declared=False)
    owner = [{"kind": "CronJob", "name": "count"}]
    world.live[ref] = {**world.live[ref], "metadata": {"name": name, "ownerReferences": owner}}


def test_a_job_that_gave_up_is_told_until_a_later_one_succeeds() -> None:
    world = World()
    world.add("CronJob", "count", {"spec": {"schedule": "0 3 * * *"}})
    job(world, "count-1", failed=True, start="2026-01-01T03:00:00Z")
    assert found(world.snapshot(), "job-failed")[0].object == Ref("Job", "count-1")
    job(world, "count-2", failed=False, start="2026-01-02T03:00:00Z")
    assert not found(world.snapshot(), "job-failed")
