"""What one user may use in a window of time, and what he has used of it: pure decisions over one small ledger.

Usage is kept in sixty slots of the window. A slot counts until all of it lies outside, so no window of that length,
wherever it begins, has more than the quota says; what is due back comes back up to a sixtieth of the window late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from holdfast.clock import format_duration
from holdfast.errors import InvalidInput

Measure = Literal["starts", "tokens", "money_usd", "events", "bytes"]
MEASURES: tuple[Measure, ...] = ("starts", "tokens", "money_usd", "events", "bytes")
SLOTS = 60
_SLACK = 1e-9
"""More than sums of floats differ by, relative to the quota."""

IN_WORDS: Mapping[Measure, str] = {
    "starts": "starts",
    "tokens": "tokens",
    "money_usd": "US dollars",
    "events": "events",
    "bytes": "bytes of events",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuota:
    """What each user may use in any `window_s` seconds; None leaves a measure unbounded.

    `starts`: calls of agents begun; `tokens` and `money_usd`: what they spent; `events` and `bytes`: what was published
    for the user, by number and encoded size. Raises InvalidInput.

    Example: `UserQuota(window_s=3600, starts=500, tokens=2_000_000, money_usd=20.0)`.
    """

    window_s: float = 3600.0
    starts: int | None = None
    tokens: int | None = None
    money_usd: float | None = None
    events: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        if not _is_amount(self.window_s) or self.window_s <= 0:
            raise InvalidInput(f"quota: expected a window_s above 0, saw {self.window_s!r}")
        for measure in MEASURES:
            value = self.of(measure)
            if value is not None and not _is_amount(value):
                raise InvalidInput(f"quota: expected {measure} of 0 or more, or None, saw {value!r}")

    def of(self, measure: Measure) -> float | None:
        """How much of `measure`; None without a bound."""
        value: float | None = getattr(self, measure)
        return value

    @property
    def bounded(self) -> tuple[Measure, ...]:
        """The measures that have a bound."""
        return tuple(measure for measure in MEASURES if self.of(measure) is not None)

    @property
    def slot_s(self) -> float:
        return self.window_s / SLOTS


class Usage(msgspec.Struct, frozen=True):
    """What was used: by measure, the amount in each slot that still counts, as (slot, amount), oldest first. `slot_s`:
    how long the slots were when it was written."""

    slot_s: float = 0.0
    used: dict[Measure, tuple[tuple[int, float], ...]] = {}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no more, and when there is: `retry_after_s` None means never, as the wish is above the quota."""

    measure: Measure
    used: float
    most: float
    wanted: float
    retry_after_s: float | None


def current(usage: Usage, quota: UserQuota, *, now: float) -> Usage:
    """`usage` without what no longer counts. Of slots of another length each counts from when it ended."""
    slot_s = quota.slot_s
    kept: dict[Measure, tuple[tuple[int, float], ...]] = {}
    for measure, slots in usage.used.items():
        moved = slots if usage.slot_s in (0.0, slot_s) else _resized(slots, usage.slot_s, slot_s)
        live = tuple(slot for slot in moved if _ends_at(slot[0], slot_s) > now - quota.window_s)
        if live:
            kept[measure] = live
    return Usage(slot_s, kept)


def total(usage: Usage, measure: Measure) -> float:
    """How much of `measure` a current usage holds."""
    return math.fsum(amount for _, amount in usage.used.get(measure, ()))


def refuse(usage: Usage, quota: UserQuota, wanted: Mapping[Measure, float], *, now: float) -> Refusal | None:
    """The first measure that has no room for what is wanted; None where all have. What is used up refuses even who
    wants nothing of it: where the bound was passed by what a call turned out to cost, the next one waits."""
    live = current(usage, quota, now=now)
    for measure in quota.bounded:
        most, want, used = quota.of(measure), wanted.get(measure, 0.0), total(live, measure)
        assert most is not None
        is_full = used + want > most * (1 + _SLACK) if want else used > 0 and used >= most
        if is_full:
            after = _retry_after_s(live.used.get(measure, ()), most, want, quota, now)
            return Refusal(measure=measure, used=used, most=most, wanted=want, retry_after_s=after)
    return None


def spend(usage: Usage, quota: UserQuota, amounts: Mapping[Measure, float], *, now: float) -> Usage:
    """`usage` with so much more, whether there was room or not: it has happened. Unbounded measures are not kept."""
    live = current(usage, quota, now=now)
    used = dict(live.used)
    slot = math.floor(now / quota.slot_s)
    for measure in quota.bounded:
        if amount := amounts.get(measure, 0.0):
            before = used.get(measure, ())
            # A clock that was set back does not make old slots grow: what is newest stays the newest.
            at = max(slot, before[-1][0]) if before else slot
            if before and before[-1][0] == at:
                before, amount = before[:-1], before[-1][1] + amount
            used[measure] = (*before, (at, amount))
    return Usage(quota.slot_s, used)


def left(usage: Usage, quota: UserQuota, measure: Measure, *, now: float) -> float | None:
    """How much there is still; None without a bound, never below 0."""
    most = quota.of(measure)
    return None if most is None else max(0.0, most - total(current(usage, quota, now=now), measure))


def in_words(refusal: Refusal, quota: UserQuota) -> str:
    """What a user is told."""
    what = IN_WORDS[refusal.measure]
    said = f"{refusal.used:g} of {refusal.most:g} {what} in {format_duration(quota.window_s)} are used"
    if refusal.retry_after_s is None:
        return f"{said}, and {refusal.wanted:g} more are never within it; ask for less"
    return f"{said}; there is room again in {format_duration(refusal.retry_after_s)}"


def _retry_after_s(
    slots: tuple[tuple[int, float], ...], most: float, want: float, quota: UserQuota, now: float
) -> float | None:
    """Until enough slots have left. None where the wish alone is above the quota."""
    if want > most * (1 + _SLACK):
        return None
    remaining = math.fsum(amount for _, amount in slots)
    for slot, amount in slots:
        remaining -= amount
        is_room = remaining + want <= most * (1 + _SLACK) if want else remaining < most or remaining <= most * _SLACK
        if is_room:
            return max(0.0, _ends_at(slot, quota.slot_s) + quota.window_s - now)
    return 0.0


def _ends_at(slot: int, slot_s: float) -> float:
    return (slot + 1) * slot_s


def _resized(slots: tuple[tuple[int, float], ...], was_s: float, slot_s: float) -> tuple[tuple[int, float], ...]:
    """Slots of another length, each put where its end falls."""
    found: dict[int, float] = {}
    for slot, amount in slots:
        at = math.ceil(_ends_at(slot, was_s) / slot_s) - 1
        found[at] = found.get(at, 0.0) + amount
    return tuple(sorted(found.items()))


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
