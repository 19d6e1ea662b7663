"""`webhook-denied`: a webhook or the pod security policy denies the creation of pods."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.admission.worlds import refused
from tests.sre.diagnosis.worlds import found

DENIALS = [
    'admission webhook "check.test" denied the request: no owner label',
    'pods "till-1-x" is forbidden: violates PodSecurity "restricted:latest": privileged',
]


@pytest.mark.parametrize("message", DENIALS)
def test_who_denies_keeps_pods_away(message: str) -> None:
    assert found(refused(message).snapshot(), "webhook-denied")[0].object == Ref("Deployment", "till")


@pytest.mark.parametrize("message", DENIALS)
def test_pods_that_exist_were_not_denied(message: str) -> None:
    assert not found(refused(message, pods=1).snapshot(), "webhook-denied")
