"""The contract is tested, too: a store with a bug planted in it fails the test that is there for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from holdfast.errors import Conflict, HoldfastError
from holdfast.store.contract.records import (
    ABSENT,
    Change,
    Claim,
    Commit,
    Delete,
    Event,
    Key,
    Page,
    Put,
    Query,
    Record,
    Scope,
)
from holdfast.store.decisions.rules import TIME_S_MAX
from holdfast.store.memory import MemoryStore
from holdfast.testing.conformance import StoreContract
from holdfast.testing.conformance.samples import BOB


class ReadsAcrossUsers(MemoryStore):
    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return await super().read(Scope.system(), keys)


class ScansAcrossUsers(MemoryStore):
    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        return await super().scan(Scope.system(), query, after=after, limit=limit)


class WritesAcrossUsers(MemoryStore):
    async def commit(self, scope: Scope, change: Change) -> Commit:
        return await super().commit(Scope.system(), change)


class Rewriting(MemoryStore):
    """Changes what it is asked to write."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return write

    async def commit(self, scope: Scope, change: Change) -> Commit:
        writes = tuple(self.rewritten(write) for write in change.writes)
        return await super().commit(scope, msgspec.structs.replace(change, writes=writes))


class IgnoresVersions(Rewriting):
    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return msgspec.structs.replace(write, expect=None if write.expect != ABSENT else ABSENT)


class IgnoresEpochs(Rewriting):
    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return msgspec.structs.replace(write, epoch=None)


class RoundsDues(Rewriting):
    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if isinstance(write, Put) and write.due is not None and abs(write.due) < TIME_S_MAX:
            return msgspec.structs.replace(write, due=float(round(write.due)))
        return write


class ForgetsTheDeleted(MemoryStore):
    async def commit(self, scope: Scope, change: Change) -> Commit:
        answer = await super().commit(scope, change)
        for write in change.writes:
            if isinstance(write, Delete):
                self._contents._remove(write.key[:3], write.key.id)
        return answer


class IgnoresRequires(MemoryStore):
    async def commit(self, scope: Scope, change: Change) -> Commit:
        return await super().commit(scope, msgspec.structs.replace(change, requires=()))


class CommitsByHalves(MemoryStore):
    async def commit(self, scope: Scope, change: Change) -> Commit:
        try:
            return await super().commit(scope, change)
        except Conflict:
            await super().commit(scope, msgspec.structs.replace(change, writes=change.writes[:1], events=()))
            raise


class ClaimsTwice(MemoryStore):
    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        found = (await self.scan(scope, Query(kind=claim.kind), limit=claim.limit)).records
        await super().claim(scope, claim)
        return [msgspec.structs.replace(record, owner=claim.owner) for record in found]


class LosesTheLastEvent(MemoryStore):
    async def events(self, scope: Scope, **asked: Any) -> list[Event]:
        return (await super().events(scope, **asked))[:-1]


class Unhearing(MemoryStore):
    async def wait(self, since: int) -> int:
        return since


class StopsWithItsCaller(MemoryStore):
    async def commit(self, scope: Scope, change: Change) -> Commit:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await super().commit(scope, change)


contract = StoreContract()
Claimed = Callable[[Any], Awaitable[None]]


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (ReadsAcrossUsers, lambda store: contract.test_another_users_records_do_not_exist(store, BOB)),
        (ScansAcrossUsers, lambda store: contract.test_another_users_records_do_not_exist(store, BOB)),
        (WritesAcrossUsers, contract.test_refusal_is_the_same_whether_the_other_has_it_or_not),
        (IgnoresVersions, contract.test_stale_version_is_a_conflict_that_names_both),
        (IgnoresEpochs, contract.test_old_epoch_is_fenced),
        (RoundsDues, contract.test_due_is_kept_to_the_microsecond),
        (ForgetsTheDeleted, contract.test_deleted_record_refuses_its_version_and_goes_on_counting),
        (ForgetsTheDeleted, contract.test_epoch_survives_a_delete),
        (IgnoresRequires, contract.test_require_is_checked_and_not_written),
        (CommitsByHalves, contract.test_all_or_nothing),
        (ClaimsTwice, contract.test_claims_that_race_share_nothing),
        (LosesTheLastEvent, contract.test_stream_numbers_have_no_gaps),
        (Unhearing, contract.test_first_wait_returns_at_once),
        (StopsWithItsCaller, contract.test_cancelled_caller_does_not_cancel_the_change),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_planted_bug_is_found(broken: type[MemoryStore], test: Claimed) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, HoldfastError)):
        await test(broken())
    await test(MemoryStore())
