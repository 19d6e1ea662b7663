"""`environment-address`: a variable names a port or a host that leads to no service."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, calling, container, found


def addressed(value: str, *lines: str) -> World:
    world = World()
    world.deployment("shop", containers=[container(env=[{"name": "TILL_ADDR", "value": value}])])
    world.deployment("till")
    world.service("till", port=80)
    for line in lines:
        world.log("shop", line)
    return world


def test_an_address_with_a_port_that_the_service_does_not_offer() -> None:
    world = addressed("till:81", "dial tcp 10.1.1.1:81: connect: connection refused")
    finding = found(world.snapshot(), "environment-address")[0]
    path = "spec.template.spec.containers[app].env[TILL_ADDR].value"
    assert finding.remedy == (Change("Deployment/shop", path, "till:81", "till:80"),)
    silent = found(addressed("till:81").snapshot(), "environment-address")[0]
    assert silent.confidence < finding.confidence


def test_an_address_of_no_service_counts_only_where_the_log_complains() -> None:
    assert not found(addressed("tills:80").snapshot(), "environment-address")
    finding = found(
        addressed("tills:80", "lookup tills on 10.0.0.2:53: no such host").snapshot(), "environment-address"
    )[0]
    assert finding.remedy[0].after == "till:80"


def test_a_right_address_and_a_service_that_is_itself_missing_are_not_blamed() -> None:
    assert not found(addressed("till:80", "till:80 refused").snapshot(), "environment-address")
    world = addressed("till:80", "lookup till on 10.0.0.2:53: no such host")
    del world.live[Ref("Service", "till")]
    assert not found(world.snapshot(), "environment-address")


def test_a_misspelt_host_is_blamed_where_its_workload_is_down() -> None:
    world = calling("shop", address="tills:81")
    assert not found(world.snapshot(), "environment-address")
    world.live[Ref("Deployment", "shop")] = {**world.live[Ref("Deployment", "shop")], "status": {"readyReplicas": 0}}
    assert found(world.snapshot(), "environment-address")[0].remedy[0].after == "till:81"


def test_where_several_agree_the_service_is_wrong_and_not_they() -> None:
    assert not found(calling("shop", "oven", address="till:80").snapshot(), "environment-address")
    assert found(calling("shop", address="till:80").snapshot(), "environment-address")
