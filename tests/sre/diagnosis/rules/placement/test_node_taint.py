"""`node-taint`: the nodes that would take the pod are closed, most of them by a taint it does not tolerate."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sre.diagnosis.rules.placement.worlds import FAST, faults, unplaced
from tests.sre.diagnosis.worlds import GPU_TAINT, found, without_node


@pytest.mark.parametrize(
    ("nodes", "pod_spec"),
    [([{"labels": {"disk": "fast"}, **GPU_TAINT}, {}], FAST), ([GPU_TAINT, GPU_TAINT], {})],
    ids=["selected", "all"],
)
def test_nodes_that_somebody_reserved(nodes: list[dict[str, Any]], pod_spec: dict[str, Any]) -> None:
    world = unplaced(*nodes, **pod_spec)
    assert faults(world) == ["node-taint"]
    assert found(world.snapshot(), "node-taint")[0].confidence == 0.95


def test_a_taint_that_the_pod_tolerates_is_not_blamed() -> None:
    world = unplaced(GPU_TAINT, tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert not found(world.snapshot(), "node-taint")


def test_a_taint_that_the_control_plane_set_is_only_a_symptom() -> None:
    world = without_node("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }")
    world.node("node-0", taints=[{"key": "node.kubernetes.io/unreachable", "value": "", "effect": "NoSchedule"}])
    assert found(world.snapshot(), "node-taint")[0].confidence < 0.5
