"""`resolver`: the pod has a name resolution of its own, and trouble with names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sre.diagnosis.worlds import World, found


@pytest.mark.parametrize("in_trouble", [True, False])
def test_a_name_server_of_ones_own_counts_only_with_trouble(in_trouble: bool) -> None:
    world = World()
    world.deployment("oven", dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"]})
    if in_trouble:
        world.log("oven", "java.net.UnknownHostException: flour")
    findings = found(world.snapshot(), "resolver")
    assert bool(findings) == in_trouble
    if in_trouble:
        assert {change.path for change in findings[0].remedy} == {
            "spec.template.spec.dnsPolicy",
            "spec.template.spec.dnsConfig.nameservers[0]",
        }


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


def test_the_clusters_name_server_is_no_fault() -> None:
    world = World()
    world.deployment("oven", dnsPolicy="ClusterFirst")
    world.log("oven", "java.net.UnknownHostException: flour")
    assert not found(world.snapshot(), "resolver")
