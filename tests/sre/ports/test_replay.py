"""Recorded incidents replayed: what truly mends them makes the cluster healthy, what does not leaves it as it was."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.evidence.opsbench import Incident, read_incident
from holdfast_sre.evidence.snapshot import containers_of
from holdfast_sre.local.cluster import Condition, ReplayCluster
from holdfast_sre.repair.tree.manifests import apply
from tests.sre.diagnosis.recorded import data_file, incidents_archive

EVERY = 6
"""Of the incidents with a known repair each sixth is replayed: about twenty, of nearly all classes."""


@pytest.fixture(scope="module")
def repairs() -> dict[str, list[dict[str, Any]]]:
    known = json.loads(data_file("fix-oracle-dev.json").read_text())
    return {case: known[case]["diffs"] for case in sorted(known)[::EVERY]}


@pytest.fixture(scope="module")
def incidents(repairs: Mapping[str, object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Incident]:
    folder = tmp_path_factory.mktemp("replayed")
    wanted = tuple(f"dev/{case}/" for case in repairs)
    with tarfile.open(incidents_archive(), "r:xz") as tar:
        tar.extractall(folder, [each for each in tar if each.name.startswith(wanted)], filter="data")
    return {case: read_incident(folder / "dev" / case) for case in repairs}


def files_of(incident: Incident) -> dict[str, str]:
    """The declared manifests as YAML, one file per application."""
    by_app: dict[str, list[Any]] = {}
    for ref, manifest in sorted(incident.snapshot.declared.items()):
        by_app.setdefault(incident.apps[ref], []).append(manifest)
    texts = {}
    for app, manifests in by_app.items():
        out = io.StringIO()
        YAML(typ="safe", pure=True).dump_all(manifests, out)
        texts[f"{app}.yaml"] = out.getvalue()
    return texts


async def condition_with(
    incident: Incident, declared: Mapping[str, str], case: str, changes: list[Change]
) -> Condition:
    files: dict[str, str | None] = {**declared}
    files |= apply(declared, changes, namespace=incident.snapshot.namespace)
    present = {path: text for path, text in files.items() if text is not None}

    async def live() -> Mapping[str, str]:
        return present

    good = load_folder(data_file("baseline") / case.split("/")[0])
    images = {str(container.get("image")) for manifest in good.values() for container in containers_of(manifest)}
    return await ReplayCluster(incident.snapshot, live, images_seen=images).condition()


def change_of(diff: Mapping[str, Any]) -> Change:
    about, _, path = str(diff["path"]).partition(".")
    return Change(about, path, diff["faulty"], diff["healthy"])


@pytest.mark.slow
async def test_a_true_repair_heals_and_an_idle_change_does_not(
    incidents: Mapping[str, Incident], repairs: Mapping[str, list[dict[str, Any]]]
) -> None:
    healed, idle = {}, {}
    for case, diffs in repairs.items():
        repair, declared = [change_of(diff) for diff in diffs], files_of(incidents[case])
        healed[case] = (await condition_with(incidents[case], declared, case, repair)).health
        workload = next(ref for ref in incidents[case].snapshot.workloads if ref in incidents[case].snapshot.declared)
        note = Change(str(workload), "metadata.annotations.note", None, "nothing else")
        idle[case] = (await condition_with(incidents[case], declared, case, [note])).health
    assert set(healed.values()) == {"healthy"}, healed
    assert set(idle.values()) == {"degraded"}, idle
