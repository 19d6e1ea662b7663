"""Rules about pods that do not come up: images, accounts, references, memory, probes, sidecars, name servers."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.findings import Change, Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found

PULLING = {"waiting": {"reason": "ImagePullBackOff"}}
IMAGE = "registry.test/oven:9.9"
BOX = "spec.template.spec.containers[app]"


def pulling(message: str, *, state: dict[str, Any] | None = None, image: str = IMAGE) -> World:
    world = World()
    world.deployment("oven", containers=[container(image=image)], ready=0, state=state or PULLING)
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{IMAGE}": {message}')
    return world


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (f"{IMAGE}: not found", "image-not-found"),
        ("manifest unknown: no such tag", "image-not-found"),
        ("dial tcp: lookup registry.test on 10.0.0.2:53: no such host", "image-registry-unknown"),
        ("unexpected status from GET request: 401 Unauthorized", "image-pull-forbidden"),
    ],
)
def test_the_registrys_answer_tells_why_a_pull_fails(message: str, rule: str) -> None:
    world = pulling(message)
    rules = ("image-not-found", "image-registry-unknown", "image-pull-forbidden")
    assert [name for name in rules if found(world.snapshot(), name)] == [rule]
    finding = found(world.snapshot(), rule)[0]
    assert finding.object == Ref("Deployment", "oven")
    assert Field(finding.object, f"{BOX}.image") in finding.blames


def test_a_pull_that_succeeded_since_is_history() -> None:
    assert not found(pulling("not found", state={"running": {}}).snapshot(), "image-not-found")


def test_a_message_about_another_image_is_not_about_this_one() -> None:
    assert not found(pulling("not found", image="registry.test/oven:1.0").snapshot(), "image-not-found")


def test_an_absent_pull_secret_is_blamed_with_the_image() -> None:
    world = World()
    world.deployment(
        "oven", containers=[container(image=IMAGE)], ready=0, state=PULLING, imagePullSecrets=[{"name": "gone"}]
    )
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{IMAGE}": 403 Forbidden')
    paths = {field.path for field in found(world.snapshot(), "image-pull-forbidden")[0].blames}
    assert "spec.template.spec.imagePullSecrets" in paths


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


@pytest.mark.parametrize("has_limit", [True, False])
def test_a_container_killed_for_memory_blames_its_limit(has_limit: bool) -> None:
    world = World()
    resources = {"limits": {"memory": "16Mi"}} if has_limit else {}
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    world.deployment("oven", containers=[container(resources=resources)], restarts=3, last_state=killed)
    findings = found(world.snapshot(), "memory-limit-too-low")
    assert bool(findings) == has_limit
    if has_limit:
        paths = [field.path for field in findings[0].blames]
        assert paths == [f"{BOX}.resources.limits.memory", f"{BOX}.resources.requests.memory"]


def test_a_sandbox_killed_at_start_counts_as_memory() -> None:
    world = World()
    limits = {"limits": {"memory": "4Mi"}}
    world.deployment("oven", containers=[container(resources=limits)], ready=0, state={"waiting": {}})
    world.event(world.pod("oven"), "FailedCreatePodSandBox", "container init was OOM-killed (memory limit too low?)")
    assert found(world.snapshot(), "memory-limit-too-low")


def test_a_limit_raised_since_the_kill_is_not_blamed_again() -> None:
    world = World()
    killed = {"terminated": {"reason": "OOMKilled"}}
    ref = world.deployment("oven", containers=[container(resources={"limits": {"memory": "16Mi"}})], last_state=killed)
    snapshot = world.snapshot()
    raised = container(resources={"limits": {"memory": "64Mi"}})
    mended = {**snapshot.declared, ref: {"spec": {"template": {"spec": {"containers": [raised]}}}}}
    assert found(snapshot, "memory-limit-too-low")
    assert not found(snapshot.with_declared(mended), "memory-limit-too-low")


def probed(which: str, probe: dict[str, Any], other: dict[str, Any], *, message: str, **more: Any) -> World:
    """A container with two probes, of which `which` fails."""
    sibling = "readiness" if which == "liveness" else "liveness"
    world = World()
    box = {**container(), f"{which}Probe": probe, f"{sibling}Probe": other}
    harm = {"restarts": 3} if which == "liveness" else {"ready": 0}
    world.deployment("oven", containers=[box], **{**harm, **more})
    world.event(world.pod("oven"), "Unhealthy", f"{which.capitalize()} probe failed: {message}")
    return world


GRPC = {"grpc": {"port": 8000}}


@pytest.mark.parametrize("which", ["liveness", "readiness"])
def test_a_probe_of_a_port_that_nobody_opens(which: str) -> None:
    world = probed(which, {"grpc": {"port": 8001}}, GRPC, message="connection refused")
    finding = found(world.snapshot(), f"{which}-probe-port")[0]
    assert finding.remedy == (Change("Deployment/oven", f"{BOX}.{which}Probe.grpc.port", "8001", "8000"),)
    assert not found(world.snapshot(), f"{which}-probe-protocol")


@pytest.mark.parametrize("which", ["liveness", "readiness"])
def test_a_probe_of_the_wrong_protocol_takes_the_siblings_handler(which: str) -> None:
    http = {"httpGet": {"port": 8000, "path": "/"}}
    world = probed(which, http, GRPC, message="malformed HTTP response")
    finding = found(world.snapshot(), f"{which}-probe-protocol")[0]
    path = f"{BOX}.{which}Probe"
    assert finding.remedy == (
        Change("Deployment/oven", f"{path}.grpc.port", None, "8000"),
        Change("Deployment/oven", f"{path}.httpGet.path", "/", None),
        Change("Deployment/oven", f"{path}.httpGet.port", "8000", None),
    )
    assert not found(world.snapshot(), f"{which}-probe-port")


def test_a_liveness_probe_that_kills_before_the_start() -> None:
    hasty = {**GRPC, "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1}
    world = probed("liveness", hasty, GRPC, message="timeout")
    finding = found(world.snapshot(), "liveness-probe-timing")[0]
    assert finding.remedy == ()
    assert f"{BOX}.livenessProbe.failureThreshold" in {field.path for field in finding.blames}


def test_a_sound_liveness_probe_that_fails_is_not_blamed() -> None:
    world = probed("liveness", {**GRPC, "initialDelaySeconds": 5}, GRPC, message="timeout")
    rules = ("liveness-probe-port", "liveness-probe-protocol", "liveness-probe-timing")
    assert [rule for rule in rules if found(world.snapshot(), rule)] == []


def test_a_probe_that_does_no_harm_now_is_not_blamed() -> None:
    wrong = {"grpc": {"port": 8001}}
    assert not found(probed("liveness", wrong, GRPC, message="refused", restarts=0).snapshot(), "liveness-probe-port")
    assert not found(probed("readiness", wrong, GRPC, message="refused", ready=1).snapshot(), "readiness-probe-port")


def test_a_probe_that_failed_long_ago_is_history() -> None:
    world = World()
    world.deployment("oven", containers=[container(livenessProbe={"grpc": {"port": 1}})], restarts=3)
    world.event(world.pod("oven"), "Unhealthy", "Liveness probe failed: refused", age_s=3000.0)
    assert not found(world.snapshot(), "liveness-probe-port")


def unconfigured(*, exists: bool = False) -> World:
    world = World()
    box = container(envFrom=[{"secretRef": {"name": "oven-dbs"}}])
    world.deployment("oven", containers=[box], ready=0, state={"waiting": {"reason": "CreateContainerConfigError"}})
    world.event(world.pod("oven"), "Failed", 'Error: secret "oven-dbs" not found')
    if exists:
        world.add("Secret", "oven-dbs", {})
    return world


def test_a_missing_secret_blames_the_reference_and_the_object() -> None:
    world = unconfigured()
    world.add("Secret", "oven-db", {"stringData": {"PORT": "5432"}})
    finding = found(world.snapshot(), "reference-missing")[0]
    assert finding.blames == (
        Field(Ref("Deployment", "oven"), f"{BOX}.envFrom[0].secretRef.name"),
        Field(Ref("Secret", "oven-dbs"), ""),
        Field(Ref("Secret", "oven-db"), ""),
    )
    assert finding.remedy == ()  # Which secret is meant is never guessed.


def test_a_secret_that_exists_by_now_is_no_fault() -> None:
    assert not found(unconfigured(exists=True).snapshot(), "reference-missing")


def with_sidecar(port: int, line: str) -> World:
    world = World()
    world.deployment("oven", restarts=2, annotations={"mesh.test/config": f'{{ "statusPort": {port} }}'})
    world.log("oven", line)
    return world


def test_a_sidecar_on_the_applications_port() -> None:
    finding = found(with_sidecar(8000, "Port 8000 was already in use.").snapshot(), "sidecar-port")[0]
    path = "spec.template.metadata.annotations.mesh.test/config"
    assert finding.remedy == (Change("Deployment/oven", path, '{ "statusPort": 8000 }', None),)


def test_a_sidecar_on_a_port_of_its_own_or_without_trouble_is_no_fault() -> None:
    assert not found(with_sidecar(15020, "Port 8000 was already in use.").snapshot(), "sidecar-port")
    assert not found(with_sidecar(8000, "all is well").snapshot(), "sidecar-port")


@pytest.mark.parametrize("in_trouble", [True, False])
def test_a_name_server_of_ones_own_counts_only_with_trouble(in_trouble: bool) -> None:
    world = World()
    world.deployment("oven", dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"]})
    if in_trouble:
        world.log("oven", "java.net.UnknownHostException: flour")
    findings = found(world.snapshot(), "resolver")
    assert bool(findings) == in_trouble
    if in_trouble:
        assert {change.path for change in findings[0].remedy} == {
            "spec.template.spec.dnsPolicy",
            "spec.template.spec.dnsConfig.nameservers[0]",
        }


def test_the_clusters_name_server_is_no_fault() -> None:
    world = World()
    world.deployment("oven", dnsPolicy="ClusterFirst")
    world.log("oven", "java.net.UnknownHostException: flour")
    assert not found(world.snapshot(), "resolver")
