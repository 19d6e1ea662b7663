"""`sidecar-port`: an annotation gives the sidecar a port that a container opens."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.worlds import World, found


def with_sidecar(port: int, line: str) -> World:
    world = World()
    world.deployment("oven", restarts=2, annotations={"mesh.test/config": f'{{ "statusPort": {port} }}'})
    world.log("oven", line)
    return world


def test_a_sidecar_on_the_applications_port() -> None:
    finding = found(with_sidecar(8000, "Port 8000 was already in use.").snapshot(), "sidecar-port")[0]
    path = "spec.template.metadata.annotations.mesh.test/config"
    assert finding.remedy == (Change("Deployment/oven", path, '{ "statusPort": 8000 }', None),)


def test_a_sidecar_on_a_port_of_its_own_or_without_trouble_is_no_fault() -> None:
    assert not found(with_sidecar(15020, "Port 8000 was already in use.").snapshot(), "sidecar-port")
    assert not found(with_sidecar(8000, "all is well").snapshot(), "sidecar-port")


def test_a_sidecar_annotation_that_is_nothing_but_the_port() -> None:
    world = World()
    world.deployment("till", ready=0, annotations={"status.sidecar.test/port": "8000"})
    assert found(world.snapshot(), "sidecar-port")
