"""Keys: what manifests, findings and patches name, and what a patch did to them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.findings import Field, Finding, quote
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.history.diffs import hunks_of
from holdfast_sre.history.keys import Key, blamed_keys, known_keys
from holdfast_sre.history.touched import KEYS_MAX, KeyChange, touched_keys
from tests.sre.diagnosis.worlds import World, container
from tests.sre.repair.hostile import strings

SHOP = Ref("Deployment", "shop")
LINES = st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=40), max_size=6)


def patch(*hunks: tuple[list[str], list[str]], path: str = "a.py") -> str:
    """A patch as git prints it, without context."""
    lines = [f"diff --git a/{path} b/{path}", "index 1..2 100644", f"--- a/{path}", f"+++ b/{path}"]
    for at, (removed, added) in enumerate(hunks, 1):
        lines.append(f"@@ -{at * 100},{len(removed)} +{at * 100},{len(added)} @@ def f():")
        lines += [f"-{line}" for line in removed] + [f"+{line}" for line in added]
    return "\n".join(lines) + "\n"


def touched(removed: list[str], added: list[str], *known: Key) -> list[tuple[str, str]]:
    """What one hunk does to keys, as (key, how)."""
    found = touched_keys(patch((removed, added)), frozenset(known))
    return [(str(change.key), change.to or change.how) for change in found]


@given(LINES, LINES)
def test_a_hunk_comes_back_as_it_was_written_whatever_its_lines_look_like(removed: list[str], added: list[str]) -> None:
    found = list(hunks_of(patch((removed, added), (["x"], ["y"]))))
    if removed or added:
        assert (found[0].removed, found[0].added) == (tuple(removed), tuple(added))
    assert (found[-1].removed, found[-1].added, found[-1].path) == (("x",), ("y",), "a.py")


def test_lines_that_look_like_heads_do_not_name_files() -> None:
    (found,) = hunks_of(patch((["-- a/evil.py"], ["++ b/evil.py", "@@ -1 +1 @@"])))
    assert (found.path, found.removed, len(found.added)) == ("a.py", ("-- a/evil.py",), 2)


def test_a_removed_file_keeps_its_name_and_a_missing_end_of_line_is_no_line() -> None:
    text = "diff --git a/x b/x\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-DB_HOST\n\\ No newline at end of file\n"
    assert [(hunk.path, hunk.removed, hunk.added) for hunk in hunks_of(text)] == [("x", ("DB_HOST",), ())]


@pytest.mark.parametrize(
    ("removed", "added", "expected"),
    [
        (['os.environ["DB_HOST"]'], ['os.environ["DATABASE_HOST"]'], [("DB_HOST", "DATABASE_HOST")]),
        (["System.getenv(DB_HOST)"], [], [("DB_HOST", "removed")]),
        ([], ["process.env.DB_HOST", "process.env.DB_PORT"], [("DB_HOST", "added"), ("DB_PORT", "added")]),
        (["DB_HOST=a"], ["DB_HOST=b"], [("DB_HOST", "changed")]),
        (["ENV colour red"], ["ENV tint red"], [("colour", "tint")]),
        (["EXPOSE 8080"], ["EXPOSE 9090"], [("port 8080", "9090")]),
        (["server.listen(8080)"], ["server.listen(9090)"], [("port 8080", "9090")]),
        (["int x = 8080;"], ["int x = 9090;"], []),
        (['get("/health")'], ['get("/healthz")'], [("path /health", "/healthz")]),
        (["A_B C_D"], ["E_F G_H"], [("A_B", "removed"), ("C_D", "removed"), ("E_F", "added"), ("G_H", "added")]),
        (["nothing"], ["to see"], []),
    ],
)
def test_keys_are_read_by_how_names_are_written(
    removed: list[str], added: list[str], expected: list[tuple[str, str]]
) -> None:
    assert touched(removed, added) == expected


def test_a_known_key_is_read_wherever_it_stands_as_a_whole_word() -> None:
    known = (Key("setting", "log.level"), Key("port", "8080"), Key("service", "till"), Key("path", "/ready"))
    lines = ['get("log.level") log.levels', "int x = 8080;", "http://till.bakery.svc:80/ready stillwater"]
    assert touched(lines, [], *known) == [
        ("log.level", "removed"),
        ("port 8080", "removed"),
        ("path /ready", "removed"),
        ("service till", "removed"),
        ("port 80", "removed"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('get("level")', ["level"]),
        ("level = 3", ["level"]),
        ("level: 3", ["level"]),
        ("raise the level of it", []),
        ("the till is open", []),
        ('call("till")', ["service till"]),
        ("till:80", ["service till", "port 80"]),
        ("user@till/x", ["service till"]),
        ("till.bakery.svc", ["service till"]),
        ("until:80 still", ["port 80"]),
    ],
)
def test_everyday_words_are_keys_only_where_they_are_used_as_such(line: str, expected: list[str]) -> None:
    found = touched([line], [], Key("setting", "level"), Key("service", "till"))
    assert sorted(key for key, _ in found) == sorted(expected)


def test_of_many_keys_the_known_ones_are_kept() -> None:
    names = [f"NAME_{number}" for number in range(200)]
    found = touched_keys(patch(([], [*names, "http://till"])), frozenset({Key("service", "till")}))
    assert len(found) == KEYS_MAX
    assert found[0] == KeyChange(Key("service", "till"), "added", "a.py")


UPPER = st.text(string.ascii_uppercase, min_size=2, max_size=8)


@given(st.lists(st.tuples(UPPER, UPPER).map("_".join), unique=True, max_size=8), st.data())
def test_what_stays_the_same_is_not_said_to_come_or_go(names: list[str], data: st.DataObject) -> None:
    before = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    after = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    found = {change.key.name: change for change in touched_keys(patch((before, after)), frozenset())}
    assert {name for name, change in found.items() if change.how in ("removed", "renamed")} == {*before} - {*after}
    assert {name for name, change in found.items() if change.how == "changed"} == {*before} & {*after}
    came = {name for name, change in found.items() if change.how == "added"}
    assert came | {change.to for change in found.values() if change.to} == {*after} - {*before}


@pytest.mark.parametrize("text", strings(), ids=range(200))
def test_hostile_lines_are_read_and_stay_bounded(text: str) -> None:
    found = touched_keys(patch(([text], [text[::-1]]), path=text), frozenset({Key("setting", text[:100])}))
    assert len(found) <= KEYS_MAX
    assert all(max(len(change.key.name), len(change.file) - 200) <= 100 for change in found)
    list(hunks_of(text))


def bakery() -> World:
    world = World()
    by_key = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "log.level"}}}
    probe = {"httpGet": {"path": "/ready", "port": 8000}}
    env = [{"name": "TILL", "value": "http://till:7100/x"}, by_key]
    world.deployment("shop", containers=[container(env=env, readinessProbe=probe)])
    world.deployment("till", containers=[container(port=7100)])
    world.service("till", port=7100, target=7100)
    world.add("ConfigMap", "words", {"data": {"log.level": "debug", "ab": "too short"}})
    world.add("Secret", "keys", {"stringData": {"token": "s3cret-word"}})
    return world


def test_the_keys_of_a_snapshot_are_names_and_no_values() -> None:
    found = {str(key) for key in known_keys(bakery().snapshot())}
    assert {"TILL", "LEVEL", "log.level", "token", "port 7100", "port 8000", "path /ready", "service till"} <= found
    assert not any("s3cret" in name or name in ("ab", "debug") for name in found)


def blamed(finding: Finding) -> set[str]:
    snapshot = bakery().snapshot()
    return {str(key) for key in blamed_keys(snapshot, finding, known_keys(snapshot))}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.template.spec.containers[app].env[TILL].value", {"TILL", "service till", "port 7100"}),
        ("spec.template.spec.containers[app].env[GONE]", {"GONE"}),
        ("spec.template.spec.containers[app].readinessProbe.httpGet", {"port 8000", "path /ready"}),
        ("spec.template.spec.containers[app].image", set()),
        ("spec.replicas", set()),
    ],
)
def test_what_stands_in_a_blamed_field_is_blamed(path: str, expected: set[str]) -> None:
    assert blamed(Finding("r", SHOP, 0.9, (), (Field(SHOP, path),))) == expected


def test_a_key_that_is_missing_is_blamed_by_its_place() -> None:
    gone = Field(Ref("ConfigMap", "words"), "data.log.format")
    assert blamed(Finding("r", SHOP, 0.9, (), (gone,))) == {"log.format"}


def test_evidence_names_known_keys_and_variables_and_not_the_object_itself() -> None:
    text = 'shop: DATABASE_URL is not set, "log.level" odd, dial tcp till:7100: refused, GET /ready 503, level 9999'
    found = blamed(Finding("r", SHOP, 0.9, (quote("log of shop", text),)))
    assert found == {"DATABASE_URL", "log.level", "service till", "port 7100", "path /ready"}
    assert blamed(Finding("r", Ref("Service", "till"), 0.9, (quote("x", "till is away"),))) == set()
