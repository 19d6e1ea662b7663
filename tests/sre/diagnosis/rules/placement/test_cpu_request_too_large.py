"""`cpu-request-too-large`: no open node has room for the CPU that the pod asks for."""

from __future__ import annotations

from tests.sre.diagnosis.rules.placement.worlds import faults, unplaced
from tests.sre.diagnosis.worlds import container, found

LARGE = [container(resources={"requests": {"cpu": "9"}})]


def test_more_cpu_than_any_node_has() -> None:
    world = unplaced({}, {}, containers=LARGE)
    assert faults(world) == ["cpu-request-too-large"]
    paths = [field.path for field in found(world.snapshot(), "cpu-request-too-large")[0].blames]
    box = "spec.template.spec.containers[app].resources"
    assert paths == [f"{box}.requests.cpu", f"{box}.limits.cpu"]


def test_cpu_that_a_node_has_is_not_too_much() -> None:
    small = [container(resources={"requests": {"cpu": "1"}})]
    assert not found(unplaced({}, {}, containers=small).snapshot(), "cpu-request-too-large")
