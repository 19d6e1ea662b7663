"""The one store behind all nodes, with the checkers looking on: each commit is judged as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.chart import Chart
from holdfast.errors import HoldfastError
from holdfast.store.contract.records import (
    Capabilities,
    Change,
    Claim,
    Commit,
    Event,
    Key,
    NewEvent,
    Page,
    Position,
    Query,
    Record,
    Scope,
)
from holdfast.store.memory import MemoryStore
from holdfast.testing.simulation.checks import (
    Checker,
    Folds,
    Owners,
    Relatives,
    Seen,
    Standstills,
    Streams,
    Tokens,
    Transitions,
    Versions,
    outside,
)
from holdfast.testing.simulation.sharing import Counts, Purses
from holdfast.workflow.model.run import RUN, Run

Answer = Commit | tuple[Record, ...] | str
"""What came of a write: of a refusal its kind."""


class Call(NamedTuple):
    """One call that wrote: when (epoch seconds), what was asked, and what came of it."""

    at: float
    scope: Scope
    asked: Change | Claim
    answer: Answer


class Referee:
    """`inner`, shared by many processes, watched. `problems` are what the checkers found, in words, in order."""

    def __init__(self, inner: MemoryStore, chart_of: Callable[[Run], Chart]) -> None:
        self.inner = inner
        self.problems: list[str] = []
        self.calls: list[Call] = []
        self.on_claimed: Callable[[str, str], None] = lambda owner, before: None
        """Hears of each run that a process claims, and from whom: "" where nobody had it."""
        self._tokens, self._owners, self._streams = Tokens(), Owners(), Streams()
        self._checkers: tuple[Checker, ...] = (
            Versions(),
            Folds(),
            Transitions(chart_of),
            Standstills(),
            self._tokens,
            self._owners,
            Relatives(),
            self._streams,
            Counts(),
            Purses(),
        )

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, durable=True, many_processes=True)

    def now_s(self) -> float:
        return self.inner.now_s()

    def ailment(self) -> str | None:
        return self.inner.ailment()

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        found = await self.inner.read(scope, keys)
        self.problems += outside(scope, (record.key for record in found if record is not None))
        return found

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        page = await self.inner.scan(scope, query, after=after, limit=limit)
        self.problems += outside(scope, (record.key for record in page.records))
        return page

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: tuple[str, str] | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        found = await self.inner.events(
            scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
        )
        self.problems += outside(scope, (event.key for event in found))
        return found

    async def commit(self, scope: Scope, change: Change) -> Commit:
        at = self.now_s()
        try:
            answer = await self.inner.commit(scope, change)
        except HoldfastError as error:
            self.calls.append(Call(at, scope, change, type(error).__name__))
            raise
        self.calls.append(Call(at, scope, change, answer))
        await self._judge(change, change.keys)
        return answer

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        at = self.now_s()
        try:
            taken = await self.inner.claim(scope, claim)
        except HoldfastError as error:
            self.calls.append(Call(at, scope, claim, type(error).__name__))
            raise
        self.calls.append(Call(at, scope, claim, tuple(taken)))
        self.problems += outside(scope, (record.key for record in taken))
        for record in taken:
            if record.key.kind == RUN:
                before = "" if "" in claim.from_owners else self._owners.owner_of(record.key)
                self.problems += self._tokens.look(record)
                self._owners.look(record)
                if record.owner not in ("", before):
                    self.on_claimed(record.owner, before)
        return taken

    async def wait(self, since: int) -> int:
        return await self.inner.wait(since)

    async def close(self) -> None:
        """The nodes come and go; whoever made the store closes it."""

    async def repair(self) -> None:
        """Repair the store, and judge what that wrote as everything else."""
        await self.inner.repair()
        events = [event for stream in self._streams.known() for event in await self._news(stream)]
        told = tuple(NewEvent(key=event.key, name=event.name, body=event.body) for event in events)
        await self._judge(Change(change_id="repair", events=told), tuple({event.key: None for event in events}))

    async def _judge(self, change: Change, keys: tuple[Key, ...]) -> None:
        records = dict(zip(keys, await self.inner.read(Scope.system(), keys), strict=True))
        streams = dict.fromkeys((event.key.tenant, event.key.user) for event in change.events)
        events = [event for stream in streams for event in await self._news(stream)]
        seen = Seen(change, records, tuple(events))
        for checker in self._checkers:
            self.problems += checker.see(seen)

    async def _news(self, stream: tuple[str, str]) -> list[Event]:
        after = Position(1, self._streams.last(stream))
        return await self.inner.events(Scope.system(), stream=stream, after=after)

    def __repr__(self) -> str:
        return f"Referee({self.inner!r}, problems={len(self.problems)})"
