"""`service-protocol`: the service's port has another protocol than the ready pods behind it."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.worlds import World, found


def serving(protocol: str | None, *, reached: bool) -> World:
    world = World()
    world.deployment("till")
    world.service("till", protocol=protocol)
    world.connect("till", reached=reached)
    return world


def test_a_protocol_that_the_container_does_not_speak() -> None:
    finding = found(serving("UDP", reached=False).snapshot(), "service-protocol")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].protocol", "UDP", None),)


def test_a_protocol_that_reaches_or_that_the_container_speaks_is_right() -> None:
    assert not found(serving("UDP", reached=True).snapshot(), "service-protocol")
    assert not found(serving(None, reached=False).snapshot(), "service-protocol")
