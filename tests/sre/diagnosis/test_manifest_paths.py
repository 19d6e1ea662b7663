"""Leaves, subtrees and changes of manifests: laws that hold for any manifest."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.findings import Change, Field
from holdfast_sre.diagnosis.manifest_paths import apply_changes, differences, is_under, leaves, replace_subtrees
from holdfast_sre.evidence.snapshot import Ref

REF = Ref("Deployment", "oven")
KEYS = st.sampled_from(["a", "b", "c.d/e", "env"])
SCALARS = st.one_of(st.booleans(), st.integers(0, 99), st.sampled_from(["x", "y", ""]))
NAMED = st.lists(st.sampled_from("pqr"), unique=True, max_size=3)


def trees(depth: int = 3) -> st.SearchStrategy[Any]:
    """Mappings of scalars, mappings, plain lists and lists of named items."""
    if depth == 0:
        return SCALARS
    below = trees(depth - 1)
    named = NAMED.flatmap(
        lambda names: st.tuples(*(st.fixed_dictionaries({"name": st.just(n), "v": below}) for n in names))
    )
    return st.one_of(SCALARS, st.dictionaries(KEYS, below, max_size=3), named.map(list), st.lists(SCALARS, max_size=2))


MANIFESTS = st.dictionaries(KEYS, trees(), max_size=3)


def test_paths_are_written_as_people_write_them() -> None:
    manifest = {
        "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 80}], "tty": True, "stdin": None}]},
        "metadata": {"labels": {"app.test/name": "oven"}},
    }
    assert leaves(manifest) == {
        "spec.containers[app].name": "app",
        "spec.containers[app].ports[0].containerPort": "80",
        "spec.containers[app].tty": "True",
        "metadata.labels.app.test/name": "oven",
    }


def test_a_path_is_under_whole_steps_only() -> None:
    assert is_under("spec.ports[0].port", "spec.ports")
    assert is_under("spec.port", "")
    assert not is_under("spec.ports", "spec.port")


@given(before=MANIFESTS, after=MANIFESTS)
def test_applying_the_differences_gives_the_other_manifest(before: dict[str, Any], after: dict[str, Any]) -> None:
    changes = differences({REF: before}, {REF: after}, [Field(REF, "")])
    changed = apply_changes({REF: before}, changes)
    assert leaves(changed.get(REF, {})) == leaves(after)


@given(before=MANIFESTS, after=MANIFESTS, prefix=st.sampled_from(["a", "b", "c.d/e", "env", "a.b"]))
def test_replacing_a_subtree_changes_that_subtree_only(
    before: dict[str, Any], after: dict[str, Any], prefix: str
) -> None:
    parents = [] if prefix in ("c.d/e", "a", "b", "env") else [before.get("a", {}), after.get("a", {})]
    assume(all(isinstance(parent, dict) for parent in parents))
    expected = {path: text for path, text in leaves(before).items() if not is_under(path, prefix)}
    expected |= {path: text for path, text in leaves(after).items() if is_under(path, prefix)}
    assert leaves(replace_subtrees(before, after, [prefix])) == expected


def test_a_field_of_a_list_item_is_put_back_only_where_both_have_the_item() -> None:
    ours = {"env": [{"name": "p", "v": 1}, {"name": "q", "v": 1}]}
    theirs = {"env": [{"name": "q", "v": 2}, {"name": "r", "v": 3}]}
    fields = ["env[p].v", "env[q].v", "env[r].v"]
    assert replace_subtrees(ours, theirs, fields) == {"env": [{"name": "p", "v": 1}, {"name": "q", "v": 2}]}
    assert replace_subtrees(ours, theirs, ["env[p]", "env[r]"]) == {
        "env": [{"name": "q", "v": 1}, {"name": "r", "v": 3}]
    }
    assert replace_subtrees({}, theirs, ["env[r]"]) == {"env": [{"name": "r", "v": 3}]}


def test_what_has_another_shape_is_left_alone() -> None:
    assert replace_subtrees({"a": [1]}, {"a": {"b": 2}}, ["a.b"]) == {"a": [1]}
    assert replace_subtrees({"a": 1}, {"a": {"b": 2}}, ["a.b"]) == {"a": 1}


@given(manifest=MANIFESTS)
def test_equal_manifests_have_no_differences(manifest: dict[str, Any]) -> None:
    assert differences({REF: manifest}, {REF: manifest}, [Field(REF, "")]) == ()


def test_an_added_leaf_finds_its_list_item_and_its_dotted_key() -> None:
    manifest = {"spec": {"containers": [{"name": "app"}]}, "metadata": {"labels": {"a.test/b": "1"}}}
    changes = [
        Change(str(REF), "spec.containers[app].livenessProbe.grpc.port", None, "80"),
        Change(str(REF), "spec.modes[0]", None, "fast"),
        Change(str(REF), "metadata.labels.a.test/b", "1", "2"),
    ]
    changed = apply_changes({REF: manifest}, changes)[REF]
    assert changed == {
        "spec": {"containers": [{"name": "app", "livenessProbe": {"grpc": {"port": "80"}}}], "modes": ["fast"]},
        "metadata": {"labels": {"a.test/b": "2"}},
    }
