"""The check that goes with a repair: run as its readers run it, it holds on the mended manifests and on no others."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.findings import Change, Field, Finding, quote
from holdfast_sre.diagnosis.manifest_paths import apply_changes
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig
from holdfast_sre.repair.offer import as_files, diff_of, offer
from holdfast_sre.repair.proof.regression_test import regression_tests, steps_of
from holdfast_sre.repair.propose import Proposal, propose
from tests.sre.diagnosis.worlds import NAMESPACE, World, container

OVEN = Ref("Deployment", "oven")


def repository(folder: Path, manifests: dict[Ref, Manifest], tests: dict[str, str]) -> Path:
    """The manifests and the tests as files of a repository; the path of the one test."""
    for ref, manifest in manifests.items():
        (folder / f"{ref.name}-{ref.kind}.yaml").write_text(as_yaml(manifest))
    (path,) = tests
    (folder / path).parent.mkdir()
    (folder / path).write_text(tests[path])
    return folder / path


def as_yaml(manifest: Manifest) -> str:
    """JSON is YAML."""
    return json.dumps(manifest)


def run(path: Path) -> tuple[int, str]:
    """The check by itself: exit code and what it says."""
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def worlds() -> list[tuple[str, Snapshot, dict[Ref, Manifest]]]:
    """Faults, each with the manifests that worked last."""
    found = []
    world = World()
    image = "registry.test/oven:9.9"
    world.deployment(
        "oven", containers=[container(image=image)], ready=0, state={"waiting": {"reason": "ErrImagePull"}}
    )
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{image}": {image}: not found')
    found.append(("image", world, ("image", "registry.test/oven:1.0")))
    world = World()
    limits = {"limits": {"memory": "8Mi"}}
    terminated = {"terminated": {"reason": "OOMKilled"}}
    world.deployment(
        "oven", containers=[container(resources=limits)], ready=0, state={"waiting": {}}, last_state=terminated
    )
    found.append(("memory", world, ("resources", {"limits": {"memory": "256Mi"}})))
    world = World()
    probe = {"grpc": {"port": 8001}}
    world.deployment("oven", containers=[container(livenessProbe=probe)], restarts=4)
    world.event(world.pod("oven"), "Unhealthy", "Liveness probe failed: connection refused")
    found.append(("probe", world, ("livenessProbe", {"grpc": {"port": 8000}})))
    return [(name, world.snapshot(), _with(world.snapshot(), *put)) for name, world, put in found]


def _with(snapshot: Snapshot, key: str, value: object) -> dict[Ref, Manifest]:
    last: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    dig(last[OVEN], "spec.template.spec")["containers"][0][key] = value
    return last


def services() -> list[tuple[str, Snapshot]]:
    """Faults of services that are mended by computing."""
    found = []
    for name, more in (("selector", {"selector": {"app": "tills"}, "addresses": ()}), ("port", {"target": 9999})):
        world = World()
        world.deployment("till")
        world.service("till", **more)  # type: ignore[arg-type]
        world.connect("till", reached=False)
        found.append((name, world.snapshot()))
    return found


CASES = [(name, snapshot, propose(snapshot, diagnose(snapshot), last_good=last)) for name, snapshot, last in worlds()]
CASES += [(name, snapshot, propose(snapshot, diagnose(snapshot))) for name, snapshot in services()]


@pytest.mark.parametrize(("name", "snapshot", "proposal"), CASES, ids=[case[0] for case in CASES])
def test_it_holds_on_the_mended_manifests_and_on_no_others(
    tmp_path: Path, name: str, snapshot: Snapshot, proposal: Proposal
) -> None:
    assert proposal.action == "patch", proposal.reason
    tests = dict(proposal.tests)
    for folder in ("mended", "broken"):
        (tmp_path / folder).mkdir()
    mended = repository(tmp_path / "mended", apply_changes(snapshot.declared, proposal.changes), tests)
    broken = repository(tmp_path / "broken", dict(snapshot.declared), tests)
    assert run(mended) == (0, "holds\n")
    code, said = run(broken)
    assert code == 1
    assert "Traceback" not in said
    other = {
        ref: item for ref, item in snapshot.declared.items() if ref.name != proposal.changes[0].object.split("/")[1]
    }
    (tmp_path / "gone").mkdir()
    code, said = run(repository(tmp_path / "gone", other, tests))
    assert (code, "found it nowhere" in said) == (1, True), "a check that cannot find its object does not hold"


def test_it_is_a_pytest_of_its_own(tmp_path: Path) -> None:
    _, snapshot, proposal = CASES[0]
    path = repository(tmp_path, dict(snapshot.declared), dict(proposal.tests))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "has the value again that broke it" in done.stdout


def test_it_allows_another_value_than_the_one_that_was_put_back(tmp_path: Path) -> None:
    _, snapshot, proposal = next(case for case in CASES if case[0] == "memory")
    larger = apply_changes(snapshot.declared, [Change(str(OVEN), proposal.changes[0].path, "8Mi", "1Gi")])
    assert run(repository(tmp_path, larger, dict(proposal.tests)))[0] == 0


HOSTILE = 'x\'\'\'"""\\ \n"; import os; os._exit(7) #\u202e\x00{{}}'


def test_nothing_from_a_cluster_becomes_code(tmp_path: Path) -> None:
    """A value with quotes and code in it, as value, as annotation and as the name of an object, stays data."""
    manifest = {"kind": "ConfigMap", "metadata": {"name": HOSTILE}, "data": {HOSTILE: HOSTILE, "k": "v"}}
    ref = Ref("ConfigMap", HOSTILE)
    change = Change(str(ref), f"data.{HOSTILE}", HOSTILE, "good")
    finding = Finding("x", ref, 0.5, (quote("a", "b"),), (Field(ref, "data"),))
    tests = regression_tests(
        CATALOGUE[0],
        finding,
        [change],
        {ref: manifest},
        {ref: {**manifest, "data": {HOSTILE: "good"}}},
        namespace=HOSTILE,
    )
    ((path, text),) = tests.items()
    assert path.startswith("holdfast-checks/test_")
    assert path.isascii()
    assert ".." not in path
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert "os" not in names
    (tmp_path / "holdfast-checks").mkdir()
    (tmp_path / path).write_text(text)
    assert run(tmp_path / path)[0] == 1, "there is no manifest, so it does not hold; it ran nothing"


def test_a_secret_is_known_by_its_digest_only() -> None:
    ref = Ref("Secret", "db")
    before = {"kind": "Secret", "metadata": {"name": "db"}, "stringData": {"PASSWORD": "hunter2hunter2"}}
    after = {**before, "stringData": {"PASSWORD": "correct-horse"}}
    change = Change(str(ref), "stringData.PASSWORD", "hunter2hunter2", "correct-horse")
    finding = Finding("database-credentials", OVEN, 0.5, (), (Field(ref, "stringData.PASSWORD"),))
    ((_, text),) = regression_tests(CATALOGUE[0], finding, [change], {ref: before}, {ref: after}, namespace="x").items()
    assert "hunter2" not in text
    assert "correct-horse" not in text
    assert "sha256" in text


def test_values_of_secrets_are_numbered_for_eyes() -> None:
    before = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "oven-db", "namespace": NAMESPACE},
        "stringData": {"USER": "miller", "PASSWORD": "hunter2hunter2"},
    }
    ref = Ref("Secret", "oven-db")
    snapshot = Snapshot(namespace=NAMESPACE, declared={ref: before})
    change = Change(str(ref), "stringData.PASSWORD", "hunter2hunter2", "correct-horse")
    finding = Finding("database-credentials", OVEN, 0.5, (), (Field(ref, "stringData.PASSWORD"),))
    offered = offer(snapshot, Proposal("patch", "r", (change,), finding))
    assert "+  PASSWORD: correct-horse" in offered.diff
    assert "hunter2" not in offered.shown
    assert "correct-horse" not in offered.shown
    assert "miller" not in offered.shown
    assert "+  PASSWORD: (secret value" in offered.shown


def test_the_way_to_a_leaf_knows_keys_with_dots_and_names() -> None:
    manifest = {"metadata": {"annotations": {"a.b/c": "1"}}, "spec": {"c": [{"name": "x", "v": 1}, {"v": 2}]}}
    assert steps_of(manifest, "metadata.annotations.a.b/c") == ["metadata", "annotations", "a.b/c"]
    assert steps_of(manifest, "spec.c[x].v") == ["spec", "c", {"name": "x"}, "v"]
    assert steps_of(manifest, "spec.c[1].v") == ["spec", "c", 1, "v"]
    assert steps_of(manifest, "spec.nowhere") is None


def test_a_diff_can_be_applied_by_git(tmp_path: Path) -> None:
    _, snapshot, proposal = CASES[0]
    offered = offer(snapshot, proposal)
    for path, text in as_files(snapshot).items():
        (tmp_path / path).write_text(text)
    (tmp_path / "p.diff").write_text(offered.diff)
    subprocess.run(["git", "apply", "p.diff"], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "p.diff").unlink()
    assert "oven:1.0" in (tmp_path / "oven-deployment.yaml").read_text()
    assert load_folder(tmp_path)[OVEN] is not None
    assert run(tmp_path / next(iter(proposal.tests))) == (0, "holds\n")


def test_files_that_come_and_go_are_told_by_dev_null() -> None:
    assert diff_of({"a": "x\n"}, {"a": None, "b": "y"}).splitlines() == [
        "--- a/a",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-x",
        "--- /dev/null",
        "+++ b/b",
        "@@ -0,0 +1 @@",
        "+y",
        "\\ No newline at end of file",
    ]
