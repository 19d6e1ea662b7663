"""`network-policy`: policies admit none of a workload's callers, whose connections time out."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def shut(*callers: str, probe: str = "connection timed out") -> World:
    world = World()
    world.deployment("till")
    world.service("till")
    world.deployment("shop")
    world.calls["shop"] = ("till",)
    rules = [{"from": [{"podSelector": {"matchLabels": {"app": name}}} for name in callers]}]
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {"matchLabels": {"app": "till"}}, "ingress": rules}})
    world.connect("till", reached=False)
    world.probes[-1] = type(world.probes[-1])("till", 80, False, probe)
    return world


def test_a_policy_that_admits_no_caller_is_blamed_where_connections_time_out() -> None:
    assert found(shut("oven").snapshot(), "network-policy")[0].object == Ref("NetworkPolicy", "till")
    assert not found(shut("oven", "shop").snapshot(), "network-policy")
    assert not found(shut("oven", probe="connection refused").snapshot(), "network-policy")


def test_a_policy_that_selects_nobody_here_or_admits_all_is_not_blamed() -> None:
    world = shut("oven")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {"matchLabels": {"app": "x"}}, "ingress": []}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}, "ingress": [{}]}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}, "policyTypes": ["Egress"]}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}}})
    assert found(world.snapshot(), "network-policy")
