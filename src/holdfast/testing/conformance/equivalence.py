"""Contract: random commands get the same answers as from the memory store, which is the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.store.contract.records import (
    Change,
    Claim,
    Delete,
    Key,
    NewEvent,
    Put,
    Query,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.memory import MemoryStore
from holdfast.testing.conformance.samples import AdminStore, OpenStore, StepClock

IDS = ("a", "a/1", "a/2", "b", "ü")
KINDS = ("run", "memo")
STATUSES = ("", "open", "done")
OWNERS = ("", "me", "you")
QUEUES = ("", "q")
LABELS: tuple[dict[str, str], ...] = ({}, {"x": "1"}, {"x": "2", "y": "1"})

keys = st.builds(
    Key, st.just("acme"), st.sampled_from(["ana", "bob", ""]), st.sampled_from(KINDS), st.sampled_from(IDS)
)
scopes = st.sampled_from([Scope.system(), Scope.of_tenant("acme"), Scope.of_user("acme", "ana")])
dues = st.none() | st.sampled_from([1.0, 2.5, 3.0])
versions = st.none() | st.integers(0, 4)
epochs = st.none() | st.none() | st.integers(0, 2)

puts = st.builds(
    Put,
    key=keys,
    body=st.sampled_from([b"{}", b'{"n":1}', b'[1,"x"]']),
    expect=versions,
    epoch=epochs,
    status=st.sampled_from(STATUSES),
    due=dues,
    queue=st.sampled_from(QUEUES),
    labels=st.sampled_from(LABELS),
    owner=st.none() | st.sampled_from(OWNERS),
    raise_epoch=st.booleans(),
    folded=st.sampled_from([1, 1, 1, 2]),
)
deletes = st.builds(Delete, key=keys, expect=versions, epoch=epochs)
requires = st.builds(Require, key=keys, version=versions, epoch=epochs)
removals = st.builds(
    RemovePrefix,
    tenant=st.just("acme"),
    user=st.sampled_from(["ana", "bob"]),
    kind=st.sampled_from(KINDS),
    prefix=st.sampled_from(["a/", "b"]),
)
events = st.builds(NewEvent, key=keys, name=st.sampled_from(["transition", "note"]), body=st.just(b"{}"))
changes = st.builds(
    Change,
    change_id=st.uuids().map(str),
    writes=st.lists(puts | puts | deletes, max_size=3).map(tuple),
    requires=st.lists(requires, max_size=1).map(tuple),
    removes=st.lists(removals, max_size=1).map(tuple),
    events=st.lists(events, max_size=2).map(tuple),
)
queries = st.builds(
    Query,
    kind=st.sampled_from(KINDS),
    prefix=st.sampled_from(["", "a", "a/"]),
    statuses=st.lists(st.sampled_from(STATUSES), max_size=2, unique=True).map(tuple),
    queues=st.lists(st.sampled_from(QUEUES), max_size=2, unique=True).map(tuple),
    owner=st.none() | st.sampled_from(OWNERS),
    due_until=dues,
    labels=st.sampled_from(LABELS),
    by_due=st.booleans(),
)
claims = st.builds(
    Claim,
    kind=st.sampled_from(KINDS),
    owner=st.sampled_from(["me", "you"]),
    from_owners=st.lists(st.sampled_from(OWNERS), min_size=1, max_size=2, unique=True).map(tuple),
    statuses=st.lists(st.sampled_from(STATUSES), max_size=2, unique=True).map(tuple),
    queues=st.lists(st.sampled_from(QUEUES), max_size=1).map(tuple),
    due_until=dues,
    ids=st.lists(st.sampled_from(IDS), max_size=2, unique=True).map(tuple),
    limit=st.integers(1, 3),
)
commands = st.one_of(
    st.tuples(st.just("commit"), scopes, st.lists(changes, min_size=1, max_size=6)),
    st.tuples(st.just("commit"), scopes, st.lists(changes, min_size=1, max_size=6)),
    st.tuples(st.just("scan"), scopes, queries),
    st.tuples(st.just("claim"), scopes, claims),
    st.tuples(st.just("events"), scopes, keys),
    st.tuples(st.just("read"), scopes, st.lists(keys, max_size=6)),
    st.tuples(st.just("trim"), st.integers(1, 3), st.none()),
)


async def answer(store: AdminStore, command: Sequence[Any]) -> Any:
    """What the store answers to a command, with errors as values. The changes of a commit come all at once."""
    match command:
        case ["commit", scope, its_changes]:
            results = await asyncio.gather(*(store.commit(scope, each) for each in its_changes), return_exceptions=True)
            return [_comparable(result) for result in results]
        case ["scan", scope, query]:
            first = await store.scan(scope, query, limit=2)
            rest = await store.scan(scope, query, after=first.next, limit=100) if first.next else None
            return first, rest
        case ["read", scope, its_keys]:
            return await store.read(scope, its_keys)
        case ["claim", scope, claim]:
            return await store.claim(scope, claim)
        case ["events", scope, key]:
            return await store.events(scope, record=key), await store.events(scope, stream=(key.tenant, key.user))
        case ["trim", keep, _]:
            return await store.trim(before_s=store.now_s() - 2, keep_per_record=keep)
    raise AssertionError(f"no such command: {command}")


def _comparable(result: Any) -> Any:
    if isinstance(result, HoldfastError):
        return type(result).__name__, result.message, result.facts
    if isinstance(result, BaseException):
        raise result
    return result


class EquivalenceContract:
    # Several classes derive from this one, each with a store of its own: that is what it is for.
    @settings(
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(script=st.lists(commands, min_size=1, max_size=12))
    def test_random_commands_get_the_models_answers(self, fresh_store: OpenStore, script: list[Any]) -> None:
        """`fresh_store` opens a new, empty store each time it is called."""
        asyncio.run(self._compare(fresh_store, script))

    async def _compare(self, fresh_store: OpenStore, script: list[Any]) -> None:
        clock = StepClock()
        model, store = MemoryStore(clock=clock), fresh_store(clock)
        try:
            for command in script:
                clock.advance(1)
                assert await answer(store, command) == await answer(model, command)
            found = await store.verify()
            assert found.is_clean, found.problems
            assert found == await model.verify()
        finally:
            await store.close()
