"""Autoscalers, disruption budgets, jobs, cron jobs, admission."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.rules.jobs.cron_schedule import is_schedule
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found


def scaled(*conditions: dict[str, str], target: str = "till", current: int = 2, most: int = 4, **box: Any) -> World:
    world = World()
    world.deployment("till", containers=[container(**box)])
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "maxReplicas": most}
    status = {"conditions": list(conditions), "currentReplicas": current}
    world.add("HorizontalPodAutoscaler", "till", {"spec": spec, "status": status})
    return world


IDLE = {
    "type": "ScalingActive",
    "status": "False",
    "reason": "FailedGetResourceMetric",
    "message": "missing request for cpu",
}
FULL = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more than the maximum"}
ASKING = {"resources": {"requests": {"cpu": "100m"}}}


def test_an_autoscaler_whose_target_is_not_there() -> None:
    assert found(scaled(target="tll").snapshot(), "autoscaler-target")[0].blames[0].path == "spec.scaleTargetRef"
    assert not found(scaled().snapshot(), "autoscaler-target")


def test_an_autoscaler_of_containers_that_ask_for_nothing() -> None:
    finding = found(scaled(IDLE).snapshot(), "autoscaler-metrics")[0]
    assert finding.confidence == 0.9
    assert any(field.path.endswith("resources.requests") for field in finding.blames)
    assert found(scaled(IDLE, **ASKING).snapshot(), "autoscaler-metrics")[0].confidence == 0.75
    assert not found(scaled().snapshot(), "autoscaler-metrics")


def test_an_autoscaler_that_may_not_scale_further() -> None:
    assert found(scaled(FULL, current=4).snapshot(), "autoscaler-limit")
    assert not found(scaled(FULL, current=2).snapshot(), "autoscaler-limit")


def guarded(*, allowed: int = 0, ready: int = 2) -> World:
    world = World()
    world.deployment("till", replicas=2, ready=ready)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "till"}}}
    world.add("PodDisruptionBudget", "till", {"spec": spec, "status": {"disruptionsAllowed": allowed}})
    return world


def test_a_budget_that_lets_no_pod_go_although_all_are_ready() -> None:
    assert found(guarded().snapshot(), "disruption-budget")[0].confidence == 0.35
    world = guarded()
    world.event(
        Ref("Node", "node-a"), "FailedDrain", "Cannot evict pod: it would violate the pod's disruption budget till"
    )
    assert found(world.snapshot(), "disruption-budget")[0].confidence == 0.85


def test_a_budget_of_pods_that_are_down_or_that_may_go_is_not_blamed() -> None:
    assert not found(guarded(ready=1).snapshot(), "disruption-budget")
    assert not found(guarded(allowed=1).snapshot(), "disruption-budget")


def job(world: World, name: str, *, failed: bool, start: str) -> None:
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    status = {"startTime": start, **({"conditions": [condition]} if failed else {"succeeded": 1})}
    ref = world.add("Job", name, {"status": status}, declared=False)
    owner = [{"kind": "CronJob", "name": "count"}]
    world.live[ref] = {**world.live[ref], "metadata": {"name": name, "ownerReferences": owner}}


def test_a_job_that_gave_up_is_told_until_a_later_one_succeeds() -> None:
    world = World()
    world.add("CronJob", "count", {"spec": {"schedule": "0 3 * * *"}})
    job(world, "count-1", failed=True, start="2026-01-01T03:00:00Z")
    assert found(world.snapshot(), "job-failed")[0].object == Ref("Job", "count-1")
    job(world, "count-2", failed=False, start="2026-01-02T03:00:00Z")
    assert not found(world.snapshot(), "job-failed")


@pytest.mark.parametrize(
    "text", ["0 3 * * *", "*/5 * * * *", "0 0 1,15 * MON-FRI", "@hourly", "CRON_TZ=Europe/Rome 0 6 * * *", "@every 5m"]
)
def test_a_schedule_is_one(text: str) -> None:
    assert is_schedule(text)


@pytest.mark.parametrize("text", ["", "0 3 * *", "61 3 * * *", "0 25 * * *", "every day", "* * * * * *", "@sometimes"])
def test_what_is_no_schedule_is_none(text: str) -> None:
    assert not is_schedule(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading_of_a_schedule(text: str) -> None:
    assert is_schedule(text) in (True, False)


def cron(
    schedule: str = "0 3 * * *", *, suspend: bool = False, wanted: bool = False, deadline: int | None = None
) -> World:
    world = World()
    spec: dict[str, Any] = {"schedule": schedule, **({"startingDeadlineSeconds": deadline} if deadline else {})}
    ref = world.add("CronJob", "count", {"spec": {**spec, "suspend": wanted}})
    world.live[ref] = {**world.live[ref], "spec": {**spec, "suspend": suspend}}
    return world


def test_a_cron_job_with_no_schedule() -> None:
    assert found(cron("0 3 * *").snapshot(), "cron-schedule")
    assert not found(cron().snapshot(), "cron-schedule")


def test_a_cron_job_that_is_suspended_against_its_manifest_is_told_with_certainty() -> None:
    assert found(cron(suspend=True).snapshot(), "cron-suspended")[0].confidence == 0.85
    assert found(cron(suspend=True, wanted=True).snapshot(), "cron-suspended")[0].confidence == 0.4
    assert not found(cron().snapshot(), "cron-suspended")


def test_a_deadline_that_is_shorter_than_the_controllers_pace_and_missed() -> None:
    world = cron(deadline=5)
    assert not found(world.snapshot(), "cron-deadline")
    world.event(Ref("CronJob", "count"), "MissSchedule", "Missed scheduled time to start a job")
    assert found(world.snapshot(), "cron-deadline")


def refused(message: str, *, pods: int = 0) -> World:
    world = World()
    world.deployment("till", ready=0, pods=pods)
    world.event(Ref("ReplicaSet", "till-1"), "FailedCreate", message)
    return world


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("webhook-away", 'Internal error: failed calling webhook "check.test": connect: connection refused'),
        ("webhook-denied", 'admission webhook "check.test" denied the request: no owner label'),
        ("webhook-denied", 'pods "till-1-x" is forbidden: violates PodSecurity "restricted:latest": privileged'),
        ("quota-unspecified", 'pods "till-1-x" is forbidden: failed quota: all: must specify limits.cpu for: app'),
    ],
)
def test_what_keeps_pods_from_being_created(rule: str, message: str) -> None:
    assert found(refused(message).snapshot(), rule)[0].object == Ref("Deployment", "till")
    assert not found(refused(message, pods=1).snapshot(), rule)


def test_a_webhook_that_is_away_is_named_with_its_service() -> None:
    world = refused('failed calling webhook "check.test": context deadline exceeded')
    hook = {"name": "check.test", "failurePolicy": "Fail", "clientConfig": {"service": {"name": "guard"}}}
    world.add("ValidatingWebhookConfiguration", "checks", {"webhooks": [hook]})
    texts = [item.text for item in found(world.snapshot(), "webhook-away")[0].evidence]
    assert "calls service guard, failure policy Fail" in texts


def test_a_quota_that_is_full_tells_where_no_event_does() -> None:
    world = World()
    world.deployment("till", ready=0, pods=0)
    world.add("ResourceQuota", "all", {"status": {"used": {"pods": "5"}, "hard": {"pods": "5"}}})
    assert found(world.snapshot(), "quota-pods")[0].confidence == 0.8
    world.add("ResourceQuota", "all", {"status": {"used": {"pods": "4"}, "hard": {"pods": "5"}}})
    assert not found(world.snapshot(), "quota-pods")


def test_a_quota_of_one_storage_class_that_is_used_up() -> None:
    world = World()
    claim = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    world.add("PersistentVolumeClaim", "till-data", claim, live=False)
    key = "fast.storageclass.storage.k8s.io/requests.storage"
    world.add("ResourceQuota", "all", {"status": {"used": {key: "6Gi"}, "hard": {key: "10Gi"}}})
    assert found(world.snapshot(), "quota-storage")
    world.add("ResourceQuota", "all", {"status": {"used": {key: "5Gi"}, "hard": {key: "10Gi"}}})
    assert not found(world.snapshot(), "quota-storage")


def test_an_absent_account_tells_where_no_event_does() -> None:
    world = World()
    world.deployment("till", ready=0, pods=0, serviceAccountName="till-reader")
    world.add("ServiceAccount", "tills-reader", {})
    finding = found(world.snapshot(), "service-account-missing")[0]
    assert (finding.confidence, finding.remedy[0].after) == (0.85, "tills-reader")


def test_an_account_is_not_missed_by_a_workload_that_has_its_pods() -> None:
    world = World()
    world.deployment("till", ready=0, serviceAccountName="till")
    world.event(Ref("ReplicaSet", "till-1"), "FailedCreate", 'serviceaccount "till" not found')
    assert not found(world.snapshot(), "service-account-missing")
