"""Rules about pods that find no node, claims that find no volume, quotas and nodes."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.findings import ANY_ABSENT, Field
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.diagnosis.scheduling import culprit, is_selected, judge
from holdfast_sre.evidence.snapshot import NodeAgent, Ref
from tests.sre.diagnosis.worlds import NAMESPACE, World, container, found

PLACEMENT = [
    "node-selector",
    "node-affinity",
    "node-cordoned",
    "node-taint",
    "cpu-request-too-large",
    "memory-request-too-large",
    "pod-anti-affinity",
]
SIGNS = (
    "1 node(s) were unschedulable, 1 didn't match Pod's node affinity/selector, 1 had untolerated taint {x: y}, "
    "Insufficient cpu, Insufficient memory, didn't match pod anti-affinity rules"
)


def waiting(message: str = f"0/3 nodes are available: {SIGNS}", *, node: str | None = None, **spec: Any) -> World:
    world = World()
    world.deployment("oven", ready=0 if node is None else 1, node=node, **spec)
    world.event(world.pod("oven"), "FailedScheduling", message)
    return world


def affinity(key: str, operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def placement_faults(world: World) -> list[str]:
    return [rule for rule in PLACEMENT if found(world.snapshot(), rule)]


TAINT: dict[str, Any] = {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("spec", "nodes", "fault"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, [{}, {}], "node-selector"),
        ({"nodeSelector": {"disk": "ssd"}}, [{"labels": {"disk": "ssd"}, "unschedulable": True}, {}], "node-cordoned"),
        ({"nodeSelector": {"disk": "ssd"}}, [{"labels": {"disk": "ssd"}, **TAINT}, {}], "node-taint"),
        ({"affinity": affinity("zone", "In", "a")}, [{"labels": {"zone": "b"}}, {}], "node-affinity"),
        ({}, [{"unschedulable": True}, {"unschedulable": True}], "node-cordoned"),
        ({}, [TAINT, TAINT], "node-taint"),
        ({"containers": [container(resources={"requests": {"cpu": "9"}})]}, [{}, {}], "cpu-request-too-large"),
        ({"containers": [container(resources={"requests": {"memory": "9Gi"}})]}, [{}, {}], "memory-request-too-large"),
    ],
)
def test_the_sieve_that_lets_no_node_through_is_the_cause(
    spec: dict[str, Any], nodes: list[dict[str, Any]], fault: str
) -> None:
    world = waiting(**spec)
    for index, node in enumerate(nodes):
        world.node(f"node-{index}", **node)
    assert placement_faults(world) == [fault]


def test_a_closed_control_plane_is_no_candidate() -> None:
    world = waiting(affinity=affinity("state", "NotIn", "resting"))
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""}, unschedulable=True)
    world.node("node-0", labels={"state": "resting"})
    assert placement_faults(world) == ["node-affinity"]


def test_a_taint_that_the_control_plane_set_is_only_a_symptom() -> None:
    world = waiting("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }")
    world.node("node-0", taints=[{"key": "node.kubernetes.io/unreachable", "value": "", "effect": "NoSchedule"}])
    assert found(world.snapshot(), "node-taint")[0].confidence < 0.5


def test_a_pod_that_was_placed_since_has_no_fault() -> None:
    world = waiting(node="node-0", nodeSelector={"disk": "ssd"})
    world.node("node-0")
    assert placement_faults(world) == []


def test_a_pod_that_would_fit_by_now_has_no_fault() -> None:
    world = waiting(nodeSelector={"disk": "ssd"})
    world.node("node-0", labels={"disk": "ssd"})
    assert placement_faults(world) == []


@pytest.mark.parametrize("is_required", [True, False])
def test_pods_that_must_keep_apart(is_required: bool) -> None:
    key = "requiredDuringSchedulingIgnoredDuringExecution" if is_required else "preferredDuringScheduling"
    apart = {"podAntiAffinity": {key: [{"topologyKey": "host"}]}}
    world = waiting("0/1 nodes: didn't match pod anti-affinity rules", affinity=apart)
    world.node("node-0")
    assert placement_faults(world) == (["pod-anti-affinity"] if is_required else [])


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
    world.node("node-0", **TAINT)
    assert (culprit(judge(world.snapshot(), ref)) is None) == fits


def claiming(
    claim: dict[str, Any], volume: dict[str, Any], *, phase: str = "Pending", bound: str | None = None
) -> World:
    world = World()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "flour"}}]
    world.deployment("oven", ready=0, node=None, volumes=volumes)
    spec = {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim_ref = world.add("PersistentVolumeClaim", "flour", {"spec": {**spec, **claim}})
    world.live[claim_ref] = {**world.live[claim_ref], "status": {"phase": phase}}
    offered = {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    volume_ref = world.add("PersistentVolume", "sack", {"spec": {**offered, **volume}}, declared=bound is None)
    if bound:
        world.live[volume_ref]["spec"]["claimRef"] = {"name": bound}
    return world


CLAIMS = ["claim-class", "claim-selector", "claim-access-mode", "claim-capacity", "claim-occupied"]


def claim_faults(world: World) -> list[str]:
    return [rule for rule in CLAIMS if found(world.snapshot(), rule)]


@pytest.mark.parametrize(
    ("claim", "volume", "fault"),
    [
        ({"storageClassName": "fast"}, {}, "claim-class"),
        ({"selector": {"matchLabels": {"tier": "dry"}}}, {}, "claim-selector"),
        ({"accessModes": ["ReadWriteMany"]}, {}, "claim-access-mode"),
        ({"resources": {"requests": {"storage": "2Gi"}}}, {}, "claim-capacity"),
    ],
)
def test_a_claim_is_compared_with_the_closest_volume(claim: dict[str, Any], volume: dict[str, Any], fault: str) -> None:
    world = claiming(claim, volume)
    assert claim_faults(world) == [fault]
    finding = found(world.snapshot(), fault)[0]
    assert finding.object == Ref("Deployment", "oven")
    assert {field.object.kind for field in finding.blames} == {"PersistentVolumeClaim", "PersistentVolume"}


def test_a_volume_bound_to_another_claim_asks_for_the_volume_that_is_missing() -> None:
    world = claiming({}, {}, bound="sugar")
    assert claim_faults(world) == ["claim-occupied"]
    assert Field(Ref("PersistentVolume", ANY_ABSENT), "") in found(world.snapshot(), "claim-occupied")[0].blames


def test_a_claim_that_would_fit_or_is_bound_has_no_fault() -> None:
    assert claim_faults(claiming({}, {})) == []
    assert claim_faults(claiming({"storageClassName": "fast"}, {}, phase="Bound")) == []


@pytest.mark.parametrize(
    ("line", "ready", "is_fault"), [("Permission denied", 0, True), ("Permission denied", 1, False), ("fine", 0, False)]
)
def test_a_process_that_may_not_read_its_volume(line: str, ready: int, is_fault: bool) -> None:
    world = World()
    world.deployment("oven", containers=[container(volumeMounts=[{"name": "data", "mountPath": "/d"}])], ready=ready)
    world.log("oven", f"cannot open /d/file: {line}")
    assert bool(found(world.snapshot(), "volume-permission")) == is_fault


@pytest.mark.parametrize(
    ("requested", "rule"),
    [("requests.cpu=1", "quota-cpu"), ("limits.memory=1Gi", "quota-memory"), ("pods=1", "quota-pods")],
)
@pytest.mark.parametrize("ready", [0, 1])
def test_a_quota_that_refuses_pods(requested: str, rule: str, ready: int) -> None:
    world = World()
    world.deployment("oven", ready=ready, pods=ready)
    message = f'pods "oven-1-x" is forbidden: exceeded quota: q, requested: {requested}, used: a, limited: b'
    world.event(Ref("ReplicaSet", "oven-1"), "FailedCreate", message)
    rules = [candidate.id for candidate in CATALOGUE if candidate.id.startswith("quota-")]
    assert [name for name in rules if found(world.snapshot(), name)] == ([rule] if ready == 0 else [])


@pytest.mark.parametrize(("used", "exists", "is_fault"), [("2", False, True), ("1", False, False), ("2", True, False)])
def test_a_quota_that_keeps_a_service_away(used: str, exists: bool, is_fault: bool) -> None:
    world = World()
    world.service("till", live=exists)
    quota = {"status": {"used": {"services": used}, "hard": {"services": "2"}}}
    world.add("ResourceQuota", "limits", quota, declared=False)
    findings = found(world.snapshot(), "quota-services")
    assert [finding.object for finding in findings] == ([Ref("Namespace", NAMESPACE)] if is_fault else [])


@pytest.mark.parametrize(("size", "is_fault"), [("2Gi", True), ("1Gi", False)])
def test_a_quota_for_storage_is_compared_with_the_size_of_the_claim(size: str, is_fault: bool) -> None:
    world = World()
    spec = {"spec": {"resources": {"requests": {"storage": size}}}}
    world.add("PersistentVolumeClaim", "flour", spec, live=False)
    quota = {"status": {"used": {"requests.storage": "9Gi"}, "hard": {"requests.storage": "10Gi"}}}
    world.add("ResourceQuota", "limits", quota, declared=False)
    assert bool(found(world.snapshot(), "quota-storage")) == is_fault


@pytest.mark.parametrize(
    ("agent", "rule"),
    [
        ("kubelet", "node-kubelet-down"),
        ("containerd", "node-container-runtime-down"),
        ("kube-proxy", "node-proxy-down"),
        ("kube-scheduler", "node-scheduler-down"),
    ],
)
@pytest.mark.parametrize("is_active", [True, False])
def test_a_program_of_the_host_that_is_down(agent: str, rule: str, is_active: bool) -> None:
    world = World()
    world.node("node-0", ready="True" if is_active else "Unknown")
    world.agents.append(NodeAgent("node-0", agent, is_active, "Active: inactive (dead)"))
    findings = found(world.snapshot(), rule)
    assert [finding.object for finding in findings] == ([] if is_active else [Ref("Node", "node-0")])
    assert not found(world.snapshot(), "node-not-ready")  # What is known about the host says more.


@pytest.mark.parametrize("ready", ["True", "False", "Unknown"])
def test_a_node_that_is_not_ready_where_nothing_is_known_about_the_host(ready: str) -> None:
    world = World()
    world.node("node-0", ready=ready)
    assert bool(found(world.snapshot(), "node-not-ready")) == (ready != "True")
