"""Explanations: what a finding rests on, what would refute it, and its line of time."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from holdfast_sre.cli.diagnosis import register
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.explain import chosen, explain
from holdfast_sre.diagnosis.findings import EVIDENCE_TEXT_MAX, Moment
from holdfast_sre.diagnosis.timeline import MOMENTS_MAX, timeline
from holdfast_sre.evidence.snapshot import Event, Ref
from tests.sre.diagnosis.recorded import incidents_archive
from tests.sre.diagnosis.test_incidents import dev  # noqa: F401 - a fixture
from tests.sre.diagnosis.worlds import World, container, found


def unplaced() -> World:
    world = World()
    world.deployment("till", ready=0, node=None, nodeSelector={"disk": "fast"})
    world.node("node-a")
    world.event(
        world.pod("till"),
        "FailedScheduling",
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    )
    world.deployment("shop", ready=0)
    world.calls["shop"] = ("till",)
    return world


def test_what_a_finding_rests_on_is_tried_by_taking_it_away() -> None:
    snapshot = unplaced().snapshot()
    diagnosis = diagnose(snapshot)
    found_out = explain(snapshot, diagnosis, diagnosis.ranked[0])
    assert found_out.rests_on == ("pods",)
    assert found_out.holds_without == {"events": 0.6}
    assert any("Deployment/shop stay in trouble" in text for text in found_out.refuted_by)
    assert found_out.looked_at == diagnosis.looked_at


def test_rivals_are_named_and_the_finding_itself_is_none() -> None:
    world = unplaced()
    world.deployment(
        "oven", ready=0, containers=[container(image="x")], state={"waiting": {"reason": "InvalidImageName"}}
    )
    world.event(world.pod("oven"), "InspectFailed", 'Failed to apply default image tag "x": invalid reference format')
    diagnosis = diagnose(world.snapshot())
    rivals = explain(world.snapshot(), diagnosis, diagnosis.ranked[0]).rivals
    assert len(rivals) == len(diagnosis.ranked) - 1 == 1


def test_a_finding_is_meant_by_place_rule_or_object() -> None:
    diagnosis = diagnose(unplaced().snapshot())
    first = diagnosis.ranked[0]
    assert [chosen(diagnosis, text) for text in ("1", "node-selector", "node-selector@Deployment/till")] == [first] * 3
    assert [chosen(diagnosis, text) for text in ("0", "2", "", "x", "9" * 5000, "²")] == [None] * 6


def test_events_changes_and_logs_stand_on_one_line_of_time() -> None:
    world = unplaced()
    world.taken_at = "2026-01-01T10:00:00.5"
    world.log("till", "2026-01-01T09:59:30.000000001+01:00 ERROR cannot start")
    world.log("till", "2026-01-09T09:59:30 from tomorrow")
    world.log("till", "no time at all")
    world.events.append(Event(Ref("Deployment", "till"), "Normal", "ScalingReplicaSet", "Scaled up to 1", age_s=90.0))
    world.events.append(Event(Ref("Deployment", "till"), "Normal", "Pulled", "everyday", age_s=80.0))
    finding = found(world.snapshot(), "node-selector")[0]
    commit = Moment(120.0, "change", "commit 1a2b", "selector: fast disks only")
    moments = timeline(world.snapshot(), finding, [commit])
    assert [(moment.age_s, moment.kind) for moment in moments] == [
        (120.0, "change"),
        (90.0, "change"),
        (30.0, "log"),
        (10.0, "event"),
    ]


def test_a_line_of_time_is_bounded_and_its_text_is_harmless() -> None:
    world = unplaced()
    for index in range(50):
        world.event(world.pod("till"), "BackOff", f"\x1b[2J{index}" + "x" * 9999, age_s=float(index))
    moments = timeline(world.snapshot(), found(world.snapshot(), "node-selector")[0])
    assert len(moments) == MOMENTS_MAX
    assert all(moment.text.isprintable() and len(moment.text) <= EVIDENCE_TEXT_MAX for moment in moments)
    assert [moment.age_s for moment in moments] == sorted((moment.age_s for moment in moments), reverse=True)


def test_what_happened_at_the_same_time_stands_as_it_was_recorded() -> None:
    world = unplaced()
    texts = [f"BackOff: attempt {index}" for index in range(20)]
    for text in texts:
        world.event(world.pod("till"), *text.split(": "), age_s=5.0)
    moments = timeline(world.snapshot(), found(world.snapshot(), "node-selector")[0])
    assert [moment.text for moment in moments] == texts[:MOMENTS_MAX]


def application() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def incident(folder: Path) -> str:
    folder.mkdir()
    (folder / "tool_cache.json").write_text(json.dumps({"collection_timestamp": "2026-01-01T10:00:00"}))
    (folder / "incident.json").write_text(json.dumps({"namespace": "bakery"}))
    return str(folder)


def test_an_incident_without_such_a_finding_says_what_was_looked_at(tmp_path: Path) -> None:
    result = CliRunner().invoke(application(), ["explain", incident(tmp_path / "x")])
    assert result.exit_code == 1
    assert "expected one of the findings none, saw 1; looked at nothing" in result.stderr


def test_explain_wants_one_incident(tmp_path: Path) -> None:
    incident(tmp_path / "x")
    incident(tmp_path / "y")
    result = CliRunner().invoke(application(), ["explain", str(tmp_path)])
    assert result.exit_code == 2
    assert "expected 1 incident, saw 2" in result.stderr


def test_a_real_finding_is_explained_for_people_and_for_machines(dev: Path) -> None:  # noqa: F811
    assert incidents_archive().exists()
    folder = str(dev / "boutique" / "service" / "39")
    told = CliRunner().invoke(application(), ["explain", folder, "service-selector"])
    assert told.exit_code == 0
    assert "would refute it" in told.stdout
    line = json.loads(CliRunner().invoke(application(), ["explain", folder, "--json"]).stdout)
    assert line["explanation"]["finding"]["rule"] == "service-selector"
    assert line["explanation"]["looked_at"]
