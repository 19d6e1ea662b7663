"""`ingress-port`: a way in names a port that its service does not offer."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.ingress.worlds import WAYS, ingress
from tests.sre.diagnosis.worlds import found


@pytest.mark.parametrize("kind", WAYS)
def test_a_way_in_to_a_port_that_is_not_there(kind: str) -> None:
    assert found(WAYS[kind]("till", 81).snapshot(), "ingress-port")[0].object == Ref(kind, "shop")
    assert not found(WAYS[kind]("till", 80).snapshot(), "ingress-port")


def test_a_port_may_be_named() -> None:
    assert not found(ingress("till", {"name": "main"}).snapshot(), "ingress-port")
    assert found(ingress("till", {"name": "mian"}).snapshot(), "ingress-port")


def test_the_ports_of_a_service_that_is_not_there_are_not_blamed() -> None:
    assert not found(ingress("tll", {"number": 81}).snapshot(), "ingress-port")
