"""`quota-unspecified`: a quota refuses pods that do not say what they ask for."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.admission.worlds import refused
from tests.sre.diagnosis.worlds import found

UNSPECIFIED = 'pods "till-1-x" is forbidden: failed quota: all: must specify limits.cpu for: app'


def test_a_quota_takes_no_pods_that_do_not_say_what_they_ask_for() -> None:
    finding = found(refused(UNSPECIFIED).snapshot(), "quota-unspecified")[0]
    assert finding.object == Ref("Deployment", "till")
    assert "limits.cpu for: app" in finding.evidence[-1].text


def test_pods_that_exist_were_not_refused() -> None:
    assert not found(refused(UNSPECIFIED, pods=1).snapshot(), "quota-unspecified")


def test_a_quota_that_is_used_up_is_another_matter() -> None:
    assert not found(refused("exceeded quota: all, requested: pods=1").snapshot(), "quota-unspecified")
