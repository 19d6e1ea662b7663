"""`reference-missing`: a container waits for a secret or config map that is absent now."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.references.worlds import TILL, held_back
from tests.sre.diagnosis.worlds import World, container, found

BOX = "spec.template.spec.containers[app]"


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


def test_an_object_that_the_kubelet_does_not_name_is_found_by_what_exists() -> None:
    world = held_back("CreateContainerConfigError", envFrom=[{"secretRef": {"name": "till-db"}}])
    assert not found(world.snapshot(), "reference-missing")  # No secret was recorded at all.
    world.add("Secret", "other", {})
    assert found(world.snapshot(), "reference-missing")[0].confidence == 0.85


def test_a_secret_that_may_be_absent_is_not_missed() -> None:
    source = [{"secretRef": {"name": "till-db", "optional": True}}]
    world = held_back("CreateContainerConfigError", 'secret "till-db" not found', envFrom=source)
    assert not found(world.snapshot(), "reference-missing")


def test_a_secret_that_a_volume_needs() -> None:
    world = World()
    volumes = [{"name": "tls", "secret": {"secretName": "till-tls"}}]
    world.deployment("till", ready=0, state={"waiting": {"reason": "ContainerCreating"}}, volumes=volumes)
    world.event(world.pod("till"), "FailedMount", 'MountVolume.SetUp failed: secret "till-tls" not found')
    finding = found(world.snapshot(), "reference-missing")[0]
    assert Field(TILL, "spec.template.spec.volumes[tls].secret.secretName") in finding.blames
