"""Whatever is damaged: after a repair the store is sound, but for what the repair says it could not mend."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.store.contract.history import History
from holdfast.store.contract.records import Key
from holdfast.store.memory import MemoryStore
from holdfast.store.rows.copies import COPY
from holdfast.testing.conformance.mending import copy_key, goes_on, keep_copy, step
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, delete, event, key, put

FIELDS_OF_ROWS = ["body", "version", "epoch", "status", "owner", "chain", "digest"]
places = st.integers(0, 40)
damages = st.one_of(
    st.tuples(st.just("event"), places, st.sampled_from(["body", "delta", "name", "version", "previous", "digest"])),
    st.tuples(st.just("lose"), places, st.just("")),
    st.tuples(st.just("swap"), places, st.just("")),
    st.tuples(st.just("anchor"), places, st.just("")),
    st.tuples(
        st.just("row"), places, st.sampled_from(["body", "version", "epoch", "status", "owner", "chain", "digest"])
    ),
    st.tuples(st.just("flag"), places, st.just("")),
)
SPOILT: dict[str, Any] = {
    "body": b"[1]",
    "delta": b'{"full":[1]}',
    "name": "odd",
    "version": 77,
    "epoch": 3,
    "status": "odd",
    "owner": "thief",
    "previous": "ab",
    "chain": "cd",
    "digest": "ef",
}


def spoilt(history: History, what: str, place: int, field: str) -> History:
    """`history` with one damage; unchanged where there is nothing to damage."""
    events = list(history.events)
    at = place % len(events) if events else 0
    row = history.row
    match what:
        case "event" if events:
            events[at] = replace(events[at], **{field: SPOILT[field]})
        case "lose" if events:
            del events[at]
        case "swap" if len(events) > at + 1:
            first, second = events[at], events[at + 1]
            events[at : at + 2] = [replace(second, position=first.position), replace(first, position=second.position)]
        case "anchor":
            return replace(history, anchor="12")
        case "row" if row is not None and row.record is not None:
            record = replace(row.record, **{field: SPOILT[field]})
            row = row._replace(
                record=record, version=record.version, epoch=record.epoch, owner=record.owner, chain=record.chain
            )
        case "flag" if row is not None:
            row = row._replace(deleted=not row.deleted)
    return replace(history, events=events, row=row)


@given(
    versions=st.integers(1, 25),
    copied=st.lists(st.integers(1, 25), max_size=2),
    is_deleted=st.booleans(),
    planted=st.lists(st.tuples(st.sampled_from(["a", "a", "a", "copy"]), damages), min_size=1, max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_store_is_sound_after_a_repair(
    versions: int, copied: list[int], is_deleted: bool, planted: list[tuple[str, tuple[str, int, str]]]
) -> None:
    asyncio.run(_repair(versions, copied, is_deleted, planted))


async def _repair(
    versions: int, copied: list[int], is_deleted: bool, planted: list[tuple[str, tuple[str, int, str]]]
) -> None:
    store = MemoryStore()
    before: Any = None
    for version in range(1, versions + 1):
        body = {"n": version, "text": "x" * 200}
        await step(store, version, body, before=before)
        before = body
        if version in copied:
            await keep_copy(store, f"v{version}")
    if is_deleted:
        await store.commit(ANA, change(delete("a"), event("a")))
    for whose, (what, place, field) in planted:
        at: Key = key("a") if whose == "a" else copy_key(f"v{copied[0] if copied else 0}")
        async with store.snapshot() as view:
            found = [each async for each in view.histories() if each.key == at]
        if found:
            await store.load([spoilt(found[0], what, place, field)])
    words = await store.repair()
    hopeless = {each.partition(": not repaired")[0] for each in words if ": not repaired" in each}
    found_problems = (await store.verify()).problems
    assert {problem.where.partition(": event")[0] for problem in found_problems} == hopeless, (words, found_problems)
    assert all(COPY not in each for each in hopeless), "a damaged copy goes"
    assert len(await store.repair()) == len(hopeless), "and what was repaired needs no more"
    if hopeless:
        return
    (record,) = await store.read(SYSTEM, [key("a")])
    if record is None:
        await store.commit(ANA, change(put("a", body=json.dumps({"n": 1}).encode()), event("a")))
    else:
        assert "n" in json.loads(record.body), "what it says was true once"
        await goes_on(store)
    assert (await store.verify()).is_clean
