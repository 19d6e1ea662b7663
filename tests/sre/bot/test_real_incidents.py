"""`holdfast-sre run` on incidents that a real cluster had: each ends closed, with the repair that is known to be right.

The labels choose the cases here and judge them; the bot reads none.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from holdfast_sre.__main__ import app
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evaluation.evaluate import Repair, judge_repair
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.ticket import TicketFolder
from holdfast_sre.repair.last_good.changelog import recent_edits
from tests.sre.diagnosis.recorded import data_file, incidents_archive

CLASSES = (
    "incorrect_image_reference",
    "missing_service_account",
    "liveness_probe_incorrect_port",
    "service_selector_mismatch",
    "oom_killed",
    "pv_binding_occupied",
)
"""The last one blames an object that is not there: no edit of history names it, the last known good does."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One mendable incident of each class, by class: the first in the archive."""
    known = msgspec.json.decode(data_file("fix-oracle-dev.json").read_bytes(), type=dict[str, Repair])
    folder = tmp_path_factory.mktemp("incidents")
    found: dict[str, Path] = {}
    with tarfile.open(incidents_archive(), "r|xz") as tar:  # read once, front to back: seeking would unpack it again
        held: dict[str, dict[str, bytes]] = {}
        for member in tar:
            case, _, name = member.name.removeprefix("dev/").rpartition("/")
            if not member.isfile() or case not in known:
                continue
            files = held.setdefault(case, {})
            content = tar.extractfile(member)
            assert content is not None
            files[name] = content.read()
            if {"metadata.json", "tool_cache.json", "alert.json"} <= files.keys():
                label = json.loads(files["metadata.json"])["result"]["root_cause"]
                if label in CLASSES and label not in found:
                    found[label] = folder / case
                    found[label].mkdir(parents=True)
                    for each, data in held[case].items():
                        (found[label] / each).write_bytes(data)
                held[case] = {}
            if len(found) == len(CLASSES):
                break
    return found


@pytest.mark.slow
@pytest.mark.parametrize("label", CLASSES)
def test_a_real_incident_is_repaired_and_closed(label: str, cases: dict[str, Path], tmp_path: Path) -> None:
    incident = cases.get(label)
    if incident is None:
        pytest.skip(f"no mendable incident of class {label} in the archive")
    case = "/".join(incident.parts[-3:])
    baseline = data_file("baseline") / incident.parts[-3]
    workspace = tmp_path / "workspace"
    arguments = ["run", incident, "--yes", "--baseline", baseline, "--workspace", workspace]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "deployment_complete" in done.output
    assert "deployment_complete" in (workspace / "report.html").read_text()
    assert asyncio.run(statuses(workspace)) == ["closed"]

    known = msgspec.json.decode(data_file("fix-oracle-dev.json").read_bytes(), type=dict[str, Repair])
    good = {f"{ref}.{path}": text for ref, each in load_folder(baseline).items() for path, text in leaves(each).items()}
    judged = judge_repair(case, asyncio.run(merged(workspace)), known[case], good)
    assert (judged.missed, judged.collateral) == ((), ())


async def statuses(workspace: Path) -> list[str]:
    return [ticket.status for ticket in await TicketFolder(workspace / "tickets").all()]


async def merged(workspace: Path) -> tuple[Change, ...]:
    """What the last commit of main changed, leaf by leaf, as git has it."""
    repository = GitRepository(workspace / "manifests.git", identity=Identity("reader", "reader@example.org"))
    head = await repository.head("main")
    namespace = json.loads((workspace / "cluster.json").read_text())["namespace"]
    return (await recent_edits(repository, head, namespace=namespace))[0].changes
