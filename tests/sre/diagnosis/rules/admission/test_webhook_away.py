"""`webhook-away`: creating pods fails in the call of a webhook."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.admission.worlds import refused
from tests.sre.diagnosis.worlds import found

AWAY = 'Internal error: failed calling webhook "check.test": connect: connection refused'


def test_a_webhook_that_does_not_answer_keeps_pods_away() -> None:
    assert found(refused(AWAY).snapshot(), "webhook-away")[0].object == Ref("Deployment", "till")


def test_pods_that_exist_were_not_kept_away() -> None:
    assert not found(refused(AWAY, pods=1).snapshot(), "webhook-away")


def test_a_webhook_that_denies_is_not_away() -> None:
    assert not found(refused('admission webhook "check.test" denied the request').snapshot(), "webhook-away")


def test_a_webhook_that_is_away_is_named_with_its_service() -> None:
    world = refused('failed calling webhook "check.test": context deadline exceeded')
    hook = {"name": "check.test", "failurePolicy": "Fail", "clientConfig": {"service": {"name": "guard"}}}
    world.add("ValidatingWebhookConfiguration", "checks", {"webhooks": [hook]})
    texts = [item.text for item in found(world.snapshot(), "webhook-away")[0].evidence]
    assert "calls service guard, failure policy Fail" in texts
