"""What the contract's tests are written with: users, keys, changes, a clock that stands still."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import pytest

from holdfast import codec
from holdfast.clock import Clock
from holdfast.store.contract.protocol import Store, StoreAdmin
from holdfast.store.contract.records import (
    ABSENT,
    Change,
    Delete,
    Key,
    NewEvent,
    Put,
    Record,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.rows import journal

ANA = Scope.of_user("acme", "ana")
BOB = Scope.of_user("acme", "bob")
STRANGER = Scope.of_user("other", "ana")
TENANT = Scope.of_tenant("acme")
SYSTEM = Scope.system()


class AdminStore(Store, StoreAdmin, Protocol):
    """A store that operators can work on."""


class OpenStore(Protocol):
    """Opens a store on this test's own place."""

    def __call__(self, clock: Clock | None = None) -> AdminStore: ...


class StepClock:
    """A clock that stands still unless told to go on."""

    def __init__(self, time_s: float = 1_700_000_000.25) -> None:
        self._time_s = time_s

    def time_s(self) -> float:
        return self._time_s

    def advance(self, seconds: float) -> None:
        self._time_s += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


_numbers = itertools.count(1)


def key(id_: str, *, user: str = "ana", kind: str = "run", tenant: str = "acme") -> Key:
    """A key of Ana's unless said otherwise."""
    return Key(tenant, user, kind, id_)


def put(at: Key | str, *, expect: int | None = ABSENT, body: bytes = b"{}", **fields: Any) -> Put:
    """A write of a small record that is not there yet."""
    return Put(key=at if isinstance(at, Key) else key(at), body=body, expect=expect, **fields)


def delete(at: Key | str, *, expect: int | None = None, epoch: int | None = None) -> Delete:
    return Delete(key=at if isinstance(at, Key) else key(at), expect=expect, epoch=epoch)


def event(at: Key | str, *, name: str = "transition", body: bytes = b"{}", delta: bytes = b"") -> NewEvent:
    return NewEvent(key=at if isinstance(at, Key) else key(at), name=name, body=body, delta=delta)


def change(
    *parts: Put | Delete | Require | RemovePrefix | NewEvent,
    change_id: str = "",
) -> Change:
    """One change of all the parts, with an id of its own."""
    return Change(
        change_id=change_id or f"change-{next(_numbers)}",
        writes=tuple(part for part in parts if isinstance(part, Put | Delete)),
        requires=tuple(part for part in parts if isinstance(part, Require)),
        removes=tuple(part for part in parts if isinstance(part, RemovePrefix)),
        events=tuple(part for part in parts if isinstance(part, NewEvent)),
    )


def removal(prefix: str, *, user: str = "ana", kind: str = "memo", tenant: str = "acme") -> RemovePrefix:
    return RemovePrefix(tenant=tenant, user=user, kind=kind, prefix=prefix)


async def read_one(store: Store, at: Key | str, scope: Scope = SYSTEM) -> Record | None:
    """The record under one key."""
    (record,) = await store.read(scope, [at if isinstance(at, Key) else key(at)])
    return record


async def must_read(store: Store, at: Key | str, scope: Scope = SYSTEM) -> Record:
    """The record under one key, which must be there."""
    record = await read_one(store, at, scope)
    assert record is not None, f"expected a record at {at}, found none"
    return record


def ids(records: Mapping[str, Record] | tuple[Record, ...] | list[Record]) -> list[str]:
    """The ids of records, in their order."""
    return [record.key.id for record in records if isinstance(record, Record)]


async def write_history(store: Store, bodies: list[Any], id_: str = "a", *, every: int = 20) -> None:
    """Transitions of one record through `bodies`, with deltas."""
    before = None
    for version, body in enumerate(bodies, 1):
        delta = journal.delta(before, body, version, every=every)
        sent = put(id_, expect=version - 1, body=codec.encode(body))
        await store.commit(ANA, change(sent, event(id_, delta=delta)))
        before = body


BODIES = [{"n": number, "list": list(range(number % 5)), "text": "x" * 300} for number in range(30)]


@contextlib.asynccontextmanager
async def closing(store: AdminStore) -> AsyncIterator[AdminStore]:
    """`store`, closed at the end."""
    try:
        yield store
    finally:
        await store.close()


class Contract:
    """What every part of the contract has: a fresh `store`, made by the fixture `open_store`."""

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[AdminStore]:
        async with closing(open_store()) as store:
            yield store
