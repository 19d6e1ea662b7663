"""`holdfast-sre propose --manifests` over a git repository with a chart, built by the real helm."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast_sre.cli.given_manifests import open_manifests
from holdfast_sre.files import replace_text
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.repair.built.renderers import Programs
from tests.sre.diagnosis.worlds import NAMESPACE
from tests.sre.evidence.dumps import unpullable, write_dump
from tests.sre.repair.charts import APPLICATION, ENVIRONMENTS, KUBE_PATH, OVEN, PROD, TEST, needs_helm
from tests.sre.repair.test_propose_command import ANA, DAY, START, cli, told

pytestmark = needs_helm

GOOD, BAD = "registry.test/oven:1.0", "registry.test/oven:9.9"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", KUBE_PATH)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_dump(tmp_path / "dump", unpullable())


def as_dumped(files: dict[str, str]) -> dict[str, str]:
    """The chart with the names of the dump's objects."""
    named = {
        path: text.replace('{{ include "oven.fullname" . }}', "{{ .Release.Name }}") for path, text in files.items()
    }
    return {path: text.replace("- name: {{ .Chart.Name }}\n", "- name: app\n") for path, text in named.items()}


def recorded(tmp_path: Path, *trees: tuple[str, dict[str, str]]) -> Path:
    """A repository with a commit a day."""

    async def make() -> None:
        repository = await GitRepository.create(tmp_path / "r.git", identity=ANA)
        for number, (subject, files) in enumerate(trees):
            at_s = START + number * DAY
            await repository.record("main", dict(as_dumped(files)), subject, author=ANA, at_s=at_s)

    asyncio.run(make())
    return tmp_path / "r.git"


def with_environments(tmp_path: Path, **more: str) -> Path:
    healthy = ENVIRONMENTS[PROD].replace("tag: 9.9", 'tag: "1.0"')
    return recorded(
        tmp_path,
        ("First", {**ENVIRONMENTS, PROD: healthy, **more}),
        ("Oven 9.9", {**ENVIRONMENTS, **more}),
        ("Hotter", {**ENVIRONMENTS, PROD: ENVIRONMENTS[PROD] + "heat: 240\n", **more}),
    )


def lines_of(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line[:1] in "+-"]


def test_the_value_that_brought_it_is_put_back(dump: Path, tmp_path: Path) -> None:
    manifests = with_environments(tmp_path)
    releases = ("--release", f"oven={NAMESPACE}/oven:values-prod.yaml", "--release", f"oven=test/oven:{TEST}")
    found = told("propose", dump, "--manifests", manifests, *releases)
    assert (found["action"], found["source"]) == ("patch", "last known good")
    assert [(each["from"], each["to"]) for each in found["changes"]] == [(BAD, GOOD)]
    assert "Oven 9.9" in found["history"]
    assert lines_of(found["diff"]) == [
        f"--- a/{PROD}",
        f"+++ b/{PROD}",
        "-  tag: 9.9   # bumped",
        '+  tag: "1.0"   # bumped',
    ]
    assert found["tests"] == {}, "they read files as they stand, and the object stands in none"


def test_an_application_in_the_tree_is_enough(dump: Path, tmp_path: Path) -> None:
    text = APPLICATION.replace("name: shop", "name: oven").replace("namespace: prod", f"namespace: {NAMESPACE}")
    manifests = with_environments(tmp_path, **{"apps/oven.yaml": text})
    assert lines_of(told("propose", dump, "--manifests", manifests)["diff"])[0] == f"--- a/{PROD}"
    explained = told("explain", dump, "--manifests", manifests)["explanation"]
    assert "Oven 9.9 (brought what is blamed)" in [each["text"] for each in explained["finding"]["timeline"]]


def test_the_name_that_helm_wrote_in_the_cluster_is_enough_for_one_release(dump: Path, tmp_path: Path) -> None:
    healthy = {**OVEN, "oven/values.yaml": OVEN["oven/values.yaml"]}
    faulty = {**OVEN, "oven/values.yaml": OVEN["oven/values.yaml"].replace('tag: "1.0"', 'tag: "9.9"')}
    manifests = recorded(tmp_path, ("First", healthy), ("Oven 9.9", faulty))
    nameless = cli("propose", dump, "--manifests", manifests)
    assert nameless.exit_code == 2
    assert "no release of this chart is known" in nameless.stderr
    path = dump / NAMESPACE / "deployments.json"
    objects = json.loads(path.read_text())
    metadata = next(item["metadata"] for item in objects["items"] if item["metadata"]["name"] == "oven")
    metadata["labels"] = {**metadata.get("labels", {}), "helm.sh/chart": "oven-0.3.0"}
    metadata["annotations"] = {"meta.helm.sh/release-name": "oven", "meta.helm.sh/release-namespace": NAMESPACE}
    path.write_text(json.dumps(objects))
    found = told("propose", dump, "--manifests", manifests)
    assert [line for line in lines_of(found["diff"]) if "tag" in line] == [
        '-  tag: "9.9"   # the last that baked',
        '+  tag: "1.0"   # the last that baked',
    ]


def test_a_chart_without_a_release_is_told_beside_what_can_be_read(dump: Path, tmp_path: Path) -> None:
    plain = {"till.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: till}\ndata: {tone: low}\n"}
    manifests = recorded(tmp_path, ("First", {**OVEN, **plain}))
    found = told("propose", dump, "--manifests", manifests)
    assert found["action"] == "escalate"
    explained = told("explain", dump, "--manifests", manifests)["explanation"]
    for missing in (
        found["missing"],
        told("diagnose", dump, "--manifests", manifests)["missing"],
        explained["missing"],
    ):
        assert any("oven: no release of this chart is known" in each for each in missing)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--release", "oven"), "--release: expected CHART=[NAMESPACE/]NAME[:VALUES[,VALUES]], saw 'oven'"),
        (("--release", "stove=oven"), "expected a chart of the manifests (oven), saw 'stove'"),
        (("--release", "oven=oven:x.yaml"), "expected the value file 'x.yaml'"),
    ],
)
def test_a_release_that_is_none_is_refused(dump: Path, tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    manifests = recorded(tmp_path, ("First", ENVIRONMENTS))
    for command in ("propose", "diagnose", "explain"):
        result = cli(command, dump, "--manifests", manifests, *arguments)
        assert (result.exit_code, word in result.stderr) == (2, True), result.stderr
        alone = cli(command, dump, *arguments)
        assert (alone.exit_code, "expected --manifests beside it" in alone.stderr) == (2, True)


async def test_a_repository_gives_what_a_chart_is_built_from(tmp_path: Path) -> None:
    repository = await GitRepository.create(tmp_path / "r.git", identity=Identity("Ana", "ana@bakery.test"))
    files: dict[str, str | None] = {**OVEN, "src/oven.py": "heat = 220\n"}
    commit = await repository.record("main", files, "All of it", author=ANA)
    assert await repository.files(commit.revision) == OVEN


def test_packed_charts_are_read_byte_for_byte(tmp_path: Path) -> None:
    packed = bytes(range(256))
    (tmp_path / "r" / "oven" / "charts").mkdir(parents=True)
    (tmp_path / "r" / "oven" / "Chart.yaml").write_text("name: oven\n")
    (tmp_path / "r" / "oven" / "charts" / "till-1.0.0.tgz").write_bytes(packed)
    name = ("-c", "user.name=Ana", "-c", "user.email=ana@bakery.test")
    for command in (("init", "-q"), ("add", "."), (*name, "commit", "-qm", "All of it")):
        subprocess.run(["git", *command], cwd=tmp_path / "r", check=True)
    given = open_manifests(tmp_path / "r", Programs())
    text = given.files["oven/charts/till-1.0.0.tgz"]
    replace_text(tmp_path / "copy", text)
    assert (tmp_path / "copy").read_bytes() == packed
    shutil.rmtree(tmp_path / "r" / ".git")
    assert open_manifests(tmp_path / "r", Programs()).files == given.files
