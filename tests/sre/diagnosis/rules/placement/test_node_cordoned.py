"""`node-cordoned`: the nodes that would take the pod are closed, most of them by a cordon."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sre.diagnosis.rules.placement.worlds import FAST, faults, unplaced
from tests.sre.diagnosis.worlds import found, scheduling, without_node


@pytest.mark.parametrize(
    ("nodes", "pod_spec"),
    [
        ([{"labels": {"disk": "fast"}, "unschedulable": True}, {}], FAST),
        ([{"unschedulable": True}, {"unschedulable": True}], {}),
    ],
    ids=["selected", "all"],
)
def test_nodes_that_somebody_closed(nodes: list[dict[str, Any]], pod_spec: dict[str, Any]) -> None:
    world = unplaced(*nodes, **pod_spec)
    assert faults(world) == ["node-cordoned"]
    assert found(world.snapshot(), "node-cordoned")[0].blames == ()


def test_a_cordon_of_nodes_that_are_not_selected_is_not_blamed() -> None:
    assert not found(unplaced({"unschedulable": True}, {}, **FAST).snapshot(), "node-cordoned")


def test_a_control_plane_that_is_tainted_by_its_role_is_no_candidate() -> None:
    world = without_node(
        scheduling("3 node(s) were unschedulable", "1 node(s) had untolerated taint {node-role.kubernetes.io/x: }")
    )
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""}, taints=[taint])
    for name in "abc":
        world.node(f"node-{name}", unschedulable=True)
    assert found(world.snapshot(), "node-cordoned")
