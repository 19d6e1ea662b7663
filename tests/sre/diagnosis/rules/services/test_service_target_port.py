"""`service-target-port`: the service leads to a port that no ready pod behind it opens."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.worlds import World, container, found


def leading_to(target: int | str, *, reached: bool = False, ready: int = 1, port_name: str | None = None) -> World:
    world = World()
    box = container()
    if port_name:
        box = {**box, "ports": [{"containerPort": 8000, "name": port_name}]}
    world.deployment("till", containers=[box], ready=ready)
    world.service("till", target=target)
    world.connect("till", reached=reached)
    return world


def test_a_target_port_that_nobody_opens_becomes_the_only_open_one() -> None:
    finding = found(leading_to(8001).snapshot(), "service-target-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].targetPort", "8001", "8000"),)
    assert [field.path for field in finding.blames] == ["spec.ports[main].targetPort"]


def test_a_misspelt_port_name_blames_both_sides() -> None:
    finding = found(leading_to("htttp", port_name="http").snapshot(), "service-target-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].targetPort", "htttp", "http"),)
    assert "spec.template.spec.containers[app].ports" in {field.path for field in finding.blames}


@pytest.mark.parametrize(("target", "reached", "ready"), [(8000, False, 1), (8001, True, 1), (8001, False, 0)])
def test_target_ports_that_are_right_reached_or_before_unready_pods_are_not_blamed(
    target: int, reached: bool, ready: int
) -> None:
    assert not found(leading_to(target, reached=reached, ready=ready).snapshot(), "service-target-port")


def test_a_callers_complaint_tells_where_no_connection_was_tried() -> None:
    world = World()
    world.deployment("till")
    world.service("till", target=9)
    assert not found(world.snapshot(), "service-target-port")
    world.log("shop", "dial tcp till:80: connect: connection refused")
    assert found(world.snapshot(), "service-target-port")[0].confidence == 0.85
    world.connect("till", reached=True)
    assert not found(world.snapshot(), "service-target-port")
