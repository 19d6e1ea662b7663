"""The three-way merge: what holds for any values, and what each policy does."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.merge import NOTHING, FieldConflict, FieldPolicy, Merged, Stamp, is_same, merge
from holdfast.patch import pointer

MERGE, UNION, RETRY, LAST = FieldPolicy.MERGE, FieldPolicy.UNION, FieldPolicy.RETRY, FieldPolicy.LAST_WRITER
KEYS = ("a", "tags", "x/y")
Policies = Mapping[str, FieldPolicy]
Path = tuple[str, ...]

scalars = st.sampled_from([None, False, True, 0, 1, 1.0, "u"])
sets = st.lists(st.sampled_from([0, 1, 2, 3, "u", True]), unique_by=repr, max_size=4)
values = st.recursive(
    scalars | sets,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)
documents = st.builds(lambda rest, tags: rest | {"tags": tags}, st.dictionaries(st.sampled_from(KEYS), values), sets)
pointers = st.sampled_from(["/a", "/*", "/a/*", "/tags", "/*/tags", "/x~1y"])


def policies_of(*among: FieldPolicy) -> st.SearchStrategy[Policies]:
    """One for the whole value, and some for fields."""
    some = st.sampled_from(among)
    return st.builds(lambda whole, rest: {"": whole} | rest, some, st.dictionaries(pointers, some, max_size=2))


policies = policies_of(*FieldPolicy)
without_last = policies_of(MERGE, UNION, RETRY)
stamps = st.builds(Stamp, st.sampled_from([1.0, 2.0]), st.sampled_from(["one", "two"]))


@st.composite
def edits(draw: st.DrawFn, base: Any, *, depth: int = 3) -> Any:
    """What a writer may make of `base`: mostly the same, with some fields set, removed, added."""
    if isinstance(base, list) and draw(st.integers(0, 4)):
        kept = [item for item in base if draw(st.booleans())]
        return kept + [item for item in draw(sets) if repr(item) not in map(repr, base)]
    if not isinstance(base, dict) or depth == 0:
        return draw(scalars | values)
    made = {}
    for key in {**base, draw(st.sampled_from(KEYS)): None}:
        match draw(st.sampled_from(["keep", "edit", "edit", "remove"])):
            case "keep" if key in base:
                made[key] = base[key]
            case "edit":
                made[key] = draw(edits(base[key], depth=depth - 1)) if key in base else draw(values)
    return made


@st.composite
def versions(draw: st.DrawFn, *, writers: int = 2) -> tuple[Any, ...]:
    """A base, and what each of several writers made of it."""
    base = draw(documents)
    return (base, *(draw(edits(base)) for _ in range(writers)))


class TestForAllValues:
    @given(documents, documents, policies)
    def test_identity(self, base: Any, other: Any, policy: Policies) -> None:
        """Who changed alone, and who changed alike, gets what he wrote, whatever the policy."""
        for ours, theirs in ((other, other), (base, other), (other, base)):
            merged = merge(base, ours, theirs, policies=policy)
            assert merged.is_clean
            assert is_same(merged.value, other)

    @given(versions(), policies, stamps, stamps)
    def test_symmetry(self, three: tuple[Any, ...], policy: Policies, mine: Stamp, other: Stamp) -> None:
        """Swapping the sides, with their stamps, swaps the sides of the conflicts and nothing else."""
        base, ours, theirs = three
        merged = merge(base, ours, theirs, policies=policy, stamps=(mine, other))
        swapped = merge(base, theirs, ours, policies=policy, stamps=(other, mine))
        assert is_same(merged.value, swapped.value)
        assert merged.conflicts == tuple(
            FieldConflict(path=each.path, base=each.base, ours=each.theirs, theirs=each.ours)
            for each in swapped.conflicts
        )

    @given(versions(), policies, stamps, stamps)
    def test_two_replicas_that_merge_each_others_result_are_equal(
        self, three: tuple[Any, ...], policy: Policies, mine: Stamp, other: Stamp
    ) -> None:
        base, ours, theirs = three
        here = merge(base, ours, theirs, policies=policy, stamps=(mine, other))
        there = merge(base, theirs, ours, policies=policy, stamps=(other, mine))
        again = merge(base, here.value, there.value, policies=policy, stamps=(max(mine, other), max(mine, other)))
        assert again.is_clean
        assert is_same(again.value, here.value)
        if here.is_clean:  # what was merged already changes nothing when it comes again
            late = merge(base, ours, here.value, policies=policy, stamps=(mine, max(mine, other)))
            assert late.is_clean
            assert as_sets(late.value) == as_sets(here.value)

    @given(versions(writers=3), without_last)
    def test_order_of_three_writers_does_not_matter_without_conflicts(
        self, four: tuple[Any, ...], policy: Policies
    ) -> None:
        base, *writers = four
        results = []
        for order in itertools.permutations(writers):
            merged = Merged(value=order[0], conflicts=())
            for writer in order[1:]:
                merged = merge(base, writer, merged.value, policies=policy)
                if not merged.is_clean:
                    return
            results.append(as_sets(merged.value))
        assert all(result == results[0] for result in results)

    @given(versions(), policies, stamps, stamps)
    def test_nothing_is_lost_in_silence(
        self, three: tuple[Any, ...], policy: Policies, mine: Stamp, other: Stamp
    ) -> None:
        """Each leaf of the result is one of a side's; what both changed differently is listed, or has a policy."""
        base, ours, theirs = three
        merged = merge(base, ours, theirs, policies=policy, stamps=(mine, other))
        listed = [conflict.path for conflict in merged.conflicts]
        assert listed == sorted(set(listed))
        for path, leaf in leaves_of(merged.value):
            sides = [at(side, path) for side in (ours, theirs)]
            if isinstance(leaf, dict):  # each side emptied a part of it
                continue
            if not is_listed(path, listed) and not (UNION in policy.values() and isinstance(leaf, list)):
                assert any(is_same(leaf, side) for side in sides), path
        for path in {path for side in (base, ours, theirs) for path, _ in leaves_of(side)}:
            was, left, right = (at(side, path) for side in (base, ours, theirs))
            both_changed = not any(map(is_same, (was, was, left), (left, right, right)))
            if both_changed and all(not isinstance(side, dict) for side in (was, left, right)):
                settled = {UNION, LAST} & set(policy.values())
                assert settled or is_listed(path, listed), path

    @given(versions(), policies, stamps, stamps)
    def test_conflicts_tell_what_each_side_had_and_keep_the_base(
        self, three: tuple[Any, ...], policy: Policies, mine: Stamp, other: Stamp
    ) -> None:
        base, ours, theirs = three
        merged = merge(base, ours, theirs, policies=policy, stamps=(mine, other))
        for conflict in merged.conflicts:
            path = next(path for path in paths_of(base, ours, theirs) if pointer(path) == conflict.path)
            told = (conflict.base, conflict.ours, conflict.theirs)
            assert all(map(is_same, told, (at(side, path) for side in three)))
            assert not any(map(is_same, (told[0], told[0], told[1]), (told[1], told[2], told[2])))
            assert is_same(at(merged.value, path), conflict.base)

    @given(sets, sets, sets, sets)
    def test_union_is_that_of_sets(self, base: Any, one: Any, two: Any, three: Any) -> None:
        """A model: kept is what nobody removed, and added what anybody added, in whatever order they come."""

        def united(ours: Any, theirs: Any) -> Any:
            merged = merge({"tags": base}, {"tags": ours}, {"tags": theirs}, policies={"/tags": UNION})
            assert merged.is_clean
            return merged.value["tags"]

        began, *writers = ({codec.canonical(item) for item in side} for side in (base, one, two, three))
        kept = began.intersection(*writers) | set.union(*(writer - began for writer in writers))
        results = [
            united(united(first, second), third) for first, second, third in itertools.permutations([one, two, three])
        ]
        assert all({codec.canonical(item) for item in result} == kept for result in results)
        assert is_same(united(one, two), united(two, one))

    @given(versions(), policies)
    def test_inputs_stay_as_they_are_and_share_nothing_with_the_result(
        self, three: tuple[Any, ...], policy: Policies
    ) -> None:
        before = copy.deepcopy(three)
        merged = merge(*three, policies=policy, stamps=(Stamp(1, "a"), Stamp(2, "b")))
        spoil(merged.value)
        for conflict in merged.conflicts:
            spoil([conflict.base, conflict.ours, conflict.theirs])
        assert all(map(is_same, three, before))


class TestByKey:
    @pytest.mark.parametrize(
        ("base", "ours", "theirs", "value"),
        [
            ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3}, {"a": 1, "b": 2, "c": 3}),
            ({"a": 1, "b": 2}, {"b": 2}, {"a": 1, "b": 3}, {"b": 3}),
            ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1}}, {"a": {"x": 2}}),
            ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ],
        ids=["both add", "one removes, one edits another", "inside an object", "both add an object"],
    )
    def test_changes_that_lie_apart_are_put_together(self, base: Any, ours: Any, theirs: Any, value: Any) -> None:
        assert merge(base, ours, theirs) == Merged(value=value, conflicts=())

    @pytest.mark.parametrize(
        ("base", "ours", "theirs", "path"),
        [
            ({"a": 1}, {"a": 2}, {"a": 3}, "/a"),
            ({}, {"a": 1}, {"a": 2}, "/a"),
            ({"a": {"x": 1}}, {}, {"a": {"x": 2}}, "/a"),
            ({"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}}, "/a"),
            ({"a": 1}, {"a": True}, {"a": 1.0}, "/a"),
            ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, "/a"),
            ({"a": [1, 1]}, {"a": [2, 1]}, {"a": [1, 2]}, "/a"),
            ({"x/y": {"~": 1}}, {"x/y": {"~": 2}}, {"x/y": {"~": 3}}, "/x~1y/~0"),
            (1, 2, 3, ""),
        ],
        ids=[
            "edit",
            "add",
            "edit and remove",
            "type",
            "number and boolean",
            "list",
            "list by place",
            "odd keys",
            "all",
        ],
    )
    def test_what_both_changed_differently_is_a_conflict(self, base: Any, ours: Any, theirs: Any, path: str) -> None:
        merged = merge(base, ours, theirs)
        assert [conflict.path for conflict in merged.conflicts] == [path]
        assert is_same(merged.value, base)

    def test_conflict_says_that_a_side_has_none(self) -> None:
        (conflict,) = merge({"a": 1}, {}, {"a": 2}).conflicts
        assert (conflict.base, conflict.ours, conflict.theirs) == (1, NOTHING, 2)


class TestPolicies:
    def test_retry_takes_an_object_whole(self) -> None:
        three = ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1, "y": 2}})
        assert [each.path for each in merge(*three, policies={"/a": RETRY}).conflicts] == ["/a"]
        assert merge(*three, policies={"/a": RETRY, "/a/*": MERGE}).value == {"a": {"x": 2, "y": 2}}

    def test_retry_everywhere_but_in_one_field(self) -> None:
        policy = {"": RETRY, "/tags": UNION}
        base = {"n": 1, "tags": ["a"]}
        merged = merge(base, {"n": 2, "tags": ["a", "b"]}, {"n": 1, "tags": ["a", "c"]}, policies=policy)
        assert merged == Merged(value={"n": 2, "tags": ["a", "b", "c"]}, conflicts=())
        assert not merge(base, {"n": 2, "tags": ["a"]}, {"n": 3, "tags": ["a"]}, policies=policy).is_clean

    def test_union_keeps_what_neither_removed_and_what_either_added(self) -> None:
        merged = merge([3, 1, 2], [3, 2, 9], [3, 1, 2, 7, True], policies={"": UNION})
        assert merged == Merged(value=[3, 2, 7, 9, True], conflicts=())

    def test_union_of_lists_of_objects_is_a_conflict(self) -> None:
        assert not merge([], [{"id": 1}], [{"id": 2}], policies={"": UNION}).is_clean

    def test_last_writer_goes_by_the_stamps_and_then_by_the_name(self) -> None:
        def last(mine: Stamp, other: Stamp) -> Any:
            return merge({"a": 1}, {"a": 2}, {}, policies={"/a": LAST}, stamps=(mine, other)).value

        assert last(Stamp(2, "a"), Stamp(1, "b")) == {"a": 2}
        assert last(Stamp(1, "b"), Stamp(2, "a")) == {}
        assert last(Stamp(1, "b"), Stamp(1, "a")) == {"a": 2}

    def test_last_writer_of_three_wins_in_any_order(self) -> None:
        sides = [({"a": number}, Stamp(number, "w")) for number in (1.0, 2.0, 3.0)]
        for order in itertools.permutations(sides):
            value, stamp = order[0]
            for other, its in order[1:]:
                value = merge({"a": 0}, value, other, policies={"": LAST}, stamps=(stamp, its)).value
                stamp = max(stamp, its)
            assert value == {"a": 3.0}

    def test_longest_pointer_decides_and_a_name_before_a_star(self) -> None:
        policy = {"/*": RETRY, "/a": LAST, "/a/tags": UNION}
        merged = merge(
            {"a": {"tags": [], "n": 0}, "b": 0},
            {"a": {"tags": [1], "n": 1}, "b": 1},
            {"a": {"tags": [2], "n": 2}, "b": 2},
            policies=policy,
            stamps=(Stamp(2, ""), Stamp(1, "")),
        )
        assert merged.value == {"a": {"tags": [1, 2], "n": 1}, "b": 0}
        assert [each.path for each in merged.conflicts] == ["/b"]

    def test_a_policy_that_cannot_work_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="JSON pointer"):
            merge({}, {}, {}, policies={"tags": UNION})
        with pytest.raises(InvalidInput, match="stamps"):
            merge(1, 2, 3, policies={"": LAST})


def as_sets(value: Any) -> Any:
    """`value` with its lists of scalars sorted: the order of a set means nothing."""
    if isinstance(value, dict):
        return {key: as_sets(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((codec.canonical(as_sets(item)) for item in value), key=bytes)
    return codec.canonical(value)


def leaves_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field that is no object, or an empty one, with its path."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves_of(item, (*path, key))
    else:
        yield path, value


def paths_of(*values: Any) -> set[Path]:
    """Every path there is in `values`."""
    return {path[:length] for value in values for path, _ in leaves_of(value) for length in range(len(path) + 1)}


def at(value: Any, path: Path) -> Any:
    """What `value` holds at `path`."""
    for token in path:
        if not isinstance(value, dict) or token not in value:
            return NOTHING
        value = value[token]
    return value


def is_listed(path: Path, listed: list[str]) -> bool:
    """Whether a conflict speaks of the field at `path`, of something around it, or inside it."""
    mine = pointer(path) + "/"
    return any(mine.startswith(f"{other}/") or f"{other}/".startswith(mine) for other in listed)


def spoil(value: Any) -> None:
    """Change every object and list in `value`."""
    if isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoilt")
