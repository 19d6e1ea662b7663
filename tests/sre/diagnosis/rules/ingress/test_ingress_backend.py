"""`ingress-backend`: a way in names a service that the cluster does not have."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.ingress.worlds import WAYS
from tests.sre.diagnosis.worlds import found


@pytest.mark.parametrize("kind", WAYS)
def test_a_way_in_to_a_service_that_is_not_there(kind: str) -> None:
    assert found(WAYS[kind]("tll", 80).snapshot(), "ingress-backend")[0].object == Ref(kind, "shop")
    assert not found(WAYS[kind]("till", 80).snapshot(), "ingress-backend")


def test_a_host_with_dots_is_another_namespaces() -> None:
    assert not found(WAYS["VirtualService"]("tll.other.svc", 80).snapshot(), "ingress-backend")
