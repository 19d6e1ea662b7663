"""`quota-memory`: the namespace may not ask for more memory."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.quotas.worlds import exceeding, faults
from tests.sre.diagnosis.worlds import NAMESPACE, found


@pytest.mark.parametrize("requested", ["requests.memory=1Gi", "limits.memory=1Gi"])
def test_pods_that_are_refused_for_their_memory(requested: str) -> None:
    assert faults(exceeding(requested)) == ["quota-memory"]
    assert found(exceeding(requested).snapshot(), "quota-memory")[0].object == Ref("Namespace", NAMESPACE)


def test_pods_that_exist_were_not_refused() -> None:
    assert not found(exceeding("requests.memory=1Gi", ready=1).snapshot(), "quota-memory")
