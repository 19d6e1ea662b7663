"""Limits as records of their tenant: a ledger for each, a waiter for each that stands in line, and where in line a user
was put last.

Waiters are records of their own, ordered by their `due`, which is a place in line and no moment: ten thousand of them
make no write larger. Each comes and goes in a change that writes the ledger too, so none is overlooked by a grant.
"""

from __future__ import annotations

import math

import msgspec

from holdfast import codec
from holdfast.limits.rules import Ledger, Limit, next_at
from holdfast.store.contract.records import ABSENT, SHARED, Key, Put, Record, RemovePrefix
from holdfast.store.wrapping.seal import check_opened

LIMIT = "limit"
WAITER = "limit-waiter"
LAST = "limit-last"
QUEUED, HELD, FREE = "queued", "held", "free"
_PER_S = 1_000_000
_ledger_decoder = msgspec.json.Decoder(Ledger)


class LimitWaiter(msgspec.Struct, frozen=True):
    """Who stands in line: a visit of a run, since when, and under which priority."""

    run: str
    holder: str
    since: float
    priority: str = ""


_waiter_decoder = msgspec.json.Decoder(LimitWaiter)


def ledger_key(tenant: str, slot: str) -> Key:
    """The key of a ledger: of the tenant, so that all its users meet at it."""
    return Key(tenant, SHARED, LIMIT, slot)


def last_key(tenant: str, user: str, slot: str, priority: str) -> Key:
    """The key of where in line the user's runs of that priority were put last."""
    return Key(tenant, user, LAST, f"{slot}\n{priority}")


def line_prefix(slot: str) -> str:
    """What the ids of all who wait in line for a slot start with."""
    return f"{slot}\n"


def waiter_id(slot: str, run_id: str, place: float) -> str:
    """The id of one who waits; ended, so that none is the beginning of another."""
    return f"{line_prefix(slot)}{round(place * _PER_S)}/{run_id}\n"


def waiter_key(tenant: str, user: str, waiter: str) -> Key:
    """The key of one who waits."""
    return Key(tenant, user, WAITER, waiter)


def slot_of(waiter: str) -> str:
    """The slot for which a waiter of that id stands in line."""
    return waiter.partition("\n")[0]


def place_of(waiter: str) -> float:
    """Where in line a waiter of that id stands."""
    return int(waiter.partition("\n")[2].partition("/")[0]) / _PER_S


def decode_ledger(slot: str, record: Record | None) -> Ledger:
    """The stored ledger of a slot, or one in which nothing is taken. Raises CannotOpen where it is sealed."""
    if record is None:
        return Ledger(slot)
    check_opened(record.body, f"limit {slot}")
    return _ledger_decoder.decode(record.body)


def decode_waiter(record: Record) -> LimitWaiter:
    """Who waits, in a stored record."""
    return _waiter_decoder.decode(record.body)


def ledger_put(key: Key, limit: Limit | None, ledger: Ledger, record: Record | None, *, now: float) -> Put:
    """The write of a ledger. It is due when somebody in line may go on without anybody's giving back."""
    due = now if limit is None else next_at(limit, ledger, now=now)  # who knows the limit may look
    return Put(
        key=key,
        body=codec.encode(ledger, what=f"limit {ledger.slot}"),
        expect=ABSENT if record is None else record.version,
        status=QUEUED if ledger.waiting else HELD if ledger.places else FREE,
        due=None if due is None or not ledger.waiting else math.ceil(due * _PER_S) / _PER_S,
        labels={"limit": ledger.slot.partition("/")[0]},
    )


def waiter_put(key: Key, waiter: LimitWaiter, queue: str, place: float) -> Put:
    """The write by which one stands in line."""
    return Put(
        key=key, body=codec.encode(waiter), expect=None, status=QUEUED, due=place, queue=queue,
        labels={"run": waiter.run},
    )  # fmt: skip


def waiter_removal(tenant: str, user: str, waiter: str) -> RemovePrefix:
    """The write by which one leaves the line, and nothing stays of him."""
    return RemovePrefix(tenant=tenant, user=user, kind=WAITER, prefix=waiter)
