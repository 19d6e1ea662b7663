"""The merge of an outage, over any history of both sides: nothing is lost, nothing is half done, nothing is taken for
something else, and doing it again changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import codec
from holdfast.merge import FieldPolicy, Stamp, is_same, merge
from holdfast.store.contract.records import Change, Claim, Commit, Delete, Key, Put, Query, Record, Require
from holdfast.store.fallback.known import Known
from holdfast.store.fallback.merging import Became, Merger
from holdfast.store.fallback.outage import Landings, Outage
from holdfast.store.fallback.rules import (
    Fit,
    Found,
    Kept,
    Standing,
    Written,
    document,
    fit,
    mark_of,
    raised,
    step_aside,
)
from holdfast.store.fallback.unmerged import Unmerged, unmerged
from holdfast.store.memory import MemoryStore
from holdfast.store.writing.wakeup import Wakeup
from holdfast.testing.conformance.samples import ANA, SYSTEM, StepClock, change, delete, event, key, put, removal

NAMES = "abc"
FIELDS = "xy"


class Step(NamedTuple):
    """One change of one side: a field of each of some records is set, or the records are deleted. `needs`: a record
    that must stand as it was read. `claims` comes first where it names a record."""

    names: tuple[str, ...]
    field: str
    deletes: bool = False
    needs: str = ""
    claims: str = ""


STEPS = st.builds(
    Step,
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(tuple),
    field=st.sampled_from(FIELDS),
    deletes=st.sampled_from([False, False, False, True]),
    needs=st.sampled_from(["", "", "", *NAMES]),
    claims=st.sampled_from(["", "", "", *NAMES]),
)


class Side:
    """One of the two that write. Every value that it writes is its own."""

    def __init__(self, name: str, store: Any) -> None:
        self._name = name
        self._store = store
        self._count = 0
        self.sent: list[Change] = []

    async def do(self, step: Step) -> None:
        if step.claims:
            claim = Claim(kind="run", owner=self._name, from_owners=("", "base", "ours", "theirs"), ids=(step.claims,))
            await self._claim(claim)
        self._count += 1
        keys = [key(name) for name in step.names]
        found = dict(zip(keys, await self._store.read(SYSTEM, keys), strict=True))
        parts: list[Any] = []
        for at, record in found.items():
            if step.deletes and record is None:
                continue
            expect = 0 if record is None else record.version
            body = {} if record is None else codec.decode(record.body)
            value = codec.encode(body | {step.field: f"{self._name} {self._count}"})
            parts += [delete(at, expect=expect) if step.deletes else put(at, expect=expect, body=value)]
            parts += [event(at, delta=b"" if step.deletes else b'{"full":%b}' % value)]
        if step.needs and step.needs not in step.names:
            (ground,) = await self._store.read(SYSTEM, [key(step.needs)])
            parts.append(Require(key=key(step.needs), version=0 if ground is None else ground.version))
        if any(isinstance(part, Put | Delete) for part in parts):
            self.sent.append(change(*parts, change_id=f"{self._name}-{self._count}"))
            await self._commit(self.sent[-1])

    async def _commit(self, sent: Change) -> None:
        await self._store.commit(ANA, sent)

    async def _claim(self, claim: Claim) -> None:
        await self._store.claim(SYSTEM, claim)


class OurSide(Side):
    def __init__(self, outage: Outage) -> None:
        super().__init__("ours", outage.memory)
        self._outage = outage
        self.versions: dict[Key, set[int]] = {}
        self.epochs: dict[Key, set[int]] = {}

    async def _commit(self, sent: Change) -> None:
        self._outage.commit(ANA, sent)
        for at, record in self._outage.memory.peek(sent.keys).items():
            if record is not None:
                self.versions.setdefault(at, set()).add(record.version)

    async def _claim(self, claim: Claim) -> None:
        for record in self._outage.claim(SYSTEM, claim):
            self.epochs.setdefault(record.key, set()).add(record.epoch)


class Told(NamedTuple):
    """What a merge came to."""

    server: dict[str, Record | None]
    before: dict[str, Record | None]
    memory: dict[str, Record | None]
    became: Counter[Became]
    ours: OurSide
    theirs: Side
    kept: list[Unmerged]
    rows: dict[str, set[str]]
    base: set[str]


async def history(
    base: list[Step], ours: list[Step], theirs: list[Step], policies: Mapping[str, FieldPolicy], *, twice: bool
) -> Told:
    clock = StepClock()
    server = MemoryStore(clock=clock)
    first = Side("base", server)
    for step in base:
        await first.do(step._replace(deletes=False, needs=""))
    known = (await server.scan(SYSTEM, ALL)).records
    outage = Outage(clock, Wakeup(), why="a test", payload_bytes_max=codec.PAYLOAD_BYTES_MAX)
    await outage.begin(known)
    mine, rival = OurSide(outage), Side("theirs", server)
    for number in range(max(len(ours), len(theirs))):
        clock.advance(1)
        if number < len(ours):
            await mine.do(ours[number])
        if number < len(theirs):
            await rival.do(theirs[number])
    keys = [key(name) for name in NAMES]
    before = await server.read(SYSTEM, keys)
    merger = Merger(server, Known(), Landings(), lambda _: policies)
    became: Counter[Became] = Counter()
    while (entry := outage.oldest) is not None:
        stands = dict(outage.stands)
        outcome = await merger.land(entry, outage.stands)
        if twice:
            there = await server.read(SYSTEM, keys)
            again = await merger.land(entry, stands)
            assert await server.read(SYSTEM, keys) == there, f"{entry} once more made {again} of {outcome}"
            outage.stands = stands
        became[outcome.became] += 1
        outage.done()
    verification = await server.verify()
    assert verification.is_clean, verification.problems
    rows = {
        sent.change_id: {
            at.id
            for at in sent.keys
            for row in await server.events(SYSTEM, record=at)
            if row.change_id == sent.change_id
        }
        for sent in mine.sent
    }
    return Told(
        server=dict(zip(NAMES, await server.read(SYSTEM, keys), strict=True)),
        before=dict(zip(NAMES, before, strict=True)),
        memory=dict(zip(NAMES, await outage.memory.read(SYSTEM, keys), strict=True)),
        became=became,
        ours=mine,
        theirs=rival,
        kept=await unmerged(server, SYSTEM),
        rows=rows,
        base={each.key.id for each in known},
    )


ALL = Query(kind="run")
MANY = settings(max_examples=100, deadline=None)
HISTORIES = (st.lists(STEPS, max_size=3), st.lists(STEPS, max_size=6), st.lists(STEPS, max_size=4), st.booleans())


def body(record: Record | None) -> Any:
    return None if record is None else codec.decode(record.body)


@MANY
@given(*HISTORIES)
def test_without_policies_others_keep_what_they_wrote_and_ours_is_kept_aside(
    base: list[Step], ours: list[Step], theirs: list[Step], twice: bool
) -> None:
    told = asyncio.run(history(base, ours, theirs, {}, twice=twice))
    deleted = {each.key.id for sent in told.ours.sent for each in sent.writes if isinstance(each, Delete)}
    written_by_others = {at.id for sent in told.theirs.sent for at in sent.keys}
    for name in written_by_others:
        if told.before[name] is None and (name not in told.base or name in deleted):
            continue  # it came and went behind our back, or went on both sides
        assert body(told.server[name]) == body(told.before[name]), f"{name}: theirs is lost"
    values = [each.value for each in told.kept]
    for sent in told.ours.sent:
        assert told.rows[sent.change_id] in (set(), {at.id for at in sent.keys}), "a change went in by halves"
        for write in sent.writes:
            is_in = bool(told.rows[sent.change_id])
            assert is_in or not isinstance(write, Put) or codec.decode(write.body) in values, "it is nowhere"
    assert told.became[Became.MERGED] == 0


@MANY
@given(*HISTORIES)
def test_what_others_left_alone_is_there_as_it_was_here(
    base: list[Step], ours: list[Step], theirs: list[Step], twice: bool
) -> None:
    told = asyncio.run(history(base, ours, [], {}, twice=twice))
    for name in NAMES:
        there, here = told.server[name], told.memory[name]
        assert (there is None) == (here is None)
        if there is not None and here is not None:
            assert is_same(document(there), document(here))
            assert (there.owner, there.epoch) == (here.owner, here.epoch)
    assert set(told.became) <= {Became.LANDED}


@MANY
@given(*HISTORIES, st.sampled_from([{}, {"/body": FieldPolicy.MERGE}, {"/body": FieldPolicy.LAST_WRITER}]))
def test_no_version_or_epoch_of_the_outage_is_taken_for_one_of_the_servers(
    base: list[Step], ours: list[Step], theirs: list[Step], twice: bool, policies: Mapping[str, FieldPolicy]
) -> None:
    told = asyncio.run(history(base, ours, theirs, policies, twice=twice))
    for name in NAMES:
        there, here, at = told.server[name], told.memory[name], key(name)
        if there is None or here is None or is_same(document(there), document(here)):
            continue
        assert there.version not in told.ours.versions.get(at, set()), f"{name}: v{there.version} is another one's"
        if there.owner != "ours":
            assert there.epoch not in told.ours.epochs.get(at, set())


@MANY
@given(*HISTORIES)
def test_with_policies_both_sides_changes_are_there(
    base: list[Step], ours: list[Step], theirs: list[Step], twice: bool
) -> None:
    """Of records that nobody claimed or deleted each field has a value that somebody gave it last."""
    plain = [[step._replace(deletes=False, needs="", claims="") for step in steps] for steps in (base, ours, theirs)]
    told = asyncio.run(history(*plain, {"/body/*": FieldPolicy.LAST_WRITER}, twice=twice))
    assert told.became[Became.KEPT] == 0
    for name in NAMES:
        there, left, mine = (body(side[name]) or {} for side in (told.server, told.before, told.memory))
        for field in FIELDS:
            assert there.get(field) in (left.get(field), mine.get(field))
        assert there.keys() == left.keys() | mine.keys()


BODIES = st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 3), max_size=2)
POLICIES = st.dictionaries(st.sampled_from(["/body", "/body/x", "/body/y"]), st.sampled_from(list(FieldPolicy)))


def record(value: dict[str, int] | None, *, version: int, by: str) -> Record | None:
    return None if value is None else Record(
        key=key("a"), version=version, body=codec.encode(value), change_id=by, written_at=float(version)
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.none() | BODIES, BODIES, st.none() | BODIES, POLICIES)
def test_a_write_is_what_the_merge_of_its_record_says(
    base: dict[str, int] | None, ours: dict[str, int], theirs: dict[str, int] | None, policies: dict[str, FieldPolicy]
) -> None:
    """The rule alone: what `merge` makes of the three, or nothing at all."""
    known, mine, there = (
        record(base, version=1, by="b"),
        record(ours, version=2, by="o"),
        record(theirs, version=3, by="t"),
    )
    sent = change(put("a", expect=0 if base is None else 1, body=codec.encode(ours)), change_id="o")
    entry = Written(scope=ANA, change=sent, before={key("a"): known}, after={key("a"): mine}, at=2.0)
    verdict = fit(entry, {key("a"): Found(there)}, {}, lambda _: policies)
    if base is None and there is None:
        assert isinstance(verdict, Fit)
        assert verdict.change.writes[0].expect == 0
        return
    if there is None:
        assert isinstance(verdict, Kept), "who deleted it may have had a reason"
        return
    rules = {"": FieldPolicy.RETRY} | policies
    merged = merge(
        document(known), document(mine), document(there), policies=rules, stamps=(Stamp(2, "o"), Stamp(3, "t"))
    )
    assert isinstance(verdict, Fit) == merged.is_clean
    if isinstance(verdict, Fit):
        (write,) = verdict.change.writes
        assert isinstance(write, Put)
        assert write.expect == 3, "on the condition that it is still so"
        assert codec.decode(write.body) == merged.value["body"]


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 3), st.integers(0, 3))
def test_stepping_aside_gets_past_what_was_given_out(version: int, reached: int, epoch: int, given_out: int) -> None:
    there = Record(key=key("a"), version=version, epoch=epoch, body=b"1", owner="they")
    aside = step_aside(there, reached)
    assert version + (aside.folded if aside else 0) > reached
    assert (aside is None) == (version > reached)
    more = raised(there, given_out)
    assert (more is None) == (epoch > given_out)
    for write in (aside, more):
        assert write is None or (write.body, write.owner, write.expect, write.epoch) == (b"1", None, version, epoch)


def test_a_mark_tells_a_claim_and_a_write_apart() -> None:
    one = Record(key=key("a"), version=1, epoch=1, body=b"1", change_id="x")
    assert mark_of(None) is None
    others = [
        Record(key=key("a"), version=v, epoch=e, body=b"1", change_id=c)
        for v, e, c in [(2, 1, "x"), (1, 2, "x"), (1, 1, "y")]
    ]
    assert mark_of(one) not in [mark_of(other) for other in others]
    assert Standing(mark_of(one), True) != Standing(mark_of(one), False)


async def test_a_change_that_cannot_be_kept_whole_in_one_is_kept_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.store.fallback import merging

    monkeypatch.setattr(merging, "ROWS_MAX", 3)
    told = await history(
        [Step(("a",), "x"), Step(("b",), "x")], [Step(("a", "b"), "x")], [Step(("a",), "x")], {}, twice=True
    )
    assert sorted(each.key.id for each in told.kept) == ["a", "b"]
    assert told.became == {Became.KEPT: 1}


def test_known_is_bounded_and_forgets_by_prefix() -> None:
    known = Known(records_max=3, bytes_max=10)
    for number in range(5):
        known.keep(Record(key=key(f"m/{number}"), version=1, body=b"1"))
    assert [each.key.id for each in known.records()] == ["m/2", "m/3", "m/4"]
    known.keep(Record(key=key("big"), version=1, body=b"x" * 9))
    assert [each.key.id for each in known.records()] == ["m/4", "big"]
    sent = Change(change_id="c", removes=(removal("m/", kind="run"),))
    known.committed(sent, Commit(change_id="c", at=1.0, versions=()))
    assert [each.key.id for each in known.records()] == ["big"]
    known.forget(key("big"))
    known.forget(key("big"))
    assert len(known) == 0
