"""Whether the recorded incidents are still diagnosed where they are not quite as they were recorded.

Rules that were written with these incidents in sight must hold for others: with other names and orders, and with parts
of the evidence missing. The floors are ratchets: only ever raised.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evaluation.opsbench_labels import Answer, answer, read_label
from holdfast_sre.evidence.incident_folders import find_cases
from holdfast_sre.evidence.opsbench import Incident, read_incident
from holdfast_sre.evidence.snapshot import Snapshot
from tests.sre.diagnosis.perturbed import WITHOUT, renamed, shuffled
from tests.sre.diagnosis.test_incidents import dev  # noqa: F401 - a fixture

FLOORS = {
    "alerts": 0.98,
    "metrics": 1.0,
    "failed requests": 1.0,
    "connection attempts": 0.98,
    "node services": 0.98,
    "recorded calls": 0.98,
    "logs": 0.96,
    "events": 0.85,
    "nodes": 1.0,
    "replica sets": 1.0,
    "endpoints": 1.0,
    "secrets": 1.0,
    "accounts": 1.0,
}
TIMEOUT_S = 600
"""For all incidents on a machine that has much else to do."""
EVERY = 2
"""One in so many of the incidents is taken, all of them with the tests marked `long`."""
EVERY_RENAMED = 3
"""And of those whose names are changed one in so many: parsing their manifests anew takes long."""


class Known(msgspec.Struct, frozen=True):
    """An incident with its label."""

    name: str
    folder: Path
    incident: Incident
    truth: Answer


@pytest.fixture(scope="module", params=[EVERY, pytest.param(1, marks=pytest.mark.long)], ids="one in {}".format)
def known(dev: Path, request: pytest.FixtureRequest) -> list[Known]:  # noqa: F811
    found = []
    for case in find_cases([dev])[:: request.param]:
        truth = read_label(case.folder)
        if truth is not None:
            found.append(Known(case.name, case.folder, read_incident(case.folder), truth))
    assert len(found) > 150 // EVERY
    return found


def is_right(case: Known, snapshot: Snapshot) -> bool:
    ranked = diagnose(snapshot).ranked[:1]
    return [answer(case.incident, finding) for finding in ranked] == [case.truth]


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("part", WITHOUT)
def test_a_missing_part_of_the_evidence_costs_little(known: list[Known], part: str) -> None:
    missed = [case.name for case in known if not is_right(case, WITHOUT[part](case.incident.snapshot))]
    assert 1 - len(missed) / len(known) >= FLOORS[part], missed


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_the_order_of_the_evidence_costs_nothing(known: list[Known]) -> None:
    for seed, case in enumerate(known):
        mixed, told = (
            diagnose(item).ranked for item in (shuffled(case.incident.snapshot, seed), case.incident.snapshot)
        )
        assert [(item.rule, item.object, item.confidence) for item in mixed] == [
            (item.rule, item.object, item.confidence) for item in told
        ], case.name


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_other_names_cost_nothing(known: list[Known], tmp_path: Path) -> None:
    assert sum(case.truth.fault_object.startswith("app/") for case in known[::EVERY_RENAMED]) > 20
    for case in known[::EVERY_RENAMED]:
        folder = renamed(case.folder, tmp_path / case.name, case.name)
        incident, truth = read_incident(folder), read_label(folder)
        ranked = diagnose(incident.snapshot).ranked[:1]
        assert [answer(incident, finding) for finding in ranked] == [truth], case.name
