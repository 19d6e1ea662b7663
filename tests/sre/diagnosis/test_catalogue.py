"""The catalogue's shape: a rule is a file that is named by its id, in its family, with a file of tests of its own."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_sre.diagnosis import rules
from holdfast_sre.diagnosis.rules import CATALOGUE, FAMILIES, rules_of

SOURCES = Path(rules.__file__).parent
TESTS = Path(__file__).parent / "rules"

PLANTED = '''"""A planted rule."""
from holdfast_sre.diagnosis.findings import Rule

RULE = Rule(
    id="{id}", title="", holds="", mending="", proof="", repair="patch", find=lambda snapshot: []
)
'''


def rules_in(text: str) -> int:
    """How many rules a module's text makes."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return sum(isinstance(call.func, ast.Name) and call.func.id == "Rule" for call in calls)


def is_rule(text: str) -> bool:
    """Whether a module's text ends in a RULE and makes no other."""
    last = ast.parse(text).body[-1]
    is_named = isinstance(last, ast.Assign) and [ast.unparse(target) for target in last.targets] == ["RULE"]
    return is_named and rules_in(text) == 1


def missing_cases(text: str, rule_id: str) -> list[str]:
    """What the text of a rule's tests never asserts: that it finds something, that it finds nothing."""
    tree = ast.parse(text)
    denied = {id(node.operand) for node in ast.walk(tree) if isinstance(node, ast.UnaryOp)}
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "found"]
    kinds = {id(call) in denied for call in asked if ast.unparse(call.args[-1]) == repr(rule_id)}
    return [case for case, is_denied in (("fires", False), ("stays silent", True)) if is_denied not in kinds]


def modules() -> Iterator[tuple[str, str]]:
    """Each module of the families: its place below `rules` without the suffix, and its text."""
    for path in sorted(SOURCES.glob("*/*.py")):
        yield path.relative_to(SOURCES).with_suffix("").as_posix(), path.read_text(encoding="utf-8")


def places() -> dict[str, str]:
    """By rule the place of its module."""
    found = {place.rpartition("/")[2].replace("_", "-"): place for place, text in modules() if is_rule(text)}
    return {rule.id: found[rule.id] for rule in CATALOGUE}


def files_of_tests() -> dict[str, Path]:
    """By rule the file of its tests."""
    return {rule: TESTS / Path(place).parent / f"test_{Path(place).name}.py" for rule, place in places().items()}


def test_each_rule_is_a_file_that_is_named_by_its_id() -> None:
    assert len(places()) == len(CATALOGUE)


def test_no_module_holds_two_rules_and_none_holds_one_by_the_way() -> None:
    assert [place for place, text in modules() if rules_in(text) and not is_rule(text)] == []


def test_each_rule_has_its_file_of_tests_and_no_file_of_tests_is_left_over() -> None:
    assert set(TESTS.rglob("test_*.py")) == set(files_of_tests().values())


def test_each_rule_is_seen_to_fire_and_to_stay_silent() -> None:
    gaps = {rule: missing_cases(path.read_text(encoding="utf-8"), rule) for rule, path in files_of_tests().items()}
    assert {rule: cases for rule, cases in gaps.items() if cases} == {}


def test_each_family_says_what_it_is_about() -> None:
    assert len(FAMILIES) == len(list(SOURCES.glob("*/__init__.py")))
    assert [text for text in FAMILIES if len(text.split()) < 5] == []


def test_a_rule_is_added_by_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the family's order names comes first, what it does not follows by name."""
    family = tmp_path / "planted_family"
    family.mkdir()
    (family / "__init__.py").write_text('"""A family."""\n\nORDER = ("second", "first")\n')
    (family / "shared.py").write_text('"""What the rules share."""\n')
    for name in ("another", "first", "second"):
        (family / f"{name}.py").write_text(PLANTED.format(id=name))
    monkeypatch.syspath_prepend(tmp_path)
    assert [rule.id for rule in rules_of(importlib.import_module("planted_family"))] == ["second", "first", "another"]


def test_an_order_that_names_no_rule_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = tmp_path / "misspelt_family"
    family.mkdir()
    (family / "__init__.py").write_text('"""A family."""\n\nORDER = ("frist",)\n')
    (family / "first.py").write_text(PLANTED.format(id="first"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError, match=r"ORDER names \['frist'\]: no such rules"):
        rules_of(importlib.import_module("misspelt_family"))


def test_planted_faults_of_shape_are_found() -> None:
    one = PLANTED.format(id="one")
    assert is_rule(one)
    assert not is_rule(f"{one}\nOTHER = 1\n")
    assert not is_rule(f"{one}\n{one}")
    assert rules_in(f"{one}\n{one}") == 2


def test_planted_gaps_in_tests_are_found() -> None:
    fires, silent = "assert found(world, 'one')[0]", "assert not found(world, 'one')"
    assert missing_cases(f"{fires}\n{silent}", "one") == []
    assert missing_cases(fires, "one") == ["stays silent"]
    assert missing_cases(silent, "one") == ["fires"]
    assert missing_cases(f"{fires}\n{silent}", "two") == ["fires", "stays silent"]
