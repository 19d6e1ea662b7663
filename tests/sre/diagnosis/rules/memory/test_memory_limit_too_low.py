"""`memory-limit-too-low`: killed for want of memory, under the limit that still stands."""

from __future__ import annotations

import pytest

from tests.sre.diagnosis.worlds import World, container, found

BOX = "spec.template.spec.containers[app]"


@pytest.mark.parametrize("has_limit", [True, False])
def test_a_container_killed_for_memory_blames_its_limit(has_limit: bool) -> None:
    world = World()
    resources = {"limits": {"memory": "16Mi"}} if has_limit else {}
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    world.deployment("oven", containers=[container(resources=resources)], restarts=3, last_state=killed)
    findings = found(world.snapshot(), "memory-limit-too-low")
    assert bool(findings) == has_limit
    if has_limit:
        paths = [field.path for field in findings[0].blames]
        assert paths == [f"{BOX}.resources.limits.memory", f"{BOX}.resources.requests.memory"]


def test_a_sandbox_killed_at_start_counts_as_memory() -> None:
    world = World()
    limits = {"limits": {"memory": "4Mi"}}
    world.deployment("oven", containers=[container(resources=limits)], ready=0, state={"waiting": {}})
    world.event(world.pod("oven"), "FailedCreatePodSandBox", "container init was OOM-killed (memory limit too low?)")
    assert found(world.snapshot(), "memory-limit-too-low")


def test_a_limit_raised_since_the_kill_is_not_blamed_again() -> None:
    world = World()
    killed = {"terminated": {"reason": "OOMKilled"}}
    ref = world.deployment("oven", containers=[container(resources={"limits": {"memory": "16Mi"}})], last_state=killed)
    snapshot = world.snapshot()
    raised = container(resources={"limits": {"memory": "64Mi"}})
    mended = {**snapshot.declared, ref: {"spec": {"template": {"spec": {"containers": [raised]}}}}}
    assert found(snapshot, "memory-limit-too-low")
    assert not found(snapshot.with_declared(mended), "memory-limit-too-low")


def test_a_kill_that_nobody_asked_for_is_want_of_memory_with_doubt() -> None:
    world = World()
    limits = {"resources": {"limits": {"memory": "20Mi"}}}
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    world.deployment("till", ready=0, restarts=3, containers=[container(**limits)], last_state=ended)
    assert found(world.snapshot(), "memory-limit-too-low")[0].confidence == 0.6
    world.event(world.pod("till"), "Unhealthy", "Liveness probe failed")
    assert not found(world.snapshot(), "memory-limit-too-low")
