"""Hostile text planted in recorded incidents, wherever a cluster's users and programs can put some: what is found, and
what is done about it, stays what it is."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.evaluation.diagnosis_view import show_diagnosis
from holdfast_sre.evaluation.opsbench_labels import answer
from holdfast_sre.evidence.incident_folders import find_cases
from holdfast_sre.evidence.opsbench import read_incident
from tests.sre.diagnosis.test_incidents import dev  # noqa: F401 - a fixture
from tests.sre.repair.hostile import strings
from tests.sre.repair.test_hostile_text import is_tame

STRINGS = strings()
INCIDENTS = 20
_EVENT = re.compile(r"^(  (?:Normal|Warning) .*)$", re.MULTILINE)
_METADATA = re.compile(r"^metadata:[ ]*$", re.MULTILINE)


def on_one_line(text: str) -> str:
    """As `kubectl describe` and a log's collector have it who know of lines."""
    return " ".join(text.splitlines()) or "-"


def planted(key: str, output: str, text: str) -> str:
    """One recorded output with `text` where somebody else than the cluster decides what stands there."""
    if key.startswith("DescribeResource:"):
        return _EVENT.sub(lambda found: f"{found[1]} {on_one_line(text)}", output)
    if key.startswith("GetAppYAML:"):
        note = f"metadata:\n  annotations:\n    bakery.test/note: {json.dumps(text)}"
        return output if "annotations:" in output else _METADATA.sub(lambda _: note, output, count=1)
    if key.startswith("GetErrorLogs:"):
        return f"{output}\n{text}\n" if not output.lstrip().startswith(("[", "{")) else output
    if key.startswith("CheckNodeServiceStatus:"):
        return f"{output}\nNov 11 01:03:09 master agent[1]: {on_one_line(text)}\n"
    return output


def with_text(folder: Path, to: Path, text: str) -> Path:
    """A copy of a recorded incident with `text` in it."""
    shutil.copytree(folder, to)
    cache = to / "tool_cache.json"
    recorded: Mapping[str, object] = json.loads(cache.read_bytes())
    cache.write_text(
        json.dumps(
            {key: planted(key, output, text) if isinstance(output, str) else output for key, output in recorded.items()}
        )
    )
    alerts = to / "alert.json"
    if alerts.is_file():
        told = json.loads(alerts.read_bytes())
        for alert in told.get("alerts", ()):
            alert["evidence"] = [*alert.get("evidence", ()), text]
        alerts.write_text(json.dumps(told))
    return to


def told(diagnosis: Diagnosis) -> list[object]:
    """What is found and what it is found in, without the words."""
    return [(each.rule, each.object, each.confidence, each.blames) for each in diagnosis.ranked]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.long)])
def test_no_text_in_a_recorded_incident_changes_what_is_found(
    dev: Path,  # noqa: F811
    tmp_path: Path,
    every: int,
) -> None:
    cases = find_cases([dev])
    chosen = random.Random(7).sample(cases, INCIDENTS)
    for number, case in enumerate(chosen):
        wanted = told(diagnose(read_incident(case.folder).snapshot))
        for position, text in enumerate(STRINGS[number :: INCIDENTS * every]):
            incident = read_incident(with_text(case.folder, tmp_path / f"{number}-{position}", text))
            diagnosis = diagnose(incident.snapshot)
            assert told(diagnosis) == wanted, (case.name, text)
            stream = io.StringIO()
            console = Console(file=stream, width=100, highlight=False, emoji=False)
            answers = [answer(incident, finding) for finding in diagnosis.ranked]
            show_diagnosis(console, case.name, diagnosis, answers, seconds=0.1)
            assert is_tame(stream.getvalue()), (case.name, text)
            shutil.rmtree(tmp_path / f"{number}-{position}")


PLACES: Mapping[str, Callable[[str], bool]] = {
    "DescribeResource:": lambda output: bool(_EVENT.search(output)),
    "GetAppYAML:": lambda output: bool(_METADATA.search(output)),
    "GetErrorLogs:": lambda output: True,
    "CheckNodeServiceStatus:": lambda output: True,
}


def test_the_text_is_planted_where_it_is_meant_to_be(dev: Path, tmp_path: Path) -> None:  # noqa: F811
    """Each kind of place is there, and is read: a test that plants nothing would find nothing."""
    case = find_cases([dev])[0]
    folder = with_text(case.folder, tmp_path / "x", "marked-text")
    recorded = json.loads((folder / "tool_cache.json").read_bytes())
    for place, is_one in PLACES.items():
        assert any(key.startswith(place) and "marked-text" in output and is_one(output)
                   for key, output in recorded.items() if isinstance(output, str)), place  # fmt: skip
    snapshot = read_incident(folder).snapshot
    assert any("marked-text" in event.message for event in snapshot.events)
    assert any("marked-text" in line.text for line in snapshot.logs)
    assert any("marked-text" in str(manifest) for manifest in snapshot.declared.values())
