"""The reader of recorded incidents, the commands, and a ratchet on how many of them are diagnosed and mended."""

from __future__ import annotations

import copy
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from holdfast import InvalidInput
from holdfast_sre.cli.diagnosis import register
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evaluation.opsbench_labels import answer, read_label
from holdfast_sre.evidence import opsbench
from holdfast_sre.evidence.incident_folders import find_cases
from holdfast_sre.evidence.opsbench import read_incident
from holdfast_sre.evidence.opsbench_signals import TEXT_CHARS_MAX
from holdfast_sre.evidence.snapshot import Ref, dig
from holdfast_sre.repair.propose import propose
from tests.sre.diagnosis.recorded import data_file, incidents_archive

FIRST_MIN = 1.0
"""Share of the development incidents whose first answer is right. A ratchet: only ever raised."""
RESTORED_MIN = 0.99
SECONDS_MEAN_MAX = 0.5


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("incidents")
    with tarfile.open(incidents_archive(), "r:xz") as tar:
        tar.extractall(folder, filter="data")
    yield folder / "dev"
    shutil.rmtree(folder)


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    register(application)
    return application


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write_incident(folder: Path, cache: object, about: object = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "tool_cache.json").write_text(json.dumps(cache))
    (folder / "incident.json").write_text(json.dumps(about or {"namespace": "bakery", "query": "it is slow"}))
    return folder


def test_an_incident_is_read_into_the_shapes_of_the_api(dev: Path) -> None:
    snapshot = read_incident(dev / "boutique" / "admission" / "10").snapshot
    assert snapshot.missing == ()
    short = [ref for ref in snapshot.workloads if dig(snapshot.live[ref], "status.readyReplicas") == 0]
    assert len(short) == 1
    assert snapshot.addresses_of(short[0].name) == []
    assert snapshot.callers_of(short[0].name)
    assert all(ref in snapshot.live for ref in snapshot.declared if ref.kind == "Deployment")
    pods = [ref for ref in snapshot.live if ref.kind == "Pod"]
    assert {snapshot.owner_of(ref).kind for ref in pods} == {"Deployment"}


def test_labels_are_never_read_by_diagnosis(dev: Path, tmp_path: Path, app: typer.Typer) -> None:
    """The same folder with its labels falsified, and without any, gives the same output byte for byte."""
    original = dev / "trainticket" / "service" / "2"
    about = json.loads((original / "metadata.json").read_text())
    variants: list[tuple[str, Any]] = []
    for name, content in (
        ("metadata.json", about),
        ("metadata.json", about | {"result": {"root_cause": "oom_killed", "fault_object": "app/x"}, "process": {}}),
        ("incident.json", {key: about[key] for key in ("namespace", "query")}),
    ):
        folder = tmp_path / str(len(variants)) / "a" / "b" / "1"
        shutil.copytree(original, folder)
        (folder / "metadata.json").unlink()
        (folder / name).write_text(json.dumps(content))
        output = CliRunner().invoke(app, ["propose", str(folder), "--json"]).stdout
        ranked = lines(CliRunner().invoke(app, ["diagnose", str(folder), "--json"]).stdout)[0]["ranked"]
        variants.append((output, ranked))
    assert variants[0] == variants[1] == variants[2]
    assert variants[0][1]


def test_the_command_prints_one_line_per_incident(dev: Path, app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["diagnose", str(dev / "boutique" / "runtime"), "--json"])
    found = lines(result.stdout)
    assert result.exit_code == 0
    assert [line["case"] for line in found[:3]] == ["2", "4", "10"]
    assert set(found[0]) == {"case", "seconds", "ranked", "unexplained", "looked_at", "missing"}
    named = {"root_cause", "fault_object", "rule", "object", "confidence", "evidence", "victims", "timeline"}
    assert set(found[0]["ranked"][0]) == named
    assert found[0]["ranked"][0]["timeline"]
    single = CliRunner().invoke(app, ["diagnose", str(dev / "boutique" / "runtime" / "10"), "--json"])
    assert lines(single.stdout)[0]["case"] == "boutique/runtime/10"


def test_people_get_tables(dev: Path, app: typer.Typer) -> None:
    folder = str(dev / "boutique" / "runtime" / "10")
    assert "explains" in CliRunner().invoke(app, ["diagnose", str(dev / "boutique" / "admission" / "10")]).stdout
    assert "liveness_probe_incorrect_port" in CliRunner().invoke(app, ["diagnose", folder]).stdout
    assert "patch" in CliRunner().invoke(app, ["propose", folder]).stdout
    assert "A@1" in CliRunner().invoke(app, ["eval", str(dev / "boutique" / "runtime")]).stdout


@pytest.mark.slow
def test_development_incidents_are_diagnosed_and_mended(dev: Path, app: typer.Typer) -> None:
    oracle, baseline = data_file("fix-oracle-dev.json"), data_file("baseline")
    result = CliRunner().invoke(app, ["eval", str(dev), "--json", "--oracle", str(oracle), "--baseline", str(baseline)])
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores["diagnosis"]["overall"]["A@1"] >= FIRST_MIN
    assert scores["diagnosis"]["overall"]["seconds_mean"] <= SECONDS_MEAN_MAX
    assert scores["repair"]["restored"] >= RESTORED_MIN
    assert scores["repair"]["collateral_leaves"] == 0
    assert scores["repair"]["rightly_escalated"] == 1.0


@pytest.mark.slow
def test_half_a_record_is_diagnosed_without_a_crash_and_says_what_is_missing(dev: Path, tmp_path: Path) -> None:
    parts = (
        "GetErrorLogs",
        "CheckService",
        "CheckNode",
        "GetAppYAML",
        "DescribeResource",
        "GetResources",
        "GetService",
    )
    for number, case in enumerate(find_cases([dev])[::24]):
        cache = json.loads((case.folder / "tool_cache.json").read_text())
        missing = set(read_incident(case.folder).snapshot.missing)
        for part in parts:
            half = {key: value for key, value in cache.items() if not key.startswith(part)}
            folder = write_incident(tmp_path / f"{number}-{part}", half)
            snapshot = read_incident(folder).snapshot
            diagnose(snapshot)
            assert (set(snapshot.missing) > missing) == (part in ("GetAppYAML", "GetResources"))


def test_folders_that_are_no_incident_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"empty: expected incidents.*saw none"):
        find_cases([tmp_path / "empty"])
    with pytest.raises(InvalidInput, match=r"absent: expected a folder, saw nothing"):
        find_cases([tmp_path / "absent"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"file: expected a folder, saw a file"):
        find_cases([tmp_path / "file"])


@pytest.mark.parametrize(
    ("cache", "about", "message"),
    [
        ([1], None, r"tool_cache.json: expected a JSON object, saw list"),
        ({}, [1], r"incident.json: expected a JSON object, saw list"),
        ({}, {"namespace": 3}, r"incident.json: expected the texts 'namespace' and 'query'"),
    ],
)
def test_a_broken_record_is_refused_by_name(tmp_path: Path, cache: object, about: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_incident(write_incident(tmp_path / "x", cache, about))


def test_a_record_without_its_description_is_refused(tmp_path: Path) -> None:
    folder = write_incident(tmp_path / "x", {})
    (folder / "incident.json").unlink()
    with pytest.raises(InvalidInput, match=r"expected metadata.json or incident.json .* saw neither"):
        read_incident(folder)
    (folder / "tool_cache.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"tool_cache.json: expected JSON"):
        read_incident(folder)


def test_texts_are_bounded_where_they_are_read(tmp_path: Path) -> None:
    long = "x" * (TEXT_CHARS_MAX + 1)
    described = f"Name: oven\nEvents:\n  Type  Reason  Age  From  Message\n  Warning  Failed  1s  kubelet  {long}\n"
    cache = {
        'GetErrorLogs:{"service_name":"oven"}': [long],
        'DescribeResource:{"resource_type": "pods", "name": "oven"}': described,
        'CheckServiceConnectivity:{"service_name": "oven", "port": 80}': long,
    }
    folder = write_incident(tmp_path / "x", cache)
    alert = {
        "name": "oven",
        "entry_service": "oven",
        "raw_error": long,
        "url": long,
        "evidence": [f"ERROR_SPIKE Val: 1 {long}"],
    }
    (folder / "alert.json").write_text(json.dumps({"alerts": [alert]}))
    snapshot = read_incident(folder).snapshot
    texts = [
        *(line.text for line in snapshot.logs),
        *(event.message for event in snapshot.events),
        *(probe.text for probe in snapshot.probes),
        *(signal.text for signal in snapshot.signals),
        *(text for failure in snapshot.failures for text in (failure.text, failure.url)),
    ]
    assert [len(text) for text in texts] == [TEXT_CHARS_MAX] * 6


def test_a_record_that_is_too_large_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_incident(tmp_path / "x", {})
    monkeypatch.setattr(opsbench, "JSON_BYTES_MAX", 1)
    with pytest.raises(InvalidInput, match=r"tool_cache.json: expected at most 1 bytes, saw 2"):
        read_incident(folder)


def test_manifests_that_do_not_parse_are_missing_not_fatal(tmp_path: Path) -> None:
    cache = {'GetAppYAML:{"app_name":"oven"}': "a: [b", 'GetErrorLogs:{"service_name":"oven"}': "plain text"}
    snapshot = read_incident(write_incident(tmp_path / "x", cache)).snapshot
    assert any("manifests of oven: expected YAML" in text for text in snapshot.missing)
    assert [line.text for line in snapshot.logs] == ["plain text"]


TEXTS = st.sampled_from(
    ["", "NAME   READY\noven   0/1", "Name: oven", "x\ny   z", "a: [", '{"patterns": [1]}', "\x1b[2J"]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), TEXTS),
    lambda below: st.lists(below) | st.dictionaries(TEXTS, below),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        *(
            f'GetResources:{{"resource_type": "{kind}", "name": ""}}'
            for kind in ("pods", "endpoints", "events", "nodes")
        ),
        *(f'DescribeResource:{{"resource_type": "{kind}", "name": "x"}}' for kind in ("pods", "nodes", "services")),
        'GetAppYAML:{"app_name": "x"}',
        'GetErrorLogs:{"service_name": "x"}',
        'CheckServiceConnectivity:{"service_name": "x", "port": "y"}',
        "CheckNodeServiceStatus:[]",
        "GetServiceDependencies:{",
        "Nobody:knows",
    ]
)


@given(cache=st.dictionaries(KEYS, VALUES), alerts=st.fixed_dictionaries({"alerts": VALUES}))
def test_no_content_breaks_the_reader(cache: dict[str, Any], alerts: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_incident(Path(name) / "x", cache)
        (folder / "alert.json").write_text(json.dumps(alerts))
        diagnose(read_incident(folder).snapshot)


WORKLOAD: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "x"},
    "spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "A"}], "ports": [{}]}]}}},
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a manifest."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize("path", list(places(WORKLOAD)), ids=str)
@pytest.mark.parametrize("garbage", [3, "text", [7], {"k": 7}, None], ids=str)
def test_a_manifest_of_another_shape_is_told_not_fatal(
    tmp_path: Path, path: tuple[str | int, ...], garbage: Any
) -> None:
    manifest: Any = [copy.deepcopy(WORKLOAD)]
    parent = manifest
    for key in (0, *path)[:-1]:
        parent = parent[key]
    parent[(0, *path)[-1]] = garbage
    text = json.dumps(manifest[0])  # JSON is YAML.
    cache = {'GetAppYAML:{"app_name":"x"}': text, 'GetErrorLogs:{"service_name":"x"}': "Permission denied"}
    snapshot = read_incident(write_incident(tmp_path / "x", cache)).snapshot
    propose(snapshot, diagnose(snapshot), last_good=snapshot.declared)


def test_the_place_of_another_shape_is_named(tmp_path: Path) -> None:
    text = json.dumps({**WORKLOAD, "spec": {"template": {"spec": {"containers": 3}}}})
    snapshot = read_incident(write_incident(tmp_path / "x", {'GetAppYAML:{"app_name":"x"}': text})).snapshot
    assert any("Deployment/x: Expected `array`" in part and "containers" in part for part in snapshot.missing)


def test_one_broken_incident_does_not_silence_the_others(tmp_path: Path, app: typer.Typer) -> None:
    write_incident(tmp_path / "good", {})
    write_incident(tmp_path / "bad", [1])
    result = CliRunner().invoke(app, ["diagnose", str(tmp_path), "--json"])
    assert [line["case"] for line in lines(result.stdout)] == ["good"]
    assert result.exit_code == 2
    assert "bad" in result.stderr


def test_bad_input_ends_with_its_own_exit_code_and_a_word(tmp_path: Path, app: typer.Typer) -> None:
    folder = str(write_incident(tmp_path / "x", {}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "oracle.json").write_text("[]")
    for arguments, word in (
        (["diagnose", str(tmp_path / "absent")], "expected a folder"),
        (["propose", folder, "--baseline", str(tmp_path / "empty")], "expected manifests"),
        (["eval", folder], "expected labels"),
        (["eval", folder, "--oracle", str(tmp_path / "oracle.json")], "expected known repairs"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, word in result.stderr) == (2, True), arguments


def test_an_object_is_named_by_the_application_that_declares_it(dev: Path) -> None:
    folder = dev / "boutique" / "service" / "39"
    incident = read_incident(folder)
    finding = diagnose(incident.snapshot).ranked[0]
    assert finding.object.kind == "Service"
    assert answer(incident, finding) == read_label(folder)
    assert Ref("Service", finding.object.name) in incident.apps
