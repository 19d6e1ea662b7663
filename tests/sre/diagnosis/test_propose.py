"""From diagnosis to patch: what the finding blames and nothing else, proven by the rules, or a person."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.findings import ANY_ABSENT, Change, Field
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig
from holdfast_sre.repair.propose import propose, restored
from tests.sre.diagnosis.worlds import World, container

OVEN = Ref("Deployment", "oven")
IMAGE_PATH = "spec.template.spec.containers[app].image"


def unpullable() -> Snapshot:
    world = World()
    image = "registry.test/oven:9.9"
    resources = {"limits": {"cpu": "200m"}}
    world.deployment(
        "oven",
        containers=[container(image=image, resources=resources)],
        ready=0,
        state={"waiting": {"reason": "ErrImagePull"}},
    )
    world.deployment("till")
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{image}": {image}: not found')
    return world.snapshot()


def good(snapshot: Snapshot, *, image: str = "registry.test/oven:1.0") -> dict[Ref, Manifest]:
    """The manifests as they were, with drift: other limits, another label, another image of a healthy neighbour."""
    manifests: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    for ref, box_image in ((OVEN, image), (Ref("Deployment", "till"), "registry.test/till:0.1")):
        box = dig(manifests[ref], "spec.template.spec")["containers"][0]
        box["image"] = box_image
        box["resources"] = {"limits": {"cpu": "900m"}}
        manifests[ref]["metadata"]["labels"] = {"drift": "yes"}
    return manifests


def test_only_what_the_finding_blames_is_put_back() -> None:
    snapshot = unpullable()
    proposal = propose(snapshot, diagnose(snapshot), last_good=good(snapshot))
    assert proposal.action == "patch"
    assert proposal.changes == (Change(str(OVEN), IMAGE_PATH, "registry.test/oven:9.9", "registry.test/oven:1.0"),)
    assert proposal.finding is not None
    assert proposal.finding.rule == "image-not-found"


def test_without_a_last_good_nothing_is_guessed() -> None:
    snapshot = unpullable()
    proposal = propose(snapshot, diagnose(snapshot))
    assert (proposal.action, proposal.changes) == ("escalate", ())
    assert "no last known good was given" in proposal.reason


def test_a_last_good_with_the_same_fault_is_no_repair() -> None:
    snapshot = unpullable()
    same = good(snapshot, image="registry.test/oven:9.9")
    proposal = propose(snapshot, diagnose(snapshot), last_good=same)
    assert proposal.action == "escalate"
    assert "the same values" in proposal.reason


def test_a_fault_outside_the_manifests_is_for_a_person() -> None:
    world = World()
    world.deployment("oven", ready=0, node=None, nodeSelector={"disk": "ssd"})
    world.node("node-0", labels={"disk": "ssd"}, unschedulable=True)
    world.event(world.pod("oven"), "FailedScheduling", "1 node(s) were unschedulable")
    snapshot = world.snapshot()
    proposal = propose(snapshot, diagnose(snapshot), last_good=snapshot.declared)
    assert proposal.action == "escalate"
    assert "uncordon" in proposal.reason


def test_silence_says_what_was_looked_at() -> None:
    world = World()
    world.deployment("oven")
    snapshot = world.snapshot()
    proposal = propose(snapshot, diagnose(snapshot))
    assert proposal.finding is None
    assert "3 live objects" in proposal.reason


def test_a_patch_that_leaves_the_finding_standing_is_not_proposed() -> None:
    world = World()
    world.deployment("till")
    world.service("till", selector={"app": "tills"}, addresses=())
    snapshot = world.snapshot()
    worse: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    worse[Ref("Service", "till")]["spec"]["selector"] = {"app": "tilly"}
    proposal = propose(snapshot, diagnose(snapshot), last_good=worse)
    assert proposal.action == "escalate"
    assert "still holds" in proposal.reason


def test_a_patch_that_brings_another_finding_is_not_proposed() -> None:
    world = World()
    world.deployment("till", containers=[container(image="registry.test/till:1")], ready=0, state={"waiting": {}})
    box = container(livenessProbe={"grpc": {"port": 8001}}, readinessProbe={"grpc": {"port": 8000}})
    world.deployment("oven", containers=[box], restarts=4)
    world.event(world.pod("oven"), "Unhealthy", "Liveness probe failed: malformed HTTP response")
    snapshot = world.snapshot()
    last: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    dig(last[OVEN], "spec.template.spec")["containers"][0]["livenessProbe"] = {"httpGet": {"port": 8000}}
    proposal = propose(snapshot, diagnose(snapshot), last_good=last)
    assert proposal.action == "escalate"
    assert "it would cause liveness-probe-protocol" in proposal.reason


SECRET: dict[str, Any] = {"kind": "Secret", "metadata": {"name": "oven-db"}, "stringData": {"PORT": "5432"}}


def test_a_misnamed_object_is_replaced_and_nothing_is_just_deleted() -> None:
    right, wrong = Ref("Secret", "oven-db"), Ref("Secret", "oven-dbs")
    blames = [Field(right, ""), Field(wrong, "")]
    misnamed = {**SECRET, "metadata": {"name": "oven-dbs"}}
    changes = restored({wrong: misnamed}, {right: SECRET}, blames)
    assert {(change.object, change.after is None) for change in changes} == {(str(right), False), (str(wrong), True)}
    assert restored({wrong: misnamed, right: SECRET}, {right: SECRET}, blames) == ()


def test_a_whole_object_that_both_have_is_left_alone() -> None:
    right = Ref("Secret", "oven-db")
    drifted = {**SECRET, "metadata": {"name": "oven-db", "labels": {"drift": "yes"}}}
    assert restored({right: SECRET}, {right: drifted}, [Field(right, "")]) == ()


def test_a_field_of_an_object_that_the_last_good_lacks_is_left_alone() -> None:
    assert restored({OVEN: {"spec": {"replicas": 5}}}, {}, [Field(OVEN, "spec.replicas")]) == ()


def test_whatever_of_a_kind_is_absent_comes_back() -> None:
    volume = Ref("PersistentVolume", "sack")
    manifest = {"kind": "PersistentVolume", "metadata": {"name": "sack"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    changes = restored({}, {volume: manifest}, [Field(Ref("PersistentVolume", ANY_ABSENT), "")])
    assert {change.path: change.after for change in changes} == leaves(manifest)


@pytest.mark.parametrize(("after", "count"), [("a\nB\nc", 1), ("A\nB\nc", 0), ("a\nb", 0)])
def test_a_text_of_many_lines_is_put_back_only_where_one_line_differs(after: str, count: int) -> None:
    ref = Ref("ConfigMap", "routes")
    changes = restored({ref: {"data": {"t": "a\nb\nc"}}}, {ref: {"data": {"t": after}}}, [Field(ref, "data.t")])
    assert len(changes) == count
