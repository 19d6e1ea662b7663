"""`ingress-class`: the ingress's class is not among the recorded ones."""

from __future__ import annotations

from tests.sre.diagnosis.rules.ingress.worlds import ingress
from tests.sre.diagnosis.worlds import found


def test_a_class_that_is_not_there() -> None:
    world = ingress(ingressClassName="nginxx")
    assert not found(world.snapshot(), "ingress-class")  # No class was recorded at all.
    world.add("IngressClass", "nginx", {})
    assert found(world.snapshot(), "ingress-class")
    world.add("IngressClass", "nginxx", {})
    assert not found(world.snapshot(), "ingress-class")
