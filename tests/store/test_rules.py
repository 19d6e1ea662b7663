"""The judgement of batches, without any store."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Conflict, HoldfastError
from holdfast.store.contract.records import Change, Commit
from holdfast.store.decisions.rules import Judgement, judge, prefix_end, sorted_ids, under_prefix
from holdfast.store.rows.digest import digest_of
from holdfast.store.upkeep.contents import Contents
from holdfast.testing.conformance.equivalence import changes
from holdfast.testing.conformance.samples import change, event, key, put, removal


def judged(contents: Contents, batch: list[Change]) -> Judgement:
    judgement = judge(batch, contents.rows, contents.streams, at=5.0, incarnation=1)
    contents.apply(judgement)
    return judgement


def told(answer: Any) -> Any:
    return (type(answer), answer.message, answer.facts) if isinstance(answer, HoldfastError) else answer


@given(batches=st.lists(st.lists(changes, max_size=6), max_size=4))
def test_a_batch_is_judged_as_if_its_changes_came_one_by_one(batches: list[list[Change]]) -> None:
    together, alone = Contents(), Contents()
    for batch in batches:
        batch = [each for each in batch if not contradictory(each)]
        at_once = judged(together, batch).answers
        one_by_one = [judged(alone, [each]).answers[0] for each in batch]
        assert [told(answer) for answer in at_once] == [told(answer) for answer in one_by_one]
        assert together.rows == alone.rows
        assert together.journals == alone.journals
        assert together.streams == alone.streams


@given(batch=st.lists(changes, max_size=6))
def test_judging_leaves_its_inputs_alone_and_repeats_itself(batch: list[Change]) -> None:
    batch = [each for each in batch if not contradictory(each)]
    contents = Contents()
    judged(contents, batch)
    rows, streams = dict(contents.rows), dict(contents.streams)
    first = judge(batch, contents.rows, contents.streams, at=6.0, incarnation=1)
    second = judge(batch, contents.rows, contents.streams, at=6.0, incarnation=1)
    assert (rows, streams) == (contents.rows, contents.streams)
    assert [told(answer) for answer in first.answers] == [told(answer) for answer in second.answers]
    assert (first.rows, first.events) == (second.rows, second.events)


@given(batch=st.lists(changes, max_size=6))
def test_every_row_carries_its_right_digest(batch: list[Change]) -> None:
    contents = Contents()
    judged(contents, [each for each in batch if not contradictory(each)])
    for row in contents.rows.values():
        assert row.record is not None
        assert row.record.digest == digest_of(row.record, deleted=row.deleted)
        assert (row.version, row.epoch, row.owner, row.chain) == (
            row.record.version,
            row.record.epoch,
            row.record.owner,
            row.record.chain,
        )


def test_the_loser_changes_nothing_and_the_next_one_wins() -> None:
    contents = Contents()
    batch = [
        change(put("a"), event("a")),
        change(put("a"), put("b"), event("a")),
        change(put("a", expect=1), event("a")),
    ]
    judgement = judged(contents, batch)
    assert [type(answer) for answer in judgement.answers] == [Commit, Conflict, Commit]
    assert [each.position.seq for each in judgement.events] == [1, 2]
    assert key("b") not in contents.rows


def test_removal_and_writes_of_one_batch_keep_their_order() -> None:
    memo = key("v1/a", kind="memo")
    contents = Contents()
    judgement = judged(contents, [change(put(memo)), change(removal("v1/")), change(put(memo, body=b"2"))])
    assert all(isinstance(answer, Commit) for answer in judgement.answers)
    record = contents.rows[memo].record
    assert record is not None
    assert (record.body, record.version) == (b"2", 1)


@given(prefix=st.text(max_size=3), text=st.text(max_size=5))
def test_prefix_end_is_the_least_text_beyond_the_prefix(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    assert end is None or prefix + text < end
    if end is not None and text.encode() < end.encode() and text.encode() >= prefix.encode():
        assert text.startswith(prefix)


@given(ids=st.lists(st.text("ab/\U0010ffff", max_size=4)), prefix=st.text("ab/\U0010ffff", min_size=1, max_size=2))
def test_under_prefix_finds_what_starts_with_it(ids: list[str], prefix: str) -> None:
    (ordered,) = sorted_ids(key(id_) for id_ in ids).values() if ids else ([],)
    assert sorted(under_prefix(ordered, prefix)) == sorted(id_ for id_ in ids if id_.startswith(prefix))


def contradictory(each: Change) -> bool:
    """What the gate refuses, and the rules need not judge."""
    written = [*each.keys, *(new.key for new in each.events)]
    return len(set(each.keys)) < len(each.keys) or any(
        at[:3] == (gone.tenant, gone.user, gone.kind) and at.id.startswith(gone.prefix)
        for gone in each.removes
        for at in written
    )
