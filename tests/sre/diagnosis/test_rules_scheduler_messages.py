"""What the scheduler's message says, alone and beside the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.scheduling import Obstacle, Verdict, culprit, from_counts, reasons
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found

SELECTED = {"nodeSelector": {"disk": "fast"}}
AFFINE = {"affinity": {"nodeAffinity": {"required": 1}}}
TAIL = ". preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."


def message(*parts: str) -> str:
    return f"0/4 nodes are available: {', '.join(parts)}{TAIL}"


def test_reasons_are_counted_and_what_is_said_of_preemption_is_not() -> None:
    text = message("1 node(s) were unschedulable", "3 node(s) had untolerated taint {team: gold}")
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
    assert from_counts(message(*parts), spec) == obstacle


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


def pending(text: str | None, **spec: Any) -> World:
    world = World()
    world.deployment("till", ready=0, node=None, **spec)
    if text is not None:
        world.event(world.pod("till"), "FailedScheduling", text)
    return world


def test_a_message_of_what_was_asked_for_before_is_no_finding() -> None:
    world = pending(message("3 node(s) didn't match Pod's node affinity/selector"))
    world.node("node-a")
    assert not found(world.snapshot(), "node-selector")


def test_without_nodes_the_message_decides_and_without_a_message_the_nodes() -> None:
    told = pending(message("3 node(s) didn't match Pod's node affinity/selector"), nodeSelector={"disk": "fast"})
    assert found(told.snapshot(), "node-selector")[0].confidence == 0.95
    seen = pending(None, nodeSelector={"disk": "fast"})
    seen.node("node-a")
    assert found(seen.snapshot(), "node-selector")[0].confidence == 0.6


def test_a_control_plane_that_is_tainted_by_its_role_is_no_candidate() -> None:
    world = pending(
        message("3 node(s) were unschedulable", "1 node(s) had untolerated taint {node-role.kubernetes.io/x: }")
    )
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""}, taints=[taint])
    for name in "abc":
        world.node(f"node-{name}", unschedulable=True)
    assert found(world.snapshot(), "node-cordoned")


def test_an_affinity_to_a_nodes_name_is_judged() -> None:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-z"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    world = pending(message("1 node(s) didn't match Pod's node affinity/selector"), affinity={"nodeAffinity": required})
    node = world.node("node-a")
    world.live[node] = {**world.live[node], "metadata": {"name": "node-a"}}
    assert found(world.snapshot(), "node-affinity")


@pytest.mark.parametrize(
    ("rule", "sign", "spec"),
    [
        ("pod-affinity", "3 node(s) didn't match pod affinity rules", {"affinity": {"podAffinity": {"r": [1]}}}),
        (
            "pod-topology-spread",
            "3 node(s) didn't match pod topology spread constraints",
            {"topologySpreadConstraints": [{"maxSkew": 1}]},
        ),
        (
            "host-port-taken",
            "3 node(s) didn't have free ports for the requested pod ports",
            {"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]},
        ),
    ],
)
def test_other_pods_may_be_in_the_way(rule: str, sign: str, spec: Any) -> None:
    if "affinity" in spec:
        spec = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}}}
    assert found(pending(message(sign), **spec).snapshot(), rule)[0].object == Ref("Deployment", "till")
    assert not found(pending(message(sign)).snapshot(), rule)


def test_a_pod_to_avoid_on_every_open_node_tells_where_no_event_does() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "till"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    world = World()
    world.deployment("till", replicas=2, ready=1, affinity=affinity)
    ref = world.pod("till", 1)
    world.live[ref] = {**world.live[ref], "spec": {"containers": []}, "status": {"phase": "Pending"}}
    world.node("node-a")
    assert found(world.snapshot(), "pod-anti-affinity")[0].confidence == 0.7
    world.node("node-b")
    assert not found(world.snapshot(), "pod-anti-affinity")
