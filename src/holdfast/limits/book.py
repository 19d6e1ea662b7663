"""The ledgers that one decision is about, as they were read, with what the decision makes of them: one change, all of
it or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from holdfast import codec
from holdfast.limits import rules
from holdfast.limits.records import (
    LIMIT,
    LimitWaiter,
    decode_ledger,
    last_key,
    ledger_key,
    ledger_put,
    place_of,
    slot_of,
    waiter_id,
    waiter_key,
    waiter_put,
    waiter_removal,
)
from holdfast.limits.rules import Ledger, Limit, Place
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import ABSENT, Key, Put, Record, RemovePrefix, Scope


class PlaceChange(NamedTuple):
    """What a store's change must do to make a decision true, if the ledgers are still as they were read. `queued`: the
    moments at which those who wait may go on."""

    puts: tuple[Put, ...] = ()
    removes: tuple[RemovePrefix, ...] = ()

    @property
    def queued(self) -> tuple[float, ...]:
        return tuple(put.due for put in self.puts if put.key.kind == LIMIT and put.due is not None)


class LimitBook:
    """What one user's decision does to ledgers. `now`: the store's time, at which everything is judged. See `read`."""

    def __init__(
        self, tenant: str, user: str, slots: Mapping[str, Limit | None], records: Mapping[Key, Record | None],
        *, priority: str, now: float,
    ) -> None:  # fmt: skip
        self.now = now
        self._tenant = tenant
        self._user = user
        self._priority = priority
        self._limits = slots
        self._records = records
        self._read = {slot: decode_ledger(slot, records[ledger_key(tenant, slot)]) for slot in slots}
        self._ledgers = dict(self._read)
        self._lasts: dict[str, float] = {}
        self._waiters: list[Put] = []
        self._removes: list[RemovePrefix] = []

    @classmethod
    async def read(
        cls,
        store: Store,
        tenant: str,
        user: str,
        slots: Mapping[str, Limit | None],
        *,
        asked: Iterable[str] = (),
        priority: str = "",
    ) -> LimitBook:
        """The book of these slots, each with its limit, unless nobody here declares it any more; `asked`: those in
        whose lines somebody may come to stand."""
        keys = [ledger_key(tenant, slot) for slot in slots]
        keys += [last_key(tenant, user, slot, priority) for slot in asked]
        records = await store.read(Scope.of_tenant(tenant), keys)
        found = dict(zip(keys, records, strict=True))
        return cls(tenant, user, slots, found, priority=priority, now=store.now_s())

    def ledger(self, slot: str) -> Ledger:
        """How the slot stands, with what was decided so far."""
        return self._ledgers[slot]

    def rule_before(self, slot: str) -> str:
        """The declaration by which the slot was last written."""
        return self._read[slot].rule

    def has_room(self, slot: str, *, waiter: str) -> bool:
        """Whether one may be granted who stands in line as `waiter` ("" if not: he passes nobody)."""
        limit, ledger = self._limits[slot], self._ledgers[slot]
        assert limit is not None, f"{slot}: read without its limit"
        return bool(waiter or not ledger.waiting) and rules.room(limit, ledger, now=self.now) > 0

    def next_at(self, slot: str) -> float | None:
        """When there may be room next; None where somebody must give back first."""
        limit = self._limits[slot]
        assert limit is not None, f"{slot}: read without its limit"
        return rules.next_at(limit, self._ledgers[slot], now=self.now)

    def take(self, slot: str, holder: str, *, expires_at: float | None = None) -> None:
        """Grant `holder` a place, or a token, of the slot, which has room."""
        limit = self._limits[slot]
        assert limit is not None, f"{slot}: read without its limit"
        place = Place(holder, self._user, self.now, expires_at)
        self._ledgers[slot] = rules.take(limit, self._ledgers[slot], place, now=self.now)

    def renew(self, slot: str, holder: str, expires_at: float) -> bool:
        """Let `holder` keep its place for longer; False where it has none any more."""
        longer = rules.renew(self._ledgers[slot], holder, expires_at, now=self.now)
        self._ledgers[slot] = longer or self._ledgers[slot]
        return longer is not None

    def give_back(self, slot: str, holder: str) -> None:
        """Give back what `holder` has of the slot."""
        self._ledgers[slot] = rules.give_back(self._ledgers[slot], holder)

    def enter_line(
        self, slot: str, run_id: str, holder: str, queue: str, place: Callable[[float | None, float], float]
    ) -> str:
        """Put a run in line, at the place that `place` gives for its user's last one and the front; its waiter's id."""
        limit, ledger = self._limits[slot], self._ledgers[slot]
        assert limit is not None, f"{slot}: read without its limit"
        last = self._lasts.get(slot)
        if last is None and (record := self._records[self._last_key(slot)]) is not None:
            last = codec.decode(record.body)["last"]
        at = self._lasts[slot] = place(last, rules.front(ledger, now=self.now))
        waiter = waiter_id(slot, run_id, at)
        key, who = waiter_key(self._tenant, self._user, waiter), LimitWaiter(run_id, holder, self.now, self._priority)
        self._waiters.append(waiter_put(key, who, queue, at))
        self._ledgers[slot] = rules.enter_line(ledger, limit, now=self.now)
        return waiter

    def leave_line(self, waiter: str, *, is_granted: bool = False) -> None:
        """Take a waiter out of line: he is granted, or wants nothing any more."""
        slot = slot_of(waiter)
        place = place_of(waiter) if is_granted else None
        self._ledgers[slot] = rules.leave_line(self._ledgers[slot], place)
        self._removes.append(waiter_removal(self._tenant, self._user, waiter))

    def change(self) -> PlaceChange:
        """What makes it true; nothing where nothing is different."""
        puts = []
        for slot, ledger in self._ledgers.items():
            if ledger != self._read[slot]:
                key = ledger_key(self._tenant, slot)
                puts.append(ledger_put(key, self._limits[slot], ledger, self._records[key], now=self.now))
        for slot, last in self._lasts.items():
            key, record = self._last_key(slot), self._records[self._last_key(slot)]
            version = ABSENT if record is None else record.version
            puts.append(Put(key=key, body=codec.encode({"last": last}), expect=version))
        return PlaceChange((*puts, *self._waiters), tuple(self._removes))

    def _last_key(self, slot: str) -> Key:
        return last_key(self._tenant, self._user, slot, self._priority)
