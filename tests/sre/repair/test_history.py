"""A repository's history as the baseline: who brought it, what was before, what else changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast import InvalidInput
from holdfast_sre.cli.given_manifests import GivenManifests, open_manifests
from holdfast_sre.diagnosis.findings import ANY_ABSENT, Field, Finding, quote
from holdfast_sre.evidence.snapshot import Ref, Snapshot
from holdfast_sre.files import in_thread
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.repair.last_good.changelog import culprit, recent_edits, since
from holdfast_sre.repair.last_good.history import look_back

ANA = Identity("Ana", "ana@bakery.test")
OVEN = Ref("Deployment", "oven")
IMAGE = Field(OVEN, "spec.template.spec.containers[app].image")
HOUR = 3_600
START = 1_700_000_000


def oven(tag: str, *, cpu: str = "100m", note: str = "a") -> str:
    """The manifest of an oven."""
    box = {"name": "app", "image": f"registry.test/oven:{tag}", "resources": {"limits": {"cpu": cpu}}}
    template = {"metadata": {"labels": {"app": "oven"}}, "spec": {"containers": [box]}}
    spec = {"selector": {"matchLabels": {"app": "oven"}}, "template": template}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "oven", "annotations": {"n": note}}}
    return json.dumps({**manifest, "spec": spec}, indent=2) + "\n"


async def repository(path: Path, *versions: tuple[float, str]) -> GitRepository:
    """A repository with one commit for each (hours after the start, manifest)."""
    found = await GitRepository.create(path, identity=ANA)
    for number, (hours, text) in enumerate(versions):
        at_s = int(START + hours * HOUR)
        await found.record("main", {"apps/oven.yaml": text}, f"Edit {number}", author=ANA, at_s=at_s)
    return found


def blaming(*fields: Field) -> Finding:
    """A finding that blames fields."""
    return Finding("image-not-found", OVEN, 0.9, (quote("x", "y"),), fields)


async def test_the_edit_that_brought_the_blamed_value_is_the_culprit(tmp_path: Path) -> None:
    repo = await repository(
        tmp_path,
        (0, oven("1.0")),
        (24, oven("9.9")),
        (48, oven("9.9", cpu="200m")),
        (72, oven("9.9", cpu="200m", note="b")),
    )
    looked = await look_back(repo, await repo.head("main"), blaming(IMAGE), namespace="bakery")
    assert looked.culprit is not None
    assert looked.culprit.commit.subject == "Edit 1"
    assert [(change.before, change.after) for change in looked.culprit.changes] == [
        ("registry.test/oven:1.0", "registry.test/oven:9.9")
    ]
    assert looked.last_good is not None
    assert image(looked.last_good[OVEN]) == "registry.test/oven:1.0"
    assert [commit.subject for commit in looked.since] == ["Edit 3", "Edit 2"]


def image(manifest: Any) -> str:
    """The image of the first container."""
    return str(manifest["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_tries_at_a_repair_are_not_the_last_known_good(tmp_path: Path) -> None:
    """The value before the culprit is the one before the burst, not the last thing that somebody tried."""
    repo = await repository(tmp_path, (0, oven("1.0")), (24, oven("9.9")), (24.2, oven("9.8")), (24.4, oven("9.7")))
    looked = await look_back(repo, await repo.head("main"), blaming(IMAGE), namespace="bakery")
    assert looked.last_good is not None
    assert image(looked.last_good[OVEN]) == "registry.test/oven:1.0"


async def test_what_worked_at_a_known_time_is_the_last_known_good(tmp_path: Path) -> None:
    repo = await repository(tmp_path, (0, oven("1.0")), (24, oven("9.9")), (72, oven("9.8")))
    head = await repo.head("main")
    looked = await look_back(repo, head, blaming(IMAGE), namespace="bakery", healthy_at_s=START + 10 * HOUR)
    assert looked.last_good is not None
    assert image(looked.last_good[OVEN]) == "registry.test/oven:1.0"
    looked = await look_back(repo, head, blaming(IMAGE), namespace="bakery", healthy_at_s=START + 80 * HOUR)
    assert (looked.culprit, looked.last_good) == (None, None)
    assert "none of the last" in looked.told
    edits = await recent_edits(repo, head, namespace="bakery")
    assert [edit.commit.subject for edit in since(edits, START + 30 * HOUR)] == ["Edit 2"]


async def test_an_object_that_was_taken_away_has_a_culprit(tmp_path: Path) -> None:
    repo = await repository(tmp_path, (0, oven("1.0")))
    volume = "kind: PersistentVolume\nmetadata: {name: sack}\nspec: {accessModes: [ReadWriteOnce]}\n"
    await repo.record("main", {"v.yaml": volume}, "Add", author=ANA, at_s=START + HOUR)
    await repo.record("main", {"v.yaml": None}, "Remove", author=ANA, at_s=START + 30 * HOUR)
    edits = await recent_edits(repo, await repo.head("main"), namespace="bakery")
    found = culprit(edits, [Field(Ref("PersistentVolume", ANY_ABSENT), "")])
    assert found is not None
    assert found.commit.subject == "Remove"


class Unused:
    """A renderer that is not needed."""

    def render(self, files: Any, root: Any) -> str:
        raise AssertionError("nothing is to be built")


def opened(path: Path) -> GivenManifests:
    """The manifests at a path."""
    return open_manifests(path, Unused())


async def test_a_folder_inside_a_repository_is_seen_from_there(tmp_path: Path) -> None:
    await repository(tmp_path / "r.git", (0, oven("1.0")), (24, oven("9.9")))
    given = await in_thread_opened(tmp_path / "r.git")
    assert list(given.files) == ["apps/oven.yaml"]
    assert OVEN in given.declared(Snapshot("bakery"))


async def in_thread_opened(path: Path) -> GivenManifests:
    """Opened outside of the test's loop, as the command does it."""
    return await in_thread(opened, path)


def test_a_plain_folder_has_no_history(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(oven("1.0"))
    given = opened(tmp_path)
    assert OVEN in given.declared(Snapshot("bakery"))
    assert given.look_back(blaming(IMAGE), namespace="bakery", healthy_at_s=None) is None


@pytest.mark.parametrize(("name", "message"), [("absent", "expected a folder"), ("empty", "saw none")])
def test_what_holds_no_manifests_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=rf"{name}: .*{message}"):
        opened(tmp_path / name)
