"""`container-port-shared`: two containers of one pod open the same port."""

from __future__ import annotations

from tests.sre.diagnosis.worlds import World, container, found


def test_two_containers_of_a_pod_that_open_the_same_port() -> None:
    world = World()
    world.deployment("till", ready=0, containers=[container("app"), container("proxy")])
    assert found(world.snapshot(), "container-port-shared")[0].confidence == 0.7
    world.log("till", "listen tcp :8000: bind: address already in use")
    assert found(world.snapshot(), "container-port-shared")[0].confidence == 0.95


def test_containers_with_ports_of_their_own_or_without_trouble_are_no_fault() -> None:
    world = World()
    world.deployment("till", ready=0, containers=[container("app"), container("proxy", port=8001)])
    world.deployment("oven", containers=[container("app"), container("proxy")])
    assert not found(world.snapshot(), "container-port-shared")
