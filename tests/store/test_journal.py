"""Deltas in, bodies out, for random histories; and what trimming may take."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Corrupt
from holdfast.store.contract.records import Event, Position
from holdfast.store.rows import journal
from holdfast.testing.conformance.samples import key

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
bodies = st.lists(st.dictionaries(texts, values, max_size=5), min_size=1, max_size=12)


def history(versions: list[Any], *, every: int = 5) -> list[Event]:
    rows = []
    before = None
    for version, body in enumerate(versions, 1):
        delta = journal.delta(before, body, version, every=every)
        rows.append(row(version, delta=delta))
        before = body
    return rows


def row(version: int, *, delta: bytes = b"", at: float | None = None) -> Event:
    return Event(
        key=key("a"),
        position=Position(1, version),
        version=version,
        name="transition",
        body=b"{}",
        delta=delta,
        change_id=f"c{version}",
        at=float(version) if at is None else at,
    )


@given(versions=bodies, every=st.integers(1, 6))
def test_rebuilding_at_any_version_gives_the_body_of_that_version(versions: list[Any], every: int) -> None:
    rows = history(versions, every=every)
    for count, body in enumerate(versions, 1):
        assert json.dumps(journal.rebuild(rows[:count])) is not None
        assert msgspec.json.encode(journal.rebuild(rows[:count]), order="sorted") == msgspec.json.encode(
            body, order="sorted"
        )


@given(versions=bodies, before_s=st.integers(0, 14), keep=st.integers(0, 4))
def test_trimming_never_takes_what_rebuilding_needs(versions: list[Any], before_s: int, keep: int) -> None:
    rows = history(versions)
    cut = journal.kept_from(rows, before_s=before_s, keep=keep, is_gone=False)
    assert journal.rebuild(rows[cut:]) == versions[-1]
    assert len(rows) - cut >= min(max(keep, 1), len(rows))
    assert all(each.at < before_s for each in rows[:cut])


def test_trimming_goes_back_to_the_last_snapshot_and_no_further() -> None:
    rows = history([{"n": number, "text": "x" * 500} for number in range(1, 13)], every=5)
    assert [each.version for each in rows if journal.is_snapshot(each)] == [1, 5, 10]
    assert rows[journal.kept_from(rows, before_s=8, keep=1, is_gone=False)].version == 5
    assert rows[journal.kept_from(rows, before_s=10, keep=1, is_gone=False)].version == 10
    assert rows[journal.kept_from(rows, before_s=99, keep=1, is_gone=False)].version == 10


@given(versions=bodies, before_s=st.integers(0, 14), keep=st.integers(0, 4))
def test_journal_of_a_record_that_is_gone_goes_whole_once_all_of_it_is_old(
    versions: list[Any], before_s: int, keep: int
) -> None:
    rows = history(versions)
    cut = journal.kept_from(rows, before_s=before_s, keep=keep, is_gone=True)
    if rows[-1].at < before_s:
        assert cut == len(rows)
    else:
        assert cut == journal.kept_from(rows, before_s=before_s, keep=keep, is_gone=False)


def test_patches_before_the_first_snapshot_are_passed_over() -> None:
    rows = history([{"n": number, "text": "x" * 500} for number in range(1, 8)], every=5)
    assert journal.rebuilt(rows[2:]) == journal.Rebuilt(7, {"n": 7, "text": "x" * 500})
    assert journal.rebuilt(rows[2:4]) is None


def test_second_life_of_a_record_has_a_journal_of_its_own() -> None:
    first = msgspec.structs.replace(row(2), previous="aa")
    made_again = row(3)
    assert journal.own_life([row(1), first, made_again]) == [made_again]
    assert journal.own_life([first]) == [first]
    assert journal.own_life([]) == []


def test_delta_is_the_smaller_of_patch_and_snapshot() -> None:
    big, small = {"text": "x" * 1000, "n": 1}, {"n": 2}
    assert b"patch" in journal.delta(big, {**big, "n": 2}, 3)
    assert b"full" in journal.delta(big, small | {"other": ["y"] * 3}, 3)
    assert b"full" in journal.delta(big, {**big, "n": 2}, 40)
    assert b"full" in journal.delta(None, big, 3)


def test_events_without_a_delta_are_passed_over() -> None:
    rows = [row(1, delta=journal.delta(None, {"n": 1}, 1)), row(2), row(3)]
    assert journal.rebuilt(rows) == journal.Rebuilt(1, {"n": 1})


def test_journal_without_a_start_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="full snapshot"):
        journal.rebuild([row(1)])
    with pytest.raises(Corrupt, match="full snapshot"):
        journal.rebuild([row(2, delta=b'{"patch":[]}')])
    with pytest.raises(Corrupt, match="expected a delta with full or patch"):
        journal.rebuild([row(2, delta=b'{"other":[]}')])
