"""`cluster-dns`: many cannot look up names of services that exist."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import NAMESPACE, World, found


def test_names_that_many_cannot_look_up_are_the_name_services_fault() -> None:
    world = World()
    for name in ("oven", "shop", "till"):
        world.deployment(name)
        world.service(name)
    for name in ("oven", "shop"):
        world.log(name, "dial tcp: lookup till: no such host")
    assert not found(world.snapshot(), "cluster-dns")
    world.log("till", "java.net.UnknownHostException: shop")
    assert found(world.snapshot(), "cluster-dns")[0].object == Ref("Namespace", NAMESPACE)


def test_names_that_are_nobodys_are_not_the_name_services_fault() -> None:
    world = World()
    for name in ("oven", "shop", "till"):
        world.deployment(name)
        world.service(name)
        world.log(name, "dial tcp: lookup nowhere.test: no such host")
    assert not found(world.snapshot(), "cluster-dns")
