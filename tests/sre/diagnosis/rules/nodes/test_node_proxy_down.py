"""`node-proxy-down`: the host says so."""

from __future__ import annotations

from tests.sre.diagnosis.rules.nodes.worlds import NODE, hosted
from tests.sre.diagnosis.worlds import found


def test_a_host_that_says_that_its_proxy_is_down() -> None:
    assert found(hosted("kube-proxy", is_active=False).snapshot(), "node-proxy-down")[0].object == NODE
    assert not found(hosted("kube-proxy", is_active=True).snapshot(), "node-proxy-down")
