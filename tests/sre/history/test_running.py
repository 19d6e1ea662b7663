"""Which commit runs: what images and labels say, and what a repository knows of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref, Snapshot
from holdfast_sre.history.running import RunningName, commit_in, earlier_names, running, running_names, tags_for
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.changelog import Edit
from tests.sre.diagnosis.worlds import World, container

SHOP = Ref("Deployment", "shop")
IMAGE = "spec.template.spec.containers[app].image"
A, B = Revision("a" * 40), Revision("b" * 40)


def snapshot(image: str = "registry.test:5000/x/shop:2.1@sha256:00", **labels: str) -> Snapshot:
    world = World()
    world.deployment("shop", containers=[container(image=image)])
    manifest: dict[str, Any] = {**world.live[SHOP]}
    world.live[SHOP] = {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}
    return world.snapshot()


def test_labels_go_before_tags_and_each_says_where_it_stands() -> None:
    labels = {"org.opencontainers.image.revision": "3f2a9c1", "app.kubernetes.io/version": "2.1"}
    assert running_names(snapshot(**labels), SHOP) == (
        RunningName("3f2a9c1", "label org.opencontainers.image.revision"),
        RunningName("2.1", "label app.kubernetes.io/version"),
    )
    assert running_names(snapshot(), SHOP) == (RunningName("2.1", "image of container app"),)


@pytest.mark.parametrize(
    "image", ["shop", "shop:latest", "registry.test:5000/shop", "shop@sha256:00", "shop:$(id)", ""]
)
def test_an_image_without_a_plain_tag_names_nothing(image: str) -> None:
    assert running_names(snapshot(image), SHOP) == ()


@pytest.mark.parametrize(
    ("name", "commit"),
    [
        ("3f2a9c1", "3f2a9c1"),
        ("v1.2-4-g3f2a9c1", "3f2a9c1"),
        ("main-3f2a9c1", "3f2a9c1"),
        ("1.2.3", ""),
        ("a1b2c3", ""),
    ],
)
def test_a_commit_is_read_from_the_end_of_a_name(name: str, commit: str) -> None:
    assert commit_in(name) == commit


def test_a_tag_may_have_a_v_or_the_service_before_it() -> None:
    assert tags_for("1.2", "shop")[:2] == ("1.2", "v1.2")
    assert {"v1.2", "1.2", "shop/v1.2", "shop-1.2", "shop@v1.2"} <= set(tags_for("v1.2", "shop"))


def test_only_what_the_repository_knows_counts_and_a_contradiction_is_said() -> None:
    names = (RunningName("2.1", "image of container app"), RunningName("2.0", "label app.kubernetes.io/version"))
    assert running(names, {"2.1": A}).revision == A
    assert running(names, {"2.1": A, "2.0": A}).name == "2.1"
    unknown, torn = running(names, {}), running(names, {"2.1": A, "2.0": B})
    assert (unknown.revision, unknown.told) == (None, "no tag or commit called 2.1, 2.0")
    assert (torn.revision, "several commits" in torn.told) == (None, True)
    assert "no image tag or label" in running((), {}).told


@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from([A, B])))
def test_a_commit_runs_only_where_all_that_is_known_agrees(resolved: dict[str, Revision]) -> None:
    found = running([RunningName(text, "here") for text in "xyz"], resolved)
    assert (found.revision is not None) == (len(set(resolved.values())) == 1)


def edit(revision: Revision, at_s: int, before: str) -> Edit:
    return Edit(Commit(revision, (), "Ana", at_s, "Roll out"), (Change(str(SHOP), IMAGE, before, "shop:9"),))


def test_what_ran_before_is_told_by_the_manifests_edits() -> None:
    edits = (edit(B, 200, "shop:2.0"), edit(A, 100, "shop:1.0"))
    here = snapshot()
    assert [name.text for name in earlier_names(here, SHOP, edits)] == ["2.0"]
    assert [name.text for name in earlier_names(here, SHOP, edits, healthy_at_s=150)] == ["2.0"]
    assert [name.text for name in earlier_names(here, SHOP, edits, healthy_at_s=50)] == ["1.0"]
    assert earlier_names(here, SHOP, edits, healthy_at_s=300) == ()
    assert earlier_names(here, Ref("Deployment", "till"), edits) == ()


def test_without_a_history_the_replica_set_before_tells_what_ran() -> None:
    world = World()
    world.deployment("shop", containers=[container(image="shop:2.1")])
    owner = {"ownerReferences": [{"kind": "Deployment", "name": "shop"}]}
    for number, tag in ((3, "2.1"), (2, "2.0"), (1, "1.0")):
        notes = {"annotations": {"deployment.kubernetes.io/revision": str(number)}}
        spec = {"template": {"spec": {"containers": [container(image=f"shop:{tag}")]}}}
        name = f"shop-r{number}"
        world.live[Ref("ReplicaSet", name)] = {"metadata": {"name": name, **owner, **notes}, "spec": spec}
    assert [name.text for name in earlier_names(world.snapshot(), SHOP)] == ["2.0"]
    assert earlier_names(world.snapshot(), SHOP, healthy_at_s=1.0) == ()
