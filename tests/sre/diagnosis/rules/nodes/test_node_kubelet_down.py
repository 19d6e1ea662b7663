"""`node-kubelet-down`: the host says so, or the node stopped telling how it is."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import NodeAgent
from tests.sre.diagnosis.rules.nodes.worlds import NODE, RUNTIME, STOPPED, down, hosted
from tests.sre.diagnosis.worlds import found


def test_a_host_that_says_that_its_kubelet_is_down() -> None:
    finding = found(hosted("kubelet", is_active=False).snapshot(), "node-kubelet-down")[0]
    assert (finding.object, finding.confidence) == (NODE, 0.98)
    assert [item.source for item in finding.evidence] == ["kubelet on node node-a", "Node/node-a"]
    assert not found(hosted("kubelet", is_active=True).snapshot(), "node-kubelet-down")


def test_the_nodes_own_words_tell_where_nobody_asked_its_host() -> None:
    world = down(*STOPPED)
    assert found(world.snapshot(), "node-kubelet-down")[0].confidence == 0.85
    world.agents.append(NodeAgent("node-a", "kubelet", True, "Active: active (running)"))
    assert not found(world.snapshot(), "node-kubelet-down")


def test_what_the_container_runtime_does_is_not_the_kubelets_fault() -> None:
    assert not found(down(*RUNTIME).snapshot(), "node-kubelet-down")
