"""`service-account-missing`: pods are not created for want of an account that is still absent."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def without_account(name: str = "bakehouses", *, ready: int = 0) -> World:
    world = World()
    world.deployment("oven", ready=ready, pods=ready, serviceAccountName=name)
    world.add("ServiceAccount", "bakehouse", {})
    message = f'error looking up service account bakery/{name}: serviceaccount "{name}" not found'
    world.event(Ref("ReplicaSet", "oven-1"), "FailedCreate", message)
    return world


def test_a_missing_service_account_is_found_and_a_typing_error_corrected() -> None:
    finding = found(without_account().snapshot(), "service-account-missing")[0]
    path = "spec.template.spec.serviceAccountName"
    assert finding.remedy == (Change("Deployment/oven", path, "bakehouses", "bakehouse"),)


def test_an_unlike_account_name_is_never_guessed() -> None:
    assert found(without_account("legacy").snapshot(), "service-account-missing")[0].remedy == ()


def test_an_account_that_came_late_is_no_fault() -> None:
    assert not found(without_account(ready=1).snapshot(), "service-account-missing")
    assert not found(without_account("bakehouse").snapshot(), "service-account-missing")


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
