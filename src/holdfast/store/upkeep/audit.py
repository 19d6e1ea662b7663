"""The check of a whole store: every digest and chain, recomputed, and every record against its journal. Pure.

One record at a time, so that a big store is checked in little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from holdfast import codec
from holdfast.errors import Corrupt, InvalidInput
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import Problem, Record, Verification
from holdfast.store.rows.digest import digest_of, digest_of_event
from holdfast.store.rows.journal import own_life, rebuilt


def audit(histories: Iterable[History], streams: Mapping[Stream, int]) -> Verification:
    """Everything that is wrong in `histories`, and with the last sequence number of each stream."""
    records = events = 0
    problems: list[Problem] = []
    newest: dict[Stream, int] = {}
    for history in histories:
        records += history.row is not None and not history.row.deleted
        events += len(history.events)
        problems.extend(problems_of(history))
        for event in history.events:
            stream = (event.key.tenant, event.key.user)
            newest[stream] = max(newest.get(stream, 0), event.position.seq)
    for stream, seq in sorted(newest.items()):
        if seq > streams.get(stream, 0):
            where = f"stream of {stream[0]}/{stream[1]}"
            problems.append(_problem(where, f"a last number of at least {seq}", f"{streams.get(stream, 0)}"))
    return Verification(records=records, events=events, problems=tuple(problems))


def together(parts: Sequence[Verification]) -> Verification:
    """What audits of the pages of one store found. (Each of them may have seen the same fault of a stream.)"""
    return Verification(
        records=sum(part.records for part in parts),
        events=sum(part.events for part in parts),
        problems=tuple(dict.fromkeys(problem for part in parts for problem in part.problems)),
    )


def problems_of(history: History) -> Iterator[Problem]:
    """What is wrong under one key."""
    row = history.row
    if row is not None:
        assert row.record is not None, f"{history.key}: an audit reads whole records"
        if (digest := digest_of(row.record, deleted=row.deleted)) != row.record.digest:
            yield _problem(f"{history.key}", f"digest {row.record.digest}", f"{digest} from its bytes")
    yield from _chain_problems(history)
    if row is not None and not row.deleted and row.record is not None:
        yield from _body_problems(history, row.record)


def sound_part(history: History) -> History:
    """`history` with its journal cut behind whatever is damaged or missing last: what is left is whole in itself, and
    the anchor is what its first event follows. The row stays as it is."""
    start, anchor = 0, history.anchor
    expected: str | None = anchor
    for index, event in enumerate(history.events):
        if digest_of_event(event) != event.digest:
            start, anchor, expected = index + 1, event.digest, None
            continue
        if expected is None or event.previous not in (expected, ""):
            start, anchor = index, event.previous
        expected = event.digest
    return msgspec.structs.replace(history, events=history.events[start:], anchor=anchor)


def _chain_problems(history: History) -> Iterator[Problem]:
    previous = history.anchor
    for event in history.events:
        where = f"{history.key}: event {event.name} at {event.position}"
        if (digest := digest_of_event(event)) != event.digest:
            yield _problem(where, f"digest {event.digest}", f"{digest} from its bytes")
        is_new_life = not event.previous  # the record was removed whole and made again
        if event.previous != previous and not is_new_life:
            yield _problem(where, f"to follow event {previous or 'none'}", f"it follows {event.previous or 'none'}")
        previous = event.digest
    if history.row is not None and history.row.chain not in ("", previous):
        expected = f"a journal that ends with event {history.row.chain}"
        yield _problem(f"{history.key}", expected, f"it ends with {previous or 'none'}")


def _body_problems(history: History, record: Record) -> Iterator[Problem]:
    newest = history.events[-1].version if record.chain and history.events else 0
    if _are_numbers(newest, record.version) and newest > record.version:
        yield _problem(f"{history.key}", f"version {newest} or later, as its journal says", f"version {record.version}")
    try:
        journalled = rebuilt(own_life(history.events)) if record.chain else None
        stored: object = codec.decode(record.body)
    except (Corrupt, InvalidInput) as error:
        yield _problem(f"{history.key}", "a body and a journal that can be read", f"{error}")
        return
    if journalled is not None and journalled.version == record.version and journalled.body != stored:
        yield _problem(f"{history.key}", f"the body that its journal tells at version {record.version}", "another body")


def _are_numbers(*values: object) -> bool:
    """Whether what should be numbers are some; where damage made text of one, its digest tells."""
    return all(isinstance(value, int) for value in values)


def _problem(where: str, expected: str, seen: str) -> Problem:
    return Problem(where=where, expected=expected, seen=seen)
