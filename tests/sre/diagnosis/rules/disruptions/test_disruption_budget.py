"""`disruption-budget`: no disruption is allowed although every pod behind the budget is ready."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def guarded(*, allowed: int = 0, ready: int = 2) -> World:
    world = World()
    world.deployment("till", replicas=2, ready=ready)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "till"}}}
    world.add("PodDisruptionBudget", "till", {"spec": spec, "status": {"disruptionsAllowed": allowed}})
    return world


def test_a_budget_that_lets_no_pod_go_although_all_are_ready() -> None:
    assert found(guarded().snapshot(), "disruption-budget")[0].confidence == 0.35
    world = guarded()
    world.event(
        Ref("Node", "node-a"), "FailedDrain", "Cannot evict pod: it would violate the pod's disruption budget till"
    )
    assert found(world.snapshot(), "disruption-budget")[0].confidence == 0.85


def test_a_budget_of_pods_that_are_down_or_that_may_go_is_not_blamed() -> None:
    assert not found(guarded(ready=1).snapshot(), "disruption-budget")
    assert not found(guarded(allowed=1).snapshot(), "disruption-budget")
