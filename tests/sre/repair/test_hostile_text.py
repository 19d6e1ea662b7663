"""Text from clusters is data: two hundred hostile strings in every text field change no action, break no terminal and
no report, and leak nothing."""

from __future__ import annotations

import copy
import html.parser
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from holdfast_sre.__main__ import app
from holdfast_sre.cli.proposal_view import show_proposal
from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.evaluation.diagnosis_view import show_diagnosis
from holdfast_sre.evaluation.opsbench_labels import answer
from holdfast_sre.evidence.opsbench import Incident
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.history import LookBack
from holdfast_sre.repair.offer import Offer, offer
from holdfast_sre.repair.propose import Proposal, propose
from holdfast_sre.report.data import Cause, Change, Origin, Proof, Recovery, RunReport, Said, Span, Transition
from holdfast_sre.report.page import render
from tests.sre.diagnosis.worlds import World, container
from tests.sre.evidence.dumps import as_list, objects_of
from tests.sre.repair.hostile import SECRET, strings

STRINGS = strings()


def test_there_are_two_hundred_and_no_two_the_same() -> None:
    assert len(STRINGS) == len(set(STRINGS)) == 200


IMAGE = "registry.test/oven:9.9"


def troubled(text: str = "") -> World:
    """A cluster with a fault, and `text` in every field that is free text."""
    world = World()
    notes = {"note": f"n{text}", "bakery.test/about": text}
    boxes = [container(image=IMAGE, env=[{"name": "MOTTO", "value": text}], args=[f"--say={text}"])]
    state = {"waiting": {"reason": "ErrImagePull", "message": f"back-off {text}"}}
    world.deployment("oven", containers=boxes, ready=0, state=state, annotations=notes)
    world.deployment("till", containers=[container(env=[{"name": "MOTTO", "value": text}])], annotations=notes)
    world.service("till")
    world.add("ConfigMap", "words", {"data": {"words": text}})
    world.node("node-a")
    for name in ("oven", "till"):
        world.declared[Ref("Deployment", name)] = noted(world.declared[Ref("Deployment", name)], notes)
        world.log(name, f"INFO {text}")
        world.event(world.pod(name), "Note", text)
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{IMAGE}": {IMAGE}: not found {text}')
    return world


def noted(manifest: Manifest, notes: dict[str, str]) -> Manifest:
    """The manifest with annotations of its own."""
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": dict(notes)}}


def last_good(snapshot: Snapshot) -> dict[Ref, Any]:
    """The manifests before the fault."""
    good: dict[Ref, Any] = copy.deepcopy(dict(snapshot.declared))
    good[Ref("Deployment", "oven")]["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.test/oven:1.0"
    return good


def decided(snapshot: Snapshot) -> tuple[Diagnosis, Proposal, Offer]:
    """What the bot makes of it."""
    diagnosis = diagnose(snapshot)
    proposal = propose(snapshot, diagnosis, last_good=last_good(snapshot))
    return diagnosis, proposal, offer(snapshot, proposal)


EXPECTED = decided(troubled().snapshot())


@pytest.mark.parametrize("text", STRINGS, ids=range(200))
def test_no_text_changes_an_action(text: str) -> None:
    diagnosis, proposal, _ = decided(troubled(text).snapshot())
    assert EXPECTED[1].action == "patch"
    assert (proposal.action, proposal.changes) == (EXPECTED[1].action, EXPECTED[1].changes)
    found = [(finding.rule, finding.object, finding.confidence, finding.blames) for finding in diagnosis.ranked]
    assert found == [
        (finding.rule, finding.object, finding.confidence, finding.blames) for finding in EXPECTED[0].ranked
    ]


def is_tame(text: str) -> bool:
    """Whether a text does nothing to a terminal but to be read."""
    return all(sign.isprintable() or sign == "\n" for sign in text)


def looked_back(text: str) -> LookBack:
    """A history whose authors write such things."""
    return LookBack(Revision(text), 3, since=(Commit(Revision("0" * 40), (), text, 0, text, (text,)),))


@pytest.mark.parametrize("text", STRINGS, ids=range(200))
def test_no_text_breaks_the_terminal(text: str) -> None:
    snapshot = troubled(text).snapshot()
    diagnosis, _, offered = decided(snapshot)
    stream = io.StringIO()
    console = Console(file=stream, width=100, highlight=False, emoji=False)
    show_proposal(console, text[:200], offered, looked_back(text), missing=(text, text))
    answers = [answer(Incident(snapshot, {}), finding) for finding in diagnosis.ranked]
    show_diagnosis(console, "case", diagnosis, answers, seconds=0.1)
    said = stream.getvalue()
    assert is_tame(said)
    assert len(said) < 3_000_000
    assert "registry.test/oven:1.0" in said, "the diff is still to be read"
    assert said.count("\n+++ ") <= 1 or "patch" in said


def test_dumps_full_of_them_are_told_safely_by_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All two hundred through the reader, as output for people and for programs; nothing of the machine in it."""
    monkeypatch.setenv("HOLDFAST_SENTINEL", SECRET)
    clean = as_list(objects_of(troubled()))
    (tmp_path / "clean.json").write_text(clean)
    wanted = json.loads(run("diagnose", tmp_path / "clean.json", "--json"))["ranked"]
    for number, text in enumerate(STRINGS):
        (tmp_path / "x.json").write_text(as_list(objects_of(troubled(text))))
        for command in ("diagnose", "propose") if number % 10 == 0 else ("diagnose",):
            for form in ([], ["--json"]):
                said = run(command, tmp_path / "x.json", *form)
                assert is_tame(said)
                assert SECRET not in said
                assert "root:x:0:0" not in said
        ranked = json.loads(run("diagnose", tmp_path / "x.json", "--json"))["ranked"]
        assert [(row["root_cause"], row["fault_object"]) for row in ranked] == [
            (row["root_cause"], row["fault_object"]) for row in wanted
        ]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code in (0, 2), result.output
    return str(result.output)


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every text in some objects."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str):
            yield (*path, key)
        else:
            yield from leaves_of(item, (*path, key))


def test_every_text_field_may_hold_any_of_them(tmp_path: Path) -> None:
    """Names, images, kinds and labels too: each field of each object holds a string in turn. What comes of it may
    differ; it never crashes, never shouts, and never makes one of them a value that the bot would write."""
    objects = objects_of(troubled("x"))
    ways = list(leaves_of(objects))
    for number, way in enumerate(ways):
        text = STRINGS[number * 11 % len(STRINGS)]
        items: Any = copy.deepcopy(objects)
        parent = items
        for key in way[:-1]:
            parent = parent[key]
        parent[way[-1]] = text
        (tmp_path / "x.json").write_text(as_list(items))
        said = run("propose", tmp_path / "x.json", "--json")
        assert is_tame(said)
        for line in said.splitlines():
            if line.startswith("{"):
                assert all(change["to"] != text for change in json.loads(line)["changes"])


FIELDS: tuple[Callable[[str], RunReport], ...] = (
    lambda text: RunReport(
        title=text,
        ticket_id=text,
        workflow_id=text,
        verdict="closed",
        summary=text,
        started_s=0.0,
        ended_s=1.0,
        problem=text,
        facts=((text, text),),
        spans=(Span(text, 0.0, 1.0, note=text),),
        causes=(Cause(text, text, 0.5, (Proof(text, text),), (text,)),),
        origin=Origin(text, text, 0.0, text, (text,)),
        change=Change(
            f"--- a/{text}\n+++ b/{text}\n@@ -1 +1 @@\n-{text}\n+{text}\n", text, text, text, (text,), text, (text,)
        ),
        said=(Said(0.0, text, "approve", text, text),),
        recoveries=(Recovery(0.0, text, text, 1.0, text),),
        audit=(Transition(0.0, text, text, text, text, text),),
    ),
)


class Elements(html.parser.HTMLParser):
    """The elements of a page, with what could act."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.acting: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            is_link = name in ("href", "src", "action", "formaction") and not (value or "").startswith("#")
            if name.startswith("on") or is_link:
                self.acting.append(f"{tag} {name}={value}")


ACTING = {"script", "iframe", "img", "svg", "base", "object", "embed", "form", "link", "x", "instructions"}


@pytest.mark.parametrize("text", STRINGS, ids=range(200))
def test_no_text_breaks_a_report(text: str) -> None:
    calm, found = Elements(), Elements()
    calm.feed(str(render(FIELDS[0]("calm"))))
    whole = str(render(FIELDS[0](text)))
    found.feed(whole)
    assert found.acting == calm.acting
    assert {tag: found.tags.get(tag, 0) for tag in ACTING} == {tag: calm.tags.get(tag, 0) for tag in ACTING}
    assert all(sign.isprintable() or sign in "\n\t" for sign in whole)


def test_half_of_a_sign_is_no_text() -> None:
    """JSON can say half of a sign that takes two. Nobody could write it again, so it is refused and told."""
    half = as_list(objects_of(troubled())) + '\n{"kind": "Pod", "metadata": {"name": "a", "note": "\\ud800"}}'
    result = CliRunner().invoke(app, ["diagnose", "-", "--json"], input=half)
    assert result.exit_code == 0
    assert "half of a sign" in result.stdout


def test_offers_can_be_stored_whatever_they_hold() -> None:
    for text in STRINGS[::5]:
        proposal = decided(troubled(text).snapshot())[1]
        assert msgspec.json.decode(msgspec.json.encode(proposal), type=Proposal) == proposal


# -- the testers, tested -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202e", "a\rb", "\x00", "\u2028"])
def test_what_acts_on_a_terminal_is_noticed(text: str) -> None:
    assert not is_tame(text)


@pytest.mark.parametrize("text", ["<script>1</script>", "<img src=x onerror=alert(1)>", "<a href=javascript:x>y</a>"])
def test_what_acts_in_a_page_is_noticed(text: str) -> None:
    found = Elements()
    found.feed(f"<p>{text}</p>")
    assert found.acting or found.tags.get("script")


def test_a_text_that_does_change_the_action_is_noticed() -> None:
    """Text in a field that is no free text: the image is what the finding is about."""
    world = troubled()
    world.declared[Ref("Deployment", "oven")] = last_good(world.snapshot())[Ref("Deployment", "oven")]
    assert decided(world.snapshot())[1].action != EXPECTED[1].action
