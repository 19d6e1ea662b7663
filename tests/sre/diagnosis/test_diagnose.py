"""Ranking by cause, and the catalogue itself."""

from __future__ import annotations

import ast
import json
import re
import tarfile
from pathlib import Path

import pytest

from holdfast_sre.diagnosis import rules
from holdfast_sre.diagnosis.causes import dependencies, explains
from holdfast_sre.diagnosis.diagnose import RANKED_MAX, diagnose, rank
from holdfast_sre.diagnosis.findings import EVIDENCE_TEXT_MAX, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evaluation.opsbench_labels import ROOT_CAUSES
from holdfast_sre.evidence.snapshot import NodeAgent, Ref
from tests.sre.diagnosis.recorded import incidents_archive
from tests.sre.diagnosis.worlds import World, container


def finding(rule: str, name: str, confidence: float) -> Finding:
    return Finding(rule, Ref("Deployment", name), confidence, ())


def test_ranking_is_by_confidence_once_per_rule_and_object() -> None:
    ranked = rank([finding("b", "x", 0.5), finding("a", "x", 0.9), finding("b", "x", 0.7), finding("a", "y", 0.9)])
    assert [(item.rule, item.object.name, item.confidence) for item in ranked] == [
        ("a", "x", 0.9),
        ("a", "y", 0.9),
        ("b", "x", 0.7),
    ]


def test_a_symptom_without_a_cause_of_its_own_comes_after_what_explains_it() -> None:
    world = World()
    world.deployment("till", node="node-0", ready=0)
    world.node("node-0")
    world.agents.append(NodeAgent("node-0", "kubelet", False, "Active: inactive"))
    world.signal("till", "latency", 900.0, 10.0, pct=90)
    ranked = diagnose(world.snapshot()).ranked
    assert [item.rule for item in ranked] == ["node-kubelet-down", "network-delay-pod"]
    assert ranked[1].confidence < 0.6
    assert Ref("Deployment", "till") in ranked[0].victims


def test_a_broken_selector_is_one_finding_with_its_victims_under_it() -> None:
    world = World()
    world.deployment("till")
    world.service("till", selector={"app": "tills"}, addresses=())
    world.connect("till", reached=False)
    world.deployment("shop", ready=0)
    world.calls["shop"] = ("till",)
    diagnosis = diagnose(world.snapshot())
    assert [item.rule for item in diagnosis.ranked] == ["service-selector"]
    assert diagnosis.ranked[0].victims == (Ref("Deployment", "shop"),)
    assert diagnosis.unexplained == ()


def test_trouble_that_nothing_explains_is_named() -> None:
    world = World()
    world.deployment("oven", ready=0)
    diagnosis = diagnose(world.snapshot())
    assert diagnosis.ranked == ()
    assert diagnosis.unexplained == (Ref("Deployment", "oven"),)


def test_settings_and_endpoints_tell_who_depends_on_whom() -> None:
    world = World()
    world.deployment("vault", kind="StatefulSet")
    world.service("vault-leader", selector={"app": "vault"})
    world.add("Secret", "oven-db", {"stringData": {"HOST": "vault-leader"}})
    world.deployment("oven", containers=[container(envFrom=[{"secretRef": {"name": "oven-db"}}])])
    world.deployment("shop", containers=[container(env=[{"name": "OVEN", "value": "http://oven:80/x"}])])
    world.service("oven")
    snapshot = world.snapshot()
    edges = dependencies(snapshot)
    assert explains(snapshot, edges, Ref("StatefulSet", "vault"), Ref("Deployment", "shop"))
    assert not explains(snapshot, edges, Ref("Deployment", "shop"), Ref("StatefulSet", "vault"))


def test_no_more_than_the_bound_is_ranked() -> None:
    world = World()
    for index in range(RANKED_MAX + 2):
        world.agents.append(NodeAgent(f"node-{index}", "kubelet", False, "Active: failed"))
    assert len(diagnose(world.snapshot()).ranked) == RANKED_MAX


def test_quotations_are_one_bounded_printable_line() -> None:
    quoted = quote("log", "\x1b[31mred\x07\nnext " + "x" * 9999)
    assert quoted.text.isprintable()
    assert len(quoted.text) == EVIDENCE_TEXT_MAX
    assert quote_line("log", "one\ntwo fish\nthree", re.compile("fish")).text == "two fish"
    assert quote_line("log", "", re.compile("fish")).text == ""


def test_the_catalogue_has_unique_ids_that_its_findings_bear() -> None:
    ids = [rule.id for rule in CATALOGUE]
    assert len(ids) == len(set(ids))
    assert set(ROOT_CAUSES) <= set(ids)


def test_a_rules_id_is_words_joined_by_hyphens() -> None:
    with pytest.raises(AssertionError, match="lower-case words"):
        Rule("No Id", "", "", "", "", "patch", lambda snapshot: [])


def literals(path: Path) -> set[str]:
    """The string constants of a module, docstrings among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_rule_knows_a_name_of_the_recorded_systems() -> None:
    """Names of applications, hosts, secrets and namespaces of the recorded incidents stand in no rule."""
    archive = incidents_archive()
    names: set[str] = set()
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar:
            if member.name.endswith("/1/tool_cache.json") or member.name.endswith("/79/tool_cache.json"):
                stream = tar.extractfile(member)
                assert stream is not None
                for key in json.load(stream):
                    names |= set(re.findall(r'"(?:name|app_name|namespace|node_name)": ?"([^"]{4,})"', key))
    assert len(names) > 100
    # `default` is the API's own name of the account that a pod gets; `master` the API's old word for a node's role.
    names -= {"default", "master", "standard"}
    folder = Path(rules.__file__).parent
    sources = [*folder.rglob("*.py"), *folder.parent.glob("*.py")]
    assert len(sources) > len(CATALOGUE)
    leaks = {(path.name, name) for path in sources for text in literals(path) for name in names if name in text.split()}
    assert leaks == set()
