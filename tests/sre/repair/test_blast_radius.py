"""Whom a repair touches."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.repair.proof.blast_radius import blast_radius
from tests.sre.diagnosis.worlds import World, container


def bakery() -> Snapshot:
    """An oven with all that hangs on it, and a till that calls it."""
    world = World()
    key = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}
    other = {"name": "TINT", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "tint"}}}
    whole = [{"configMapRef": {"name": "settings"}}]
    world.deployment("oven", containers=[container(env=[key])], replicas=3, ready=3, serviceAccountName="baker")
    world.deployment("lamp", containers=[container(env=[other])])
    world.deployment("mixer", containers=[container(envFrom=whole)])
    world.deployment("till", containers=[container(env=[{"name": "OVEN", "value": "http://oven:80/bake"}])])
    world.deployment("shop", containers=[container(env=[{"name": "TILL", "value": "till:80"}])])
    for name in ("oven", "till"):
        world.service(name)
    world.add("ConfigMap", "settings", {"data": {"level": "3", "tint": "red"}})
    world.add("ServiceAccount", "baker", {})
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "oven"}}
    world.add("HorizontalPodAutoscaler", "oven", {"spec": target})
    world.add("PodDisruptionBudget", "oven", {"spec": {"selector": {"matchLabels": {"app": "oven"}}}})
    backend = {"service": {"name": "till", "port": {"number": 80}}}
    world.add("Ingress", "front", {"spec": {"rules": [{"http": {"paths": [{"backend": backend}]}}]}})
    return world.snapshot()


def test_a_workload_touches_what_stands_around_it() -> None:
    found = blast_radius(bakery(), [Change("Deployment/oven", "spec.template.spec.containers[app].image", "a", "b")])
    assert (found.restarts, found.pods) == (("Deployment/oven",), 3)
    assert found.users == (
        "HorizontalPodAutoscaler/oven (scales it)",
        "PodDisruptionBudget/oven (guards it)",
        "Service/oven (leads to it)",
    )
    assert found.dependants == ("Deployment/shop", "Deployment/till")
    assert "restarts Deployment/oven (3 pods)" in found.told


def test_replicas_restart_nothing() -> None:
    found = blast_radius(bakery(), [Change("Deployment/oven", "spec.replicas", "1", "2")])
    assert (found.restarts, found.pods) == ((), 0)


def test_only_users_of_the_changed_key_are_told() -> None:
    found = blast_radius(bakery(), [Change("ConfigMap/settings", "data.level", "9", "3")])
    assert found.users == ("Deployment/mixer (reads it)", "Deployment/oven (reads level)")
    assert found.restarts == ("Deployment/mixer", "Deployment/oven")
    assert found.pods == 4


def test_a_service_touches_its_callers_and_routes() -> None:
    found = blast_radius(bakery(), [Change("Service/till", "spec.ports[main].targetPort", "1", "2")])
    assert found.users == ("Deployment/shop (calls it)", "Ingress/front (routes to it)")
    assert found.restarts == ()


def test_an_account_touches_who_runs_under_it() -> None:
    found = blast_radius(bakery(), [Change("ServiceAccount/baker", "metadata.name", None, "baker")])
    assert found.users == ("Deployment/oven (uses it)",)


def test_nothing_touches_nobody() -> None:
    assert blast_radius(bakery(), []).told == "changes nothing; restarts nothing"
