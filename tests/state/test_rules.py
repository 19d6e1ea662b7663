"""The decisions by themselves: folding, staleness, order, cycles, restoring."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Conflict, FieldPolicy, InvalidInput
from holdfast.state.names import OBJECT, checked_prefix, copied_key, copy_key, edge_key, ref, source_key
from holdfast.state.objects import Author, Held, Stored
from holdfast.state.rules import (
    Asked,
    CopyOf,
    Keep,
    Seen,
    conflict_over,
    edge_writes,
    fold,
    moved,
    order,
    policies_for,
    refuse_cycle,
    restored,
    slices,
    stale,
    until,
)
from holdfast.store.contract.records import Delete, Event, Key, Position, Put
from holdfast.store.rows import journal

ME = Author("me", "", b"{}")
PLAN = Key("acme", "ana", OBJECT, "plan")


def at(path: str) -> Key:
    return Key("acme", "ana", OBJECT, path)


def adding(amount: int) -> Asked:
    def make(seen: Seen) -> Stored:
        if amount == 0:
            raise Conflict("not me")
        return Stored(value=(seen.stored.value if seen.stored else 0) + amount, by="me")

    return Asked(make, "updated", ME)


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.none() | st.tuples(st.integers(1, 50), st.integers(0, 9)),
)
def test_a_fold_is_what_its_updates_make_one_after_the_other(
    amounts: list[int], before: tuple[int, int] | None
) -> None:
    """Each has a version of its own, and the journal leads to each of the values."""
    known = None if before is None else Held(before[0], Stored(value=before[1], by="x"), 0.0)
    made = fold(PLAN, known, [adding(amount) for amount in amounts], now=1.0)
    value, version, expected = (before[1], before[0], []) if before else (0, 0, [])
    for amount in amounts:
        if amount:
            value += amount
            version += 1
        expected.append((value, version) if amount else None)
    base = before[0] if before else 0
    found = [
        (outcome.value, base + 1 + number) if isinstance(outcome, Stored) and number is not None else None
        for outcome, number in zip(made.outcomes, made.versions, strict=True)
    ]
    assert found == expected
    count = sum(amount != 0 for amount in amounts)
    assert len(made.events) == count
    assert (made.put.folded if made.put else 0) == count
    rows = [
        Event(
            key=PLAN, position=Position(1, base + n), version=base + n, name="", body=b"", delta=delta, change_id="",
            at=0,
        )
        for n, delta in enumerate(
            [*([journal.delta(None, known.stored.plain(), base)] if known else []), *(e.delta for e in made.events)],
            0 if known else 1,
        )
    ]  # fmt: skip
    for end in range(1, len(rows) + 1):
        told = journal.rebuilt(rows[:end])
        assert told is not None
        if end > (known is not None):
            assert told.body["value"] == next(v for v, n in filter(None, expected) if n == told.version)


def test_what_is_over_its_time_is_nothing_to_a_writer() -> None:
    known = Held(7, Stored(value=5, by="x", expires_at=10.0), 0.0)
    (early,) = fold(PLAN, known, [adding(1)], now=9.0).outcomes
    late = fold(PLAN, known, [adding(1)], now=10.0)
    assert (early.value, late.outcomes[0].value) == (6, 1)  # type: ignore[union-attr]
    assert late.put is not None
    assert late.put.expect == 7, "the record that is still there is what is replaced"


def network(uses: dict[str, list[str]], versions: dict[str, int], made: dict[str, dict[str, int]]) -> dict[Key, Any]:
    return {
        at(path): Held(versions[path], Stored(value=0, by="x", uses={s: made[path][s] for s in sources}), 0.0)
        for path, sources in uses.items()
    }


@st.composite
def graphs(draw: st.DrawFn) -> dict[Key, Any]:
    """Objects made from earlier ones, some of which have changed since."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 9)))]
    uses = {name: draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else [] for n, name in enumerate(names)}
    versions = {name: draw(st.integers(1, 3)) for name in names}
    made = {
        name: {s: draw(st.sampled_from([versions[s], versions[s], versions[s] + 1])) for s in uses[name]}
        for name in uses
    }
    return network(uses, versions, made)


@given(graphs())
def test_stale_is_who_was_made_from_another_version_or_from_something_stale(known: dict[Key, Any]) -> None:
    found = stale(known, now=1.0)
    for key, there in known.items():
        for name, version in there.stored.uses.items():
            source = at(name)
            assert (name in found[key]) == (known[source].version != version or bool(found[source]))


@given(graphs())
def test_sources_come_before_what_was_made_from_them(known: dict[Key, Any]) -> None:
    layers = order(known)
    place = {key: number for number, layer in enumerate(layers) for key in layer}
    assert sorted(place) == sorted(known)
    for key, there in known.items():
        for name in there.stored.uses:
            assert place[at(name)] < place[key]
            with pytest.raises(InvalidInput):
                refuse_cycle(at(name), {key.id: 1}, known)
        refuse_cycle(key, there.stored.uses, known)


def test_a_cycle_that_is_there_ends_no_walk() -> None:
    """It is refused where it would be made; if there is one all the same, nothing hangs."""
    known = network(
        {"a": ["b"], "b": ["a"], "c": ["a"]}, {"a": 1, "b": 1, "c": 1}, {"a": {"b": 1}, "b": {"a": 1}, "c": {"a": 1}}
    )
    assert stale(known, now=0.0) == {at("a"): (), at("b"): (), at("c"): ()}
    assert order(known) == [[at("a"), at("b"), at("c")]]


@given(graphs(), graphs(), st.data())
def test_restoring_gives_the_values_and_who_was_fresh_is_fresh(
    kept: dict[Key, Any], present: dict[Key, Any], data: st.DataObject
) -> None:
    copies = {key: CopyOf(there.version, there.stored) for key, there in kept.items()}
    bases = {key: data.draw(st.integers(0, 5)) for key in copies if key not in present}
    made = restored(copies, present, bases, ME)
    after: dict[Key, Any] = dict(present)
    for key, body in made.items():
        before = present[key].version if key in present else bases.get(key, 0)
        after[key] = None if body is None else Held(before + 1, body, 0.0)
    assert {key for key, there in after.items() if there} == set(copies)
    fresh_before = {key for key, names in stale(kept, now=1.0).items() if not names}
    fresh_after = {key for key, names in stale(after, now=1.0).items() if not names}
    assert fresh_before <= fresh_after
    assert all(after[key].stored.value == copy.stored.value for key, copy in copies.items())
    settled = {key: CopyOf(there.version, there.stored) for key, there in after.items() if there}
    assert restored(settled, {key: there for key, there in after.items() if there}, {}, ME) == {}


def test_edges_come_and_go_with_what_they_tell_of() -> None:
    writes = edge_writes(PLAN, ["a", "b"], ["b", "shared:c"])
    assert [(type(write), write.key.id) for write in writes] == [(Put, "shared:c//plan"), (Delete, "a//plan")]
    assert edge_key("a", PLAN).user == "ana"


def test_names_lead_there_and_back() -> None:
    shared = Key("acme", "", OBJECT, "a/b")
    assert source_key(ref(shared, dependent=PLAN), dependent=PLAN) == shared
    assert source_key(ref(at("x"), dependent=PLAN), dependent=PLAN) == at("x")
    assert copied_key(copy_key(at("a/b"), "id-1")) == at("a/b")
    assert [checked_prefix(each) for each in ("", "net", "net/")] == ["", "net/", "net/"]
    with pytest.raises(InvalidInput, match="shared ones only"):
        ref(PLAN, dependent=shared)


def test_a_conflict_tells_all_that_moved() -> None:
    there = {
        at("a"): Held(2, Stored(value=1, by=""), 0.0),
        at("b"): None,
        at("c"): Held(1, Stored(value=1, by=""), 0.0),
    }
    differing = moved({at("a"): 1, at("b"): 1, at("c"): 1}, there)
    assert differing == {at("a"): (1, 2), at("b"): (1, 0)}
    assert conflict_over(differing).seen == {"a": 2, "b": 0}


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 20_000_000)), max_size=30))
def test_slices_hold_everything_in_order_and_within_bounds(items: list[tuple[int, int]]) -> None:
    found = slices(items, rows_of=lambda item: item[0], bytes_of=lambda item: item[1])
    assert [item for part in found for item in part] == items
    assert all(part and (len(part) == 1 or sum(r for r, _ in part) <= 1500) for part in found)
    assert all(len(part) == 1 or sum(b for _, b in part) <= 32 * 1024 * 1024 for part in found)


def test_the_longest_prefix_has_the_say() -> None:
    one, other = {"/a": FieldPolicy.UNION}, {"/b": FieldPolicy.RETRY}
    declared = {"": one, "net": other}
    assert policies_for("net/plan", declared) == policies_for("net", declared) == other
    assert policies_for("network", declared) == one
    assert policies_for("network", {"net": other}) is None


def test_how_long_it_lasts() -> None:
    assert until(None, now=5.0) is Keep.AS_BEFORE
    assert until(float("inf"), now=5.0) is None
    assert until("1m", now=5.0) == 65.0
    for wrong in (0, "soon", -1):
        with pytest.raises(InvalidInput):
            until(wrong, now=5.0)
