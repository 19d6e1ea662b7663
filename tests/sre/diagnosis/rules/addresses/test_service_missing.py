"""`service-missing`: a declared service is absent, and others miss it."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def test_a_declared_service_that_is_gone_and_called() -> None:
    world = World()
    world.deployment("till")
    world.service("other")
    world.service("till", live=False, addresses=())
    assert not found(world.snapshot(), "service-missing")
    world.calls["shop"] = ("till",)
    assert found(world.snapshot(), "service-missing")[0].confidence == 0.4
    world.connect("till", reached=False)
    finding = found(world.snapshot(), "service-missing")[0]
    assert (finding.object, finding.confidence) == (Ref("Service", "till"), 0.9)
    world.probes.clear()
    world.connect("till", reached=True)
    assert not found(world.snapshot(), "service-missing")
