"""`ingress-certificate`: the secret with the certificate is not among the recorded ones."""

from __future__ import annotations

from tests.sre.diagnosis.rules.ingress.worlds import ingress
from tests.sre.diagnosis.worlds import found


def test_a_certificate_that_is_not_there() -> None:
    world = ingress(tls=[{"secretName": "shop-tls"}])
    assert not found(world.snapshot(), "ingress-certificate")  # No secret was recorded at all.
    world.add("Secret", "other", {})
    assert found(world.snapshot(), "ingress-certificate")
    world.add("Secret", "shop-tls", {})
    assert not found(world.snapshot(), "ingress-certificate")
