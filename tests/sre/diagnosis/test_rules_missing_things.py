"""Keys, claims, volumes, hosts, name services and nodes that are missing or away."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import NodeAgent, Ref
from tests.sre.diagnosis.worlds import NAMESPACE, World, container, found

TILL = Ref("Deployment", "till")


def held(reason: str, message: str = "", *, event: tuple[str, str] | None = None, **box: Any) -> World:
    world = World()
    state = {"waiting": {"reason": reason, "message": message}}
    world.deployment("till", ready=0, state=state, containers=[container(**box)])
    if event:
        world.event(world.pod("till"), *event)
    return world


KEYED = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "till-db", "key": "PASSWORT"}}}]}


def test_a_key_that_the_secret_does_not_have() -> None:
    world = held("CreateContainerConfigError", f"couldn't find key PASSWORT in Secret {NAMESPACE}/till-db", **KEYED)
    finding = found(world.snapshot(), "reference-key-missing")[0]
    assert Field(Ref("Secret", "till-db"), "data.PASSWORT") in finding.blames
    assert any(field.path.endswith("env[A].valueFrom.secretKeyRef.key") for field in finding.blames)
    assert not found(world.snapshot(), "reference-missing")


def test_an_object_that_the_kubelet_does_not_name_is_found_by_what_exists() -> None:
    world = held("CreateContainerConfigError", envFrom=[{"secretRef": {"name": "till-db"}}])
    assert not found(world.snapshot(), "reference-missing")  # No secret was recorded at all.
    world.add("Secret", "other", {})
    assert found(world.snapshot(), "reference-missing")[0].confidence == 0.85


def test_a_secret_that_may_be_absent_is_not_missed() -> None:
    source = [{"secretRef": {"name": "till-db", "optional": True}}]
    world = held("CreateContainerConfigError", 'secret "till-db" not found', envFrom=source)
    assert not found(world.snapshot(), "reference-missing")


def test_a_secret_that_a_volume_needs() -> None:
    world = World()
    volumes = [{"name": "tls", "secret": {"secretName": "till-tls"}}]
    world.deployment("till", ready=0, state={"waiting": {"reason": "ContainerCreating"}}, volumes=volumes)
    world.event(world.pod("till"), "FailedMount", 'MountVolume.SetUp failed: secret "till-tls" not found')
    finding = found(world.snapshot(), "reference-missing")[0]
    assert Field(TILL, "spec.template.spec.volumes[tls].secret.secretName") in finding.blames


def mounting(claim: str, *, ready: int = 0) -> World:
    world = World()
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    world.deployment("till", ready=ready, node=None, volumes=volumes)
    return world


def test_a_claim_that_is_not_there() -> None:
    world = mounting("till-dta")
    world.add("PersistentVolumeClaim", "till-data", {"spec": {}})
    finding = found(world.snapshot(), "claim-missing")[0]
    assert finding.blames[0].path == "spec.template.spec.volumes[data].persistentVolumeClaim.claimName"
    assert "nearly the name" in finding.evidence[-1].text
    assert not found(mounting("till-data", ready=1).snapshot(), "claim-missing")


def test_a_class_that_is_not_there_where_no_volume_is_to_be_compared_with() -> None:
    world = mounting("till-data")
    claim = world.add("PersistentVolumeClaim", "till-data", {"spec": {"storageClassName": "fast"}})
    world.event(claim, "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found')
    assert found(world.snapshot(), "claim-class-missing")[0].object == TILL
    world.add("StorageClass", "fast", {})
    assert not found(world.snapshot(), "claim-class-missing")


def test_a_volume_that_another_pod_holds_or_that_is_far() -> None:
    world = mounting("till-data")
    assert not found(world.snapshot(), "volume-held")
    world.event(world.pod("till"), "FailedAttachVolume", "Multi-Attach error for volume pv-1: in use by pod oven")
    world.event(world.pod("till"), "FailedScheduling", "0/1 nodes: 1 node(s) had volume node affinity conflict.")
    assert found(world.snapshot(), "volume-held")
    assert found(world.snapshot(), "volume-far")


def test_of_two_volumes_the_free_one_was_meant() -> None:
    """Somebody else's bound volume would fit but for being bound: that is no reason to blame the binding."""
    world = mounting("till-data")
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    world.add("PersistentVolumeClaim", "till-data", {"spec": spec, "status": {"phase": "Pending"}})
    offer = {"capacity": {"storage": "1Gi"}, "storageClassName": ""}
    world.add(
        "PersistentVolume", "a-taken", {"spec": {**offer, "accessModes": ["ReadWriteMany"], "claimRef": {"name": "x"}}}
    )
    world.add("PersistentVolume", "b-free", {"spec": {**offer, "accessModes": ["ReadWriteOnce"]}})
    assert found(world.snapshot(), "claim-access-mode")
    assert not found(world.snapshot(), "claim-occupied")


def test_a_host_of_the_database_that_is_no_service() -> None:
    world = World()
    world.service("vault-db", port=3306)
    for name, host in (("oven", "vault-db"), ("shop", "vault-db"), ("till", "vault-bd")):
        world.add("Secret", f"{name}-db", {"stringData": {"DB_HOST": host, "DB_PORT": "3306"}})
        box = container(envFrom=[{"secretRef": {"name": f"{name}-db"}}])
        world.deployment(name, containers=[box], ready=int(name != "till"))
    finding = found(world.snapshot(), "database-host")
    assert [item.object for item in finding] == [TILL]
    assert finding[0].blames == (Field(Ref("Secret", "till-db"), "stringData.DB_HOST"),)
    world.log("till", "Unknown host vault-bd")
    assert found(world.snapshot(), "database-host")[0].confidence == 0.93


def test_names_that_many_cannot_look_up_are_the_name_services_fault() -> None:
    world = World()
    for name in ("oven", "shop", "till"):
        world.deployment(name)
        world.service(name)
    for name in ("oven", "shop"):
        world.log(name, "dial tcp: lookup till: no such host")
    assert not found(world.snapshot(), "cluster-dns")
    world.log("till", "java.net.UnknownHostException: shop")
    assert found(world.snapshot(), "cluster-dns")[0].object == Ref("Namespace", NAMESPACE)


@pytest.mark.parametrize(
    ("policy", "line", "is_found"),
    [
        ({"dnsPolicy": "Default"}, "UnknownHostException: shop", True),
        ({"dnsPolicy": "Default"}, "", False),
        ({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}, "lookup shop: no such host", True),
        ({}, "lookup shop: no such host", False),
    ],
)
def test_a_name_resolution_of_ones_own_is_blamed_where_names_are_not_found(
    policy: dict[str, Any], line: str, is_found: bool
) -> None:
    world = World()
    world.deployment("till", ready=0, **policy)
    if line:
        world.log("till", line)
    assert bool(found(world.snapshot(), "resolver")) == is_found


def down(reason: str, message: str) -> World:
    world = World()
    condition = {"type": "Ready", "status": "Unknown", "reason": reason, "message": message}
    ref = world.node("node-a")
    world.live[ref] = {**world.live[ref], "status": {"conditions": [condition]}}
    return world


def test_the_clusters_own_words_tell_of_a_node_that_nobody_asked() -> None:
    stopped = down("NodeStatusUnknown", "Kubelet stopped posting node status.")
    assert found(stopped.snapshot(), "node-kubelet-down")[0].confidence == 0.85
    assert not found(stopped.snapshot(), "node-not-ready")
    runtime = down("KubeletNotReady", "container runtime is down, PLEG is not healthy")
    assert found(runtime.snapshot(), "node-container-runtime-down")
    assert found(down("KubeletNotReady", "out of sorts").snapshot(), "node-not-ready")
    stopped.agents.append(NodeAgent("node-a", "kubelet", True, "Active: active (running)"))
    assert not found(stopped.snapshot(), "node-kubelet-down")


def test_pods_that_no_scheduler_looks_at() -> None:
    world = World()
    world.deployment("till", ready=0, node=None)
    world.node("node-a")
    world.node("head", labels={"node-role.kubernetes.io/control-plane": ""})
    assert not found(world.snapshot(), "node-scheduler-down")  # No events were recorded at all.
    world.event(Ref("Deployment", "till"), "ScalingReplicaSet", "Scaled up replica set till-1")
    assert found(world.snapshot(), "node-scheduler-down")[0].object == Ref("Node", "head")


def test_a_node_under_pressure_that_puts_pods_out() -> None:
    world = World()
    ref = world.node("node-a")
    condition = {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}
    world.live[ref] = {**world.live[ref], "status": {"conditions": [condition]}}
    assert found(world.snapshot(), "node-pressure")[0].confidence == 0.7
    world.live[Ref("Pod", "gone")] = {"kind": "Pod", "spec": {"nodeName": "node-a"}, "status": {"reason": "Evicted"}}
    assert found(world.snapshot(), "node-pressure")[0].confidence == 0.9


@pytest.mark.parametrize("part", ["proxy", "scheduler"])
def test_a_program_that_the_host_says_is_down(part: str) -> None:
    world = World()
    world.agents.append(NodeAgent("node-a", f"kube-{part}", False, "Active: inactive (dead)"))
    assert found(world.snapshot(), f"node-{part}-down")[0].object == Ref("Node", "node-a")
