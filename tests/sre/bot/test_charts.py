"""The bot over a repository whose manifests helm builds: an Application names the release, a value is changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from holdfast import Unavailable
from holdfast_sre.cli.workspace import open_world
from holdfast_sre.flow.chart import CLOSED
from holdfast_sre.local.deployment import LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from tests.sre.bot.bench import BOOKING, SOON_S, OpenBench
from tests.sre.bot.conftest import ON_MEMORY
from tests.sre.repair.charts import APPLICATION, KUBE_PATH, needs_helm

ANA = Identity("Ana", "ana@ferry.example")
PROD = "ferry/values-prod.yaml"


async def as_chart(workspace: Path) -> None:
    """The last two commits of the demo's repository again, as a chart that has the limit of booking as a value."""
    old = GitRepository(workspace / "manifests.git", identity=ANA)
    faulty, healthy = (await old.history(await old.head("main")))[:2]
    trees = [(commit, await old.files(commit.revision)) for commit in (healthy, faulty)]
    shutil.rmtree(workspace / "manifests.git")
    new = await GitRepository.create(workspace / "manifests.git", identity=ANA)
    for commit, files in trees:
        templates = {path.replace("apps/", "ferry/templates/"): text for path, text in files.items()}
        mine = f"ferry/templates/{BOOKING.name}.yaml"
        request, limit = re.findall(r"memory: (\d+Mi)", templates[mine])
        named = {request: '{{ include "of" .Values.booking.request }}', limit: "{{ .Values.booking.limit }}"}
        for size, value in named.items():
            templates[mine] = templates[mine].replace(f"memory: {size}", f"memory: {value}")
        tree: dict[str, str | None] = {
            **templates,
            "ferry/Chart.yaml": "apiVersion: v2\nname: ferry\nversion: 1.0.0\n",
            "ferry/templates/_helpers.tpl": '{{ define "of" }}{{ . }}{{ end }}\n',
            "ferry/values.yaml": "booking: {request: 1Gi, limit: 1Gi}\n",
            PROD: f"# production\nbooking:\n  request: {request}\n  limit: {limit}   # measured\n",
            "apps/ferry.yaml": APPLICATION.replace("path: oven", "path: ferry").replace("prod", "ferry"),
        }
        tree["apps/ferry.yaml"] = str(tree["apps/ferry.yaml"]).replace("values-ferry", "values-prod")
        await new.record("main", tree, commit.subject, author=ANA, at_s=int(commit.at_s))


@needs_helm
@ON_MEMORY
async def test_a_chart_goes_the_whole_way_to_closed(
    open_bench: OpenBench, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", KUBE_PATH)
    await as_chart(workspace)
    bench = await open_bench()
    run = await bench.to_review()
    pull = await bench.pull()
    assert [line for line in pull.diff.text.splitlines() if line[:1] in "+-"] == [
        f"--- a/{PROD}",
        f"+++ b/{PROD}",
        "-  request: 64Mi",
        "-  limit: 96Mi   # measured",
        "+  request: 256Mi",
        "+  limit: 384Mi   # measured",
    ]
    assert "by Ana: Trim memory of booking" in (await bench.ticket()).comments[2].text, "found by building the history"
    await run.send("approve", by="ana")
    await run.reach(CLOSED, timeout_s=SOON_S)
    live = await LiveFolder(workspace / "live").files()
    assert live is not None
    assert "384Mi" in live[PROD]
    assert (await bench.ticket()).status == "closed"


async def test_without_helm_a_workspace_says_what_is_missing(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(git)
    await as_chart(workspace)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Unavailable, match="ferry: these manifests are built by helm, which is not on PATH"):
        await open_world(workspace)
