"""Why a pod finds no node: by the scheduler's message, and by the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.scheduling import Obstacle, Verdict, culprit, from_counts, is_selected, judge, reasons
from tests.sre.diagnosis.worlds import GPU_TAINT, World, scheduling

SELECTED = {"nodeSelector": {"disk": "fast"}}
AFFINE = {"affinity": {"nodeAffinity": {"required": 1}}}


def test_reasons_are_counted_and_what_is_said_of_preemption_is_not() -> None:
    text = scheduling("1 node(s) were unschedulable", "3 node(s) had untolerated taint {team: gold}")
    assert reasons(text) == {"were unschedulable": 1, "had untolerated taint {team: gold}": 3}
    assert reasons("something else") == {}


@pytest.mark.parametrize(
    ("parts", "spec", "obstacle"),
    [
        (("4 node(s) were unschedulable",), {}, "cordon"),
        (("2 node(s) didn't match Pod's node affinity/selector", "2 node(s) were unschedulable"), SELECTED, "cordon"),
        (
            ("3 node(s) didn't match Pod's node affinity/selector", "1 node(s) were unschedulable"),
            SELECTED,
            "node-selector",
        ),
        (
            ("3 node(s) didn't match Pod's node affinity/selector", "1 node(s) were unschedulable"),
            AFFINE,
            "node-affinity",
        ),
        (("1 node(s) were unschedulable", "3 node(s) had untolerated taint {team: gold}"), {}, "taint"),
        (
            (
                "1 node(s) had untolerated taint {team: gold}",
                "1 node(s) were unschedulable",
                "2 node(s) didn't match Pod's node affinity/selector",
            ),
            SELECTED,
            "taint",
        ),
        (("1 node(s) were unschedulable", "3 Insufficient cpu"), {}, "cpu"),
        (("1 Insufficient memory", "3 node(s) didn't match Pod's node affinity/selector"), SELECTED, "memory"),
        (("1 node(s) were unschedulable", "3 node(s) didn't match pod anti-affinity rules"), {}, None),
        (
            (
                "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }",
                "3 node(s) didn't match Pod's node affinity/selector",
            ),
            SELECTED,
            "node-selector",
        ),
    ],
)
def test_the_counts_alone_tell_the_constraint(parts: tuple[str, ...], spec: Any, obstacle: Obstacle | None) -> None:
    assert from_counts(scheduling(*parts), spec) == obstacle


def closed(*obstacles: tuple[Obstacle, ...]) -> list[Verdict]:
    return [Verdict(f"node-{index}", item) for index, item in enumerate(obstacles)]


def test_what_closes_most_of_the_nodes_is_blamed() -> None:
    assert culprit(closed(("cordon",), ("cordon",), ("taint",))) == "cordon"
    assert culprit(closed(("cordon",), ("taint",), ("taint",))) == "taint"


def test_a_request_that_no_node_could_give_comes_before_one_for_which_there_is_no_room() -> None:
    verdicts = [
        Verdict("node-a", ("cpu", "memory"), {"memory": 12.0}),
        Verdict("node-b", ("cpu", "memory"), {"memory": 6.0}),
    ]
    assert culprit(verdicts) == "memory"


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        ("In", ["a"], {"k": "a"}, True),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {}, True),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("Exists", [], {"k": ""}, True),
        ("DoesNotExist", [], {"k": ""}, False),
        ("Gt", ["3"], {"k": "4"}, True),
        ("Lt", ["3"], {"k": "4"}, False),
        ("Gt", ["3"], {"k": "x"}, False),
        ("Unheard", ["3"], {"k": "3"}, False),
    ],
)
def test_match_expressions_mean_what_the_api_says(
    operator: str, values: list[str], labels: dict[str, str], expected: bool
) -> None:
    assert is_selected({"key": "k", "operator": operator, "values": values}, labels) == expected


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "operator": "Equal", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "fpga", "operator": "Exists"}, False),
    ],
)
def test_tolerations_mean_what_the_api_says(toleration: dict[str, str], fits: bool) -> None:
    world = World()
    ref = world.deployment("oven", tolerations=[toleration])
    world.node("node-0", **GPU_TAINT)
    assert (culprit(judge(world.snapshot(), ref)) is None) == fits
