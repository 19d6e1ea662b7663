"""Users' quotas in the store, so that they hold over all processes and restarts: one small record for each user.

Calls of one user that ask at the same time are judged together and written in one commit; another process' writes are
seen by the record's version. Where no measure has a bound nothing is written at all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from holdfast import codec
from holdfast.budget import Budget
from holdfast.clock import Clock, Randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import Conflict, HoldfastError, QuotaExceeded, Unavailable
from holdfast.ids import uuid7
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Key, Put, Scope
from holdfast.store.writing.delivery import copy_of
from holdfast.store.writing.outcome import commit_surely
from holdfast.tasks import Supervisor
from holdfast.users.quota import Measure, Refusal, Usage, UserQuota, current, in_words, left, refuse, spend, total
from holdfast.users.rules import UserKey

USAGE = "usage"
ATTEMPTS_MAX = 1000
"""Bound on re-reads of a contended ledger: each lost race means that somebody else moved on."""
KEPT_MAX = 10_000
"""Of how many users the ledger is kept in mind."""


class _Ask:
    """One wish to use something. `is_firm`: it has happened, and is only told."""

    __slots__ = ("amounts", "future", "is_firm")

    def __init__(self, amounts: Mapping[Measure, float], *, is_firm: bool) -> None:
        self.amounts = amounts
        self.is_firm = is_firm
        self.future: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()


class UsageLedger:
    """What users used, under one quota for each, or under that of `quotas[user]`."""

    def __init__(
        self,
        store: Store,
        quota: UserQuota | None,
        *,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        quotas: Mapping[UserKey, UserQuota] | None = None,
    ) -> None:
        self._store = store
        self._quota = quota
        self._quotas = dict(quotas or {})
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._seen: OrderedDict[UserKey, tuple[int, Usage]] = OrderedDict()
        self._asks: dict[UserKey, list[_Ask]] = {}
        self._owed: dict[UserKey, dict[Measure, float]] = {}

    def quota_of(self, context: UserExecutionContext) -> UserQuota | None:
        """What this user may use."""
        return self._quotas.get((context.tenant, context.user), self._quota)

    async def admit(self, context: UserExecutionContext, amounts: Mapping[Measure, float]) -> None:
        """Take so much. Raises QuotaExceeded, with nothing taken."""
        quota = self.quota_of(require_context(context))
        if quota is None or not quota.bounded:
            return
        if (refusal := await self._ask(context, amounts, is_firm=False)) is not None:
            raise QuotaExceeded(
                f"quota of {context.user}: {in_words(refusal, quota)}",
                user=context.user,
                measure=refusal.measure,
                used=refusal.used,
                most=refusal.most,
                retry_after_s=refusal.retry_after_s,
            )

    async def spend(self, context: UserExecutionContext, amounts: Mapping[Measure, float]) -> None:
        """Note what was used, beyond the quota too. Where the store is away it is noted with what comes next."""
        quota = self.quota_of(context)  # also of one that is closed by now
        if quota is not None and any(amounts.get(measure) for measure in quota.bounded):
            await self._ask(context, amounts, is_firm=True)

    def budget(self, context: UserExecutionContext) -> Budget | None:
        """What one call may spend: what is left of the quota's tokens and money, as far as this process knows. None
        where the quota bounds neither."""
        quota = self.quota_of(context)
        if quota is None or (quota.tokens is None and quota.money_usd is None):
            return None
        _, usage = self._seen.get((context.tenant, context.user), (0, Usage()))
        now = self._store.now_s()
        tokens, money_usd = (left(usage, quota, measure, now=now) for measure in ("tokens", "money_usd"))
        return Budget(tokens=None if tokens is None else int(tokens), money_usd=money_usd)

    async def used(self, context: UserExecutionContext) -> dict[Measure, float]:
        """What counts at present, of each measure that has a bound."""
        quota = self.quota_of(require_context(context))
        if quota is None:
            return {}
        _, usage = await self._read((context.tenant, context.user))
        live = current(usage, quota, now=self._store.now_s())
        return {measure: total(live, measure) for measure in quota.bounded}

    def __repr__(self) -> str:
        return f"UsageLedger({len(self._seen)} users)"

    async def _ask(
        self, context: UserExecutionContext, amounts: Mapping[Measure, float], *, is_firm: bool
    ) -> Refusal | None:
        key, ask = (context.tenant, context.user), _Ask(amounts, is_firm=is_firm)
        waiting = self._asks.get(key)
        if waiting is not None:
            waiting.append(ask)
        else:
            self._asks[key] = [ask]
            self._tasks.start(self._serve(key, self.quota_of(context)), name="usage")
        return await ask.future

    async def _serve(self, key: UserKey, quota: UserQuota | None) -> None:
        """Answer all who ask for this user, batch after batch, until nobody does."""
        assert quota is not None
        batch: list[_Ask] = []
        try:
            while batch := self._asks[key]:
                self._asks[key] = []
                if (owed := self._owed.pop(key, None)) is not None:
                    batch.insert(0, _Ask(owed, is_firm=True))
                try:
                    answers = await self._written(key, quota, batch)
                except HoldfastError as error:
                    self._fail(key, batch, error)
                    continue
                for ask, answer in zip(batch, answers, strict=True):
                    if not ask.future.done():
                        ask.future.set_result(answer)
        finally:
            rest = [*batch, *self._asks.pop(key)]
            self._fail(key, rest, Unavailable(f"quota of {key[1]}: the ledger was closed while it was asked"))

    def _fail(self, key: UserKey, asks: list[_Ask], error: HoldfastError) -> None:
        """Tell those who asked. What has happened is not lost: it goes with what is asked next."""
        for ask in asks:
            if ask.future.done():
                continue
            if ask.is_firm:
                owed = self._owed.setdefault(key, {})
                for measure, amount in ask.amounts.items():
                    owed[measure] = owed.get(measure, 0.0) + amount
                ask.future.set_result(None)
            else:
                ask.future.set_exception(copy_of(error))

    async def _written(self, key: UserKey, quota: UserQuota, batch: list[_Ask]) -> list[Refusal | None]:
        """Decide over `batch` in order, and make it true."""
        version, usage = self._seen.get(key) or await self._read(key)
        for _ in range(ATTEMPTS_MAX):
            now, after, answers = self._store.now_s(), usage, list[Refusal | None]()
            for ask in batch:
                refusal = None if ask.is_firm else refuse(after, quota, ask.amounts, now=now)
                answers.append(refusal)
                if refusal is None:
                    after = spend(after, quota, ask.amounts, now=now)
            if all(answer is not None for answer in answers):
                fresh, now_used = await self._read(key)
                if fresh == version:  # what was kept in mind is true: so is the refusal
                    return answers
                version, usage = fresh, now_used
                continue
            put = Put(key=Key(*key, USAGE, "user"), body=codec.encode(after), expect=version)
            try:
                change = Change(change_id=uuid7(self._clock, self._randomness), writes=(put,))
                commit = await commit_surely(self._store, Scope.of_user(*key), change)
            except Conflict:
                version, usage = await self._read(key)
                continue
            self._keep(key, commit.versions[0], after)
            return answers
        raise Unavailable(f"quota of {key[1]}: lost {ATTEMPTS_MAX} races; try again later")

    async def _read(self, key: UserKey) -> tuple[int, Usage]:
        (record,) = await self._store.read(Scope.of_user(*key), [Key(*key, USAGE, "user")])
        seen = (0, Usage()) if record is None else (record.version, codec.decode(record.body, Usage, what="usage"))
        self._keep(key, *seen)
        return seen

    def _keep(self, key: UserKey, version: int, usage: Usage) -> None:
        self._seen[key] = (version, usage)
        self._seen.move_to_end(key)
        if len(self._seen) > KEPT_MAX:
            self._seen.popitem(last=False)
