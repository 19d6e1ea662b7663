"""`pod-affinity`: the pods that this one must be near are on no node that takes it."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import found, without_node

MESSAGE = "0/4 nodes are available: 3 node(s) didn't match pod affinity rules."
AFFINITY = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}


def test_pods_that_must_be_near_others() -> None:
    finding = found(without_node(MESSAGE, affinity=AFFINITY).snapshot(), "pod-affinity")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert finding.blames == (Field(finding.object, "spec.template.spec.affinity.podAffinity"),)


def test_pods_that_need_nobody_are_not_held_back_by_it() -> None:
    assert not found(without_node(MESSAGE).snapshot(), "pod-affinity")
    assert not found(without_node("0/1 nodes: 1 Insufficient cpu", affinity=AFFINITY).snapshot(), "pod-affinity")
