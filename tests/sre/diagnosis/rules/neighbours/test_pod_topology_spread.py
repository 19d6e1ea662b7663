"""`pod-topology-spread`: pods may not be spread as unevenly as the nodes make necessary."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import found, without_node

MESSAGE = "0/4 nodes are available: 3 node(s) didn't match pod topology spread constraints."
SPREAD = [{"maxSkew": 1, "topologyKey": "zone"}]


def test_pods_that_must_be_spread_evenly() -> None:
    finding = found(without_node(MESSAGE, topologySpreadConstraints=SPREAD).snapshot(), "pod-topology-spread")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert finding.blames == (Field(finding.object, "spec.template.spec.topologySpreadConstraints"),)


def test_pods_that_may_be_anywhere_are_not_held_back_by_it() -> None:
    assert not found(without_node(MESSAGE).snapshot(), "pod-topology-spread")
