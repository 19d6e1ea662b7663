"""`holdfast-sre propose` and `diagnose` as people and programs meet them: dumps, a repository, standard input."""

from __future__ import annotations

import asyncio
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast_sre.__main__ import app
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evaluation.evaluate import Leaf, Repair
from holdfast_sre.evaluation.repairs import Trial, plant
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from tests.sre.diagnosis.recorded import data_file, incidents_archive
from tests.sre.diagnosis.worlds import NAMESPACE
from tests.sre.evidence.dumps import as_list, objects_of, unpullable, write_dump

ANA = Identity("Ana", "ana@bakery.test")
OVEN = """\
# The oven. Ask Ana before you touch it.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: oven
  labels: {tier: back}
spec:
  replicas: 1
  selector:
    matchLabels: {app: oven}
  template:
    metadata:
      labels: {app: oven}
    spec:
      containers:
      - name: app
        image: "registry.test/oven:1.0"   # pinned
        ports:
        - containerPort: 8000
        resources:
          limits: {cpu: 100m}
"""
START = 1_700_000_000
DAY = 86_400


def cli(*arguments: str | Path, stdin: bytes | str | None = None) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)


def told(*arguments: str | Path, stdin: bytes | str | None = None) -> dict[str, Any]:
    result = cli(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_dump(tmp_path / "dump", unpullable())


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A checkout whose history has the fault, and benign changes before and after it."""

    async def make() -> None:
        repository = await GitRepository.create(tmp_path / "r.git", identity=ANA)
        texts = [
            ("First", OVEN),
            ("Oven 9.9", OVEN.replace(":1.0", ":9.9")),
            ("More room", OVEN.replace(":1.0", ":9.9").replace("100m", "300m")),
        ]
        for number, (subject, text) in enumerate(texts):
            at_s = START + number * DAY
            await repository.record("main", {"apps/oven.yaml": text}, subject, author=ANA, at_s=at_s)

    asyncio.run(make())
    return tmp_path / "r.git"


def test_a_dump_and_a_repository_give_a_repair_with_its_proof(dump: Path, manifests: Path) -> None:
    found = told("propose", dump, "--manifests", manifests)
    path = "spec.template.spec.containers[app].image"
    good, bad = "registry.test/oven:1.0", "registry.test/oven:9.9"
    assert found["action"] == "patch"
    assert found["changes"] == [{"object": "Deployment/oven", "path": path, "from": bad, "to": good}]
    assert found["source"] == "last known good"
    assert "brought by" in found["history"]
    assert "Oven 9.9" in found["history"]
    assert [line.split(maxsplit=3)[3] for line in found["since"]] == ["More room"]
    lines = [line for line in found["diff"].splitlines() if line[:1] in "+-" and "holdfast-checks" not in line]
    assert lines[:4] == [
        "--- a/apps/oven.yaml",
        "+++ b/apps/oven.yaml",
        '-        image: "registry.test/oven:9.9"   # pinned',
        '+        image: "registry.test/oven:1.0"   # pinned',
    ]
    assert any("strict schema" in proof for proof in found["proof"])
    assert found["blast_radius"]["restarts"] == ["Deployment/oven"]
    assert list(found["tests"]) == ["holdfast-checks/test_oven_image_not_found.py"]


def test_commits_stand_on_the_line_of_time_of_an_explanation(dump: Path, manifests: Path) -> None:
    explained = told("explain", dump, "--manifests", manifests)["explanation"]
    changes = [each["text"] for each in explained["finding"]["timeline"] if each["source"].startswith("commit ")]
    assert changes == ["Oven 9.9 (brought what is blamed)", "More room"]
    assert all(" of Ana" in each["source"] for each in explained["finding"]["timeline"] if "commit" in each["source"])
    alone = told("explain", dump)["explanation"]
    assert any("--manifests" in each for each in alone["missing"])
    assert "Oven 9.9" in cli("explain", dump, "--manifests", manifests).stdout


def test_people_see_diff_proof_and_blast_radius(dump: Path, manifests: Path) -> None:
    said = cli("propose", dump, "--manifests", manifests).stdout
    for part in (
        "patch",
        "brought by",
        "also then",
        "oven:1.0",
        "proof",
        "touches",
        "restarts Deployment/oven",
        "missing",
    ):
        assert part in said, part


def test_when_all_was_well_decides_what_is_suspect(dump: Path, manifests: Path) -> None:
    late = told("propose", dump, "--manifests", manifests, "--healthy-at", "2023-11-16T12:00:00Z")
    assert (late["action"], late["changes"]) == ("escalate", [])
    early = told("propose", dump, "--manifests", manifests, "--healthy-at", "2023-11-14T23:00:00Z")
    assert early["action"] == "patch"
    result = cli("propose", dump, "--manifests", manifests, "--healthy-at", "yesterday")
    assert (result.exit_code, "expected a time" in result.stderr) == (2, True)


def test_without_a_baseline_a_dump_is_escalated_with_the_next_step(dump: Path) -> None:
    found = told("propose", dump)
    assert found["action"] == "escalate"
    assert found["next_step"] == "put back the last image that ran"
    assert found["diff"] == ""


@pytest.mark.parametrize("form", ["list", "stream", "tar"])
def test_standard_input_is_read(dump: Path, tmp_path: Path, form: str) -> None:
    items = objects_of(unpullable())
    if form == "tar":
        with tarfile.open(tmp_path / "d.tgz", "w:gz") as archive:
            archive.add(dump, arcname="dump")
        data = (tmp_path / "d.tgz").read_bytes()
    else:
        data = (as_list(items) if form == "list" else "\n".join(map(json.dumps, items))).encode()
    found = told("diagnose", "-", stdin=data)
    assert found["case"] == "standard input"
    assert found["ranked"][0]["fault_object"] == "app/oven"
    assert any("measured deviations" in text for text in found["missing"])


def test_each_namespace_of_a_dump_is_a_case(dump: Path) -> None:
    write_dump(dump, unpullable(), namespace="other")
    result = cli("diagnose", dump, "--json")
    assert [json.loads(line)["case"] for line in result.stdout.splitlines()] == [f"dump:{NAMESPACE}", "dump:other"]
    assert told("diagnose", dump, "--namespace", "other")["case"] == "dump"
    result = cli("diagnose", dump, "--namespace", "nowhere")
    assert (result.exit_code, "expected objects of namespace 'nowhere'" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("diagnose", "absent"), "expected a folder, a dump or an archive, saw nothing"),
        (("propose", "dump", "--manifests", "absent"), "expected a folder or a git repository"),
        (("propose", "dump", "--manifests", "empty"), "expected manifests"),
        (("diagnose", "-"), "expected Kubernetes objects"),
        (("eval", "dump", "--repairs"), "expected --baseline FOLDER and --oracle FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_its_own_exit_code(
    dump: Path, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    (tmp_path / "empty").mkdir()
    named = {"absent", "dump", "empty"}
    result = cli(*(tmp_path / each if each in named else each for each in arguments), stdin=b"")
    assert result.exit_code == 2
    assert word in result.stderr
    assert "Traceback" not in result.output


def test_a_tree_that_nobody_can_build_is_escalated_by_name(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("name: oven\n")
    (folder / "templates" / "oven.yaml").write_text("image: {{ .Values.image }}\n")
    monkeypatch.setenv("PATH", "/nowhere")
    nameless = cli("propose", dump, "--manifests", folder)
    assert nameless.exit_code == 2
    assert "no release of this chart is known" in nameless.stderr
    result = cli("propose", dump, "--manifests", folder, "--release", ".=oven")
    assert result.exit_code == 2
    assert "built by helm, which is not on PATH" in result.stderr


# -- eval --repairs ------------------------------------------------------------------------------------------------


def test_drift_is_planted_by_its_seed_and_spares_what_it_must() -> None:
    snapshot = unpullable().snapshot()
    image = "Deployment/oven.spec.template.spec.containers[app].image"
    first = plant(snapshot.declared, seed=3, share=0.5, spared=frozenset({image}))
    assert first == plant(snapshot.declared, seed=3, share=0.5, spared=frozenset({image}))
    assert first != plant(snapshot.declared, seed=4, share=0.5, spared=frozenset({image}))
    everything = plant(snapshot.declared, seed=3, share=1.0, spared=frozenset({image}))
    assert image not in everything.leaves
    assert "Deployment/till.spec.template.spec.containers[app].image" in everything.leaves
    assert plant(snapshot.declared, seed=3, share=0.0, spared=frozenset()).leaves == frozenset()


def test_a_trial_tells_restored_beside_and_unsafe() -> None:
    snapshot = unpullable().snapshot()
    good: dict[Ref, Any] = json.loads(json.dumps({str(ref): item for ref, item in snapshot.declared.items()}))
    last = {Ref(*name.split("/")): item for name, item in good.items()}
    last[Ref("Deployment", "oven")]["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.test/oven:1.0"
    image = "Deployment/oven.spec.template.spec.containers[app].image"
    known = {"a": Repair("oven", (Leaf(image, "registry.test/oven:9.9", "registry.test/oven:1.0"),))}
    trial = Trial(last, known, seed=1, share=1.0)
    trial.weigh("a", snapshot, diagnose(snapshot))
    trial.weigh("b", snapshot, diagnose(snapshot))  # no repair is known, so this patch is wrong, and a tester sees it
    found = trial.report()
    assert (found.with_drift.restored, found.with_drift.mendable) == (1.0, 1)
    assert (found.with_drift.rightly_escalated, found.with_drift.collateral_leaves) == (0.0, 1)
    assert found.drifted_leaves_mean > 10
    assert found.unsafe_without_baseline == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_development_incidents_are_mended_through_drift(tmp_path: Path) -> None:
    """Every fourth incident; all of them by `eval --repairs`."""
    oracle, baseline = data_file("fix-oracle-dev.json"), data_file("baseline")
    with tarfile.open(incidents_archive(), "r:xz") as tar:
        tar.extractall(tmp_path, filter="data")
    folders = sorted(path.parent for path in (tmp_path / "dev").rglob("tool_cache.json"))
    for number, folder in enumerate(folders):
        if number % 4:
            shutil.rmtree(folder)
    command = (
        "eval",
        tmp_path / "dev",
        "--repairs",
        "--oracle",
        oracle,
        "--baseline",
        baseline,
        "--drift",
        "0.6",
        "--json",
    )
    result = cli(*command)
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores["with_drift"]["restored"] >= 0.95
    assert scores["with_drift"]["collateral_leaves"] == 0
    assert scores["with_drift"]["rightly_escalated"] == 1.0
    assert scores["unsafe_without_baseline"] == []
