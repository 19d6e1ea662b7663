"""`zero-replicas`: the cluster asks for 0 replicas, and neither the manifests nor the callers do."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def scaled_down(*, declared: int = 1, is_called: bool = True) -> World:
    world = World()
    ref = world.deployment("till", replicas=declared, ready=0, pods=0)
    live = world.live[ref]
    world.live[ref] = {**live, "spec": {**live["spec"], "replicas": 0}}
    if is_called:
        world.calls["shop"] = ("till",)
    return world


def test_scaled_to_zero_while_somebody_calls() -> None:
    assert found(scaled_down().snapshot(), "zero-replicas")[0].object == Ref("Deployment", "till")


def test_what_is_meant_to_rest_or_what_nobody_calls_is_no_fault() -> None:
    assert not found(scaled_down(declared=0).snapshot(), "zero-replicas")
    assert not found(scaled_down(is_called=False).snapshot(), "zero-replicas")
