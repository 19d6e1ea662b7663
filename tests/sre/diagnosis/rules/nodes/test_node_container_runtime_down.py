"""`node-container-runtime-down`: the host says so, or the kubelet does."""

from __future__ import annotations

from tests.sre.diagnosis.rules.nodes.worlds import NODE, RUNTIME, STOPPED, down, hosted
from tests.sre.diagnosis.worlds import found


def test_a_host_that_says_that_its_container_runtime_is_down() -> None:
    finding = found(hosted("containerd", is_active=False).snapshot(), "node-container-runtime-down")[0]
    assert (finding.object, finding.confidence) == (NODE, 0.98)
    assert not found(hosted("containerd", is_active=True).snapshot(), "node-container-runtime-down")


def test_the_kubelets_words_tell_where_nobody_asked_the_host() -> None:
    assert found(down(*RUNTIME).snapshot(), "node-container-runtime-down")[0].confidence == 0.85
    assert not found(down(*STOPPED).snapshot(), "node-container-runtime-down")
