"""`host-port-taken`: no node has the host port free."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import container, found, without_node

MESSAGE = "0/4 nodes are available: 3 node(s) didn't have free ports for the requested pod ports."


def test_a_port_of_the_host_that_is_taken_everywhere() -> None:
    box = container(ports=[{"containerPort": 80, "hostPort": 80}])
    finding = found(without_node(MESSAGE, containers=[box]).snapshot(), "host-port-taken")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert finding.blames == (Field(finding.object, "spec.template.spec.containers[app].ports"),)


def test_a_pod_without_a_port_of_the_host_takes_none() -> None:
    assert not found(without_node(MESSAGE).snapshot(), "host-port-taken")
