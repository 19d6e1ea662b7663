"""`pod-anti-affinity`: pods keep apart from each other on more nodes than there are."""

from __future__ import annotations

from typing import Any

from tests.sre.diagnosis.worlds import World, found, without_node

MESSAGE = "0/1 nodes: didn't match pod anti-affinity rules"
TERM = {"labelSelector": {"matchLabels": {"app": "till"}}, "topologyKey": "kubernetes.io/hostname"}


def apart(key: str) -> dict[str, Any]:
    return {"podAntiAffinity": {key: [TERM]}}


def test_pods_that_must_keep_apart() -> None:
    affinity = apart("requiredDuringSchedulingIgnoredDuringExecution")
    finding = found(without_node(MESSAGE, affinity=affinity).snapshot(), "pod-anti-affinity")[0]
    assert finding.confidence == 0.95
    paths = ["spec.template.spec.affinity.podAntiAffinity", "spec.replicas"]
    assert [field.path for field in finding.blames] == paths


def test_pods_that_would_rather_keep_apart_are_not_kept_apart() -> None:
    affinity = apart("preferredDuringSchedulingIgnoredDuringExecution")
    assert not found(without_node(MESSAGE, affinity=affinity).snapshot(), "pod-anti-affinity")


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
