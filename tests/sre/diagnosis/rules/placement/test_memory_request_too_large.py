"""`memory-request-too-large`: no open node has room for the memory that the pod asks for."""

from __future__ import annotations

from tests.sre.diagnosis.rules.placement.worlds import faults, unplaced
from tests.sre.diagnosis.worlds import container, found

LARGE = [container(resources={"requests": {"memory": "9Gi"}})]


def test_more_memory_than_any_node_has() -> None:
    world = unplaced({}, {}, containers=LARGE)
    assert faults(world) == ["memory-request-too-large"]
    paths = [field.path for field in found(world.snapshot(), "memory-request-too-large")[0].blames]
    box = "spec.template.spec.containers[app].resources"
    assert paths == [f"{box}.requests.memory", f"{box}.limits.memory"]


def test_memory_that_a_node_has_is_not_too_much() -> None:
    small = [container(resources={"requests": {"memory": "1Gi"}})]
    assert not found(unplaced({}, {}, containers=small).snapshot(), "memory-request-too-large")
