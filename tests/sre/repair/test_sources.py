"""Where values come from besides the last known good: revisions that serve, siblings; and what policy forbids."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from holdfast import InvalidInput
from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref, dig
from holdfast_sre.repair.policy import Policy, refusal
from holdfast_sre.repair.propose import propose
from tests.sre.diagnosis.worlds import World, container, found

OVEN = Ref("Deployment", "oven")
BAD = "registry.test/oven:9.9"


def stuck_rollout(*, serving: int = 1, good: str = "registry.test/oven:1.0", kind: str = "Deployment") -> World:
    """A rollout to an image that does not exist, with what served before it beside it."""
    world = World()
    world.deployment(
        "oven", containers=[container(image=BAD)], ready=0, state={"waiting": {"reason": "ErrImagePull"}}, kind=kind
    )
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{BAD}": {BAD}: not found')
    ref = Ref(kind, "oven")
    template: Any = copy.deepcopy(dig(world.live[ref], "spec.template"))
    # The cluster fills in what nobody wrote; both templates have it.
    for each in (template, world.live[ref]["spec"]["template"]):
        each["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    template["spec"]["containers"][0]["image"] = good
    template["spec"]["containers"][0]["terminationMessagePolicy"] = "File"
    template["metadata"]["labels"]["pod-template-hash"] = "5"
    owner = {"ownerReferences": [{"kind": kind, "name": "oven"}]}
    if kind == "Deployment":
        old = {
            "metadata": {"name": "oven-0", **owner},
            "spec": {"template": template},
            "status": {"readyReplicas": serving},
        }
        world.live[Ref("ReplicaSet", "oven-0")] = {"kind": "ReplicaSet", **old}
    else:
        world.live[Ref("ControllerRevision", "oven-0")] = {
            "kind": "ControllerRevision",
            "metadata": {"name": "oven-0", **owner},
            "revision": 1,
            "data": {"spec": {"template": template}},
        }
        pod = {
            "metadata": {"name": "oven-x", "labels": {"controller-revision-hash": "oven-0"}, **owner},
            "spec": {"containers": []},
        }
        ready = {"phase": "Running", "containerStatuses": [{"name": "app", "ready": bool(serving)}]}
        world.live[Ref("Pod", "oven-x")] = {"kind": "Pod", **pod, "status": ready}
    return world


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_revision_that_serves_proves_its_value(kind: str) -> None:
    snapshot = stuck_rollout(kind=kind).snapshot()
    proposal = propose(snapshot, diagnose(snapshot))
    assert proposal.action == "patch", proposal.reason
    assert proposal.source == "serving revision"
    path = "spec.template.spec.containers[app].image"
    assert proposal.changes == (Change(f"{kind}/oven", path, BAD, "registry.test/oven:1.0"),)
    assert "oven-0" in proposal.reason


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_revision_that_nobody_runs_proves_nothing(kind: str) -> None:
    snapshot = stuck_rollout(serving=0, kind=kind).snapshot()
    assert propose(snapshot, diagnose(snapshot)).action == "escalate"


def test_a_serving_revision_with_the_same_value_proves_nothing() -> None:
    snapshot = stuck_rollout(good=BAD).snapshot()
    assert propose(snapshot, diagnose(snapshot)).action == "escalate"


def test_the_last_known_good_goes_before_a_serving_revision() -> None:
    snapshot = stuck_rollout().snapshot()
    last: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    dig(last[OVEN], "spec.template.spec")["containers"][0]["image"] = "registry.test/oven:0.9"
    proposal = propose(snapshot, diagnose(snapshot), last_good=last)
    assert (proposal.source, proposal.changes[0].after) == ("last known good", "registry.test/oven:0.9")


def misaddressed(*siblings: str | None) -> World:
    """A till that calls an oven where none is, and siblings that call it at the given addresses, None for one that is
    not healthy."""
    world = World()
    world.deployment("till", containers=[container(env=[{"name": "OVEN_ADDR", "value": "stove:80"}])])
    world.log("till", "dial tcp: lookup stove on 10.0.0.2:53: no such host; stove:80")
    for number, address in enumerate(siblings):
        box = container(env=[{"name": "OVEN_ADDR", "value": address or "oven:80"}])
        world.deployment(f"cook-{number}", containers=[box], ready=0 if address is None else 1)
    world.service("oven")
    world.deployment("oven")
    return world


@pytest.mark.parametrize(
    ("siblings", "after"),
    [
        (("oven:80", "oven:80"), "oven:80"),
        (("oven:80",), None),
        (("oven:80", "other:80"), None),
        (("oven:80", None), None),
        (("oven:99", "oven:99"), None),
    ],
    ids=["two agree", "one is none", "they differ", "one is not healthy", "nobody answers there"],
)
def test_siblings_prove_an_address_only_where_all_agree(siblings: tuple[str | None, ...], after: str | None) -> None:
    snapshot = misaddressed(*siblings).snapshot()
    (finding,) = [each for each in found(snapshot, "environment-address") if each.object.name == "till"]
    proposal = propose(snapshot, Diagnosis((finding,), (), (), ()))
    assert [change.after for change in proposal.changes] == ([after] if after else [])
    assert (proposal.source == "siblings") == (after is not None)


MEMORY = "spec.template.spec.containers[app].resources.limits.memory"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Change("ClusterRole/admin", "rules[0].verbs[0]", "get", "*"), "people"),
        (Change("ResourceQuota/q", "spec.hard.pods", "1", "2"), "people"),
        (Change("Deployment/a", "spec.template.spec.securityContext.runAsUser", "1", "0"), "securityContext"),
        (Change("Deployment/a", "spec.template.spec.containers[app].image", "a:1", "a:2"), "image"),
        (Change("Secret/s", "stringData.PASSWORD", "a", "b"), "secrets"),
        (Change("Deployment/a", MEMORY, "64Mi", "129Mi"), "further"),
        (Change("Deployment/a", MEMORY, None, "64Mi"), "size"),
        (Change("Deployment/a", "spec.replicas", "15", "21"), "replicas"),
    ],
    ids=str,
)
def test_policy_leaves_it_to_a_person(change: Change, word: str) -> None:
    assert word in refusal(change, Policy(), is_computed=True)


@pytest.mark.parametrize(
    "change",
    [
        Change("Deployment/a", MEMORY, "64Mi", "128Mi"),
        Change("Secret/s", "stringData.DB_PORT", "3307", "3306"),
        Change("Service/a", "spec.ports[x].targetPort", "1", "2"),
    ],
    ids=str,
)
def test_policy_allows(change: Change) -> None:
    assert refusal(change, Policy(), is_computed=True) == ""


def test_what_worked_is_trusted_further_than_what_was_worked_out() -> None:
    change = Change("Deployment/a", MEMORY, "5Mi", "128Mi")
    assert refusal(change, Policy(), is_computed=False) == ""
    assert refusal(change, Policy(), is_computed=True) != ""


def test_a_policy_without_sense_is_refused() -> None:
    with pytest.raises(InvalidInput, match="computed_factor_max"):
        Policy(computed_factor_max=0.5)


def test_a_patch_that_breaks_the_schema_is_not_proposed() -> None:
    snapshot = stuck_rollout().snapshot()
    last: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    dig(last[OVEN], "spec.template.spec")["containers"][0]["image"] = {"repository": "x"}
    proposal = propose(snapshot, diagnose(snapshot), last_good=last)
    assert proposal.action == "escalate"
    assert "schema" in proposal.reason or "not proven" in proposal.reason
