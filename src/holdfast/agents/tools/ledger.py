"""The row of each call: written before the tool runs, and again when it is over. Records of the user, with events.

A call that has a key is one record, however often it is made; one without a key is a record of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast import codec
from holdfast.agents.tools.rules import GRACE_S, Earlier, Outcome
from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, Fenced
from holdfast.ids import uuid7
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import ABSENT, Change, Key, NewEvent, Put, Query, Record, RemovePrefix, Scope

KIND = "tool-call"


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call on record. Times are epoch seconds on the store's clock; `took_s` is 0 until it ended.

    `arguments` are those that the tool does not hide, long texts cut; `digest` is of all of them. `attempts` counts how
    often it was run under its key. `output` is there only for a call with a key, to be given again.
    """

    id: str
    tool: str
    outcome: Outcome
    digest: str = ""
    arguments: Mapping[str, Any] = {}
    key: str = ""
    run: str = ""
    request: str = ""
    thread: str = ""
    trace: str = ""
    attempts: int = 1
    at: float = 0.0
    over_at: float = 0.0
    took_s: float = 0.0
    error: str = ""
    output: msgspec.Raw = msgspec.Raw(b"null")


class RowChanged(Exception):
    """Another call with the same key wrote its row meanwhile: look at it."""


class Ticket(msgspec.Struct, frozen=True):
    """A call that was begun, and the version of its record that its end will replace."""

    call: ToolCall
    version: int


class Ledger:
    """The rows of one store."""

    def __init__(self, store: Store, clock: Clock, randomness: Randomness) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness

    @property
    def now_s(self) -> float:
        """The store's time, epoch seconds."""
        return self._store.now_s()

    async def earlier(self, context: UserExecutionContext, tool: str, key: str) -> tuple[ToolCall, int] | None:
        """The call that was made with this key, and the version of its record."""
        record = (await self._store.read(_scope(context), [_key(context, keyed(tool, key))]))[0]
        return None if record is None else (_call(record), record.version)

    async def begin(
        self,
        context: UserExecutionContext,
        call: ToolCall,
        earlier: tuple[ToolCall, int] | None = None,
    ) -> Ticket:
        """Write that `call` begins. Raises RowChanged where another one with its key was faster."""
        try:
            return Ticket(call, await self._write(context, call, ABSENT if earlier is None else earlier[1]))
        except Conflict as error:
            raise RowChanged from error

    async def end(self, context: UserExecutionContext, ticket: Ticket, ended: ToolCall) -> None:
        """Write how it ended. Raises Fenced where it came too late: another run of the same key has begun."""
        try:
            await self._write(context, ended, ticket.version)
        except Conflict as error:
            raise Fenced(
                f"tool {ended.tool}: expected to be the only run of key {ended.key!r}, saw a later one: this one was "
                "taken for dead; what it gives is refused",
                tool=ended.tool,
            ) from error

    async def refuse(self, context: UserExecutionContext, call: ToolCall) -> None:
        """Write that a call was refused."""
        await self._write(context, call, ABSENT)

    async def calls(
        self, context: UserExecutionContext, *, run: str = "", after: str | None = None, limit: int = 100
    ) -> tuple[Sequence[ToolCall], str | None]:
        """A page of the user's calls, of one `run` or of all, and where the next begins."""
        query = Query(kind=KIND, labels={"run": run} if run else {})
        page = await self._store.scan(_scope(context), query, after=after, limit=limit)
        return [_call(record) for record in page.records if record.key.user == context.user], page.next

    async def forget(self, context: UserExecutionContext, ids: Sequence[str]) -> None:
        """Remove these rows; their events stay until the journal is trimmed."""
        removes = tuple(RemovePrefix(tenant=context.tenant, user=context.user, kind=KIND, prefix=each) for each in ids)
        await self._store.commit(_scope(context), Change(change_id=self._id(), removes=removes))

    def new_id(self, tool: str, key: str) -> str:
        """The id of a call's record: drawn, or found by its key again."""
        return keyed(tool, key) if key else f"call/{self._id()}"

    async def _write(self, context: UserExecutionContext, call: ToolCall, expect: int) -> int:
        key = _key(context, call.id)
        told = {"tool": call.tool, "outcome": call.outcome, "run": call.run, "error": call.error}
        change = Change(
            change_id=self._id(),
            writes=(
                Put(
                    key=key,
                    body=codec.encode(call, what=f"row of tool {call.tool}"),
                    expect=expect,
                    status=call.outcome,
                    labels={"tool": call.tool, "run": call.run},
                ),
            ),
            events=(NewEvent(key=key, name=f"tool.{call.outcome}", body=codec.encode(told)),),
        )
        return (await self._store.commit(_scope(context), change)).versions[0]

    def _id(self) -> str:
        return uuid7(self._clock, self._randomness)


def keyed(tool: str, key: str) -> str:
    """The record's id of a call with a key, whatever signs that has."""
    return f"key/{tool}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def as_earlier(call: ToolCall) -> Earlier:
    """What the rules need to know of it."""
    return Earlier(call.outcome, call.digest, call.over_at + GRACE_S)


def _key(context: UserExecutionContext, id: str) -> Key:
    return Key(context.tenant, context.user, KIND, id)


def _scope(context: UserExecutionContext) -> Scope:
    return Scope.of_user(context.tenant, context.user)


def _call(record: Record) -> ToolCall:
    return codec.decode(record.body, ToolCall, what=f"row {record.key.id}")
