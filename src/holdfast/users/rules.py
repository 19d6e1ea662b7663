"""What may happen to users' work: where a stream has a gap, when memory is short, who is idle, who stands apart. Pure.

Everything that a decision needs comes in as an argument: positions, bytes, times, figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from holdfast.errors import InvalidInput
from holdfast.store.contract.records import Position

UserKey = tuple[str, str]
"""Tenant and user: whose session, stream, usage."""
START = Position(0, 0)
"""Before the first event of any stream."""
PAGE_FIRST, PAGE_LEAST, PAGE_MAX = 32, 4, 512
PAGE_BYTES = 128 * 1024
Pressure = Literal["calm", "soft", "hard"]
CALM_AT = 0.9
"""A watermark that was passed holds until memory is below this part of it: no flapping at the mark."""


# -- streams --------------------------------------------------------------------------------------------------------


def follows(cursor: Position, found: Position) -> bool:
    """Whether nothing is missing between `cursor` and the event at `found`.

    Numbers of a stream have no holes: they are given in the transaction of their event. So a hole is what retention
    took, and another incarnation is another history.
    """
    if cursor == START:
        return found.seq == 1
    return found.incarnation == cursor.incarnation and found.seq == cursor.seq + 1


def is_news(end: Position, *, cursor: Position, told: Position | None) -> bool:
    """Whether who waits behind `cursor` is to be woken, where his stream ends at `end`; `told`: the end for which he
    was woken last. The same end wakes him once, for where retention took the events there is nothing to find."""
    return end.seq > 0 and end not in (cursor, told)


def is_resumable(cursor: Position, first: Position | None) -> bool:
    """Whether a reader who comes with `cursor` can go on. `first`: the first event at or behind it, None for none.

    The event at the cursor proves that the cursor belongs to this history; so does the one right behind it. Where there
    is neither, nobody can say what the reader missed. At the beginning of an empty stream nothing was missed yet.
    """
    if first is None:
        return cursor == START
    return first == cursor or follows(cursor, first)


def next_page(limit: int, *, got: int, got_bytes: int) -> int:
    """How many events to read at once, given that the last time `got` of at most `limit` came, with so many bytes.

    Few where the reader has caught up. Where there is more it grows, but to no more than what weighs PAGE_BYTES by the
    mean of the last: that is what a reader who stops in the middle holds.
    """
    if got < limit:
        return PAGE_FIRST
    return min(limit * 4, PAGE_MAX, max(PAGE_LEAST, PAGE_BYTES * got // max(1, got_bytes)))


# -- memory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """Resident memory of this process, in bytes: from `soft_bytes` on nobody new is admitted and who is idle is
    evicted; from `hard_bytes` on what runs is drained, too. None: this mark is never reached."""

    soft_bytes: int | None = None
    hard_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("soft_bytes", "hard_bytes"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidInput(f"watermarks: expected {name} of 1 byte or more, or None, saw {value!r}")
        if self.soft_bytes is not None and self.hard_bytes is not None and self.soft_bytes > self.hard_bytes:
            raise InvalidInput(
                f"watermarks: expected soft_bytes up to hard_bytes, saw {self.soft_bytes} above {self.hard_bytes}"
            )


def pressure_of(rss_bytes: int, marks: Watermarks, before: Pressure) -> Pressure:
    """How short memory is, given how short it was before."""
    if _is_past(rss_bytes, marks.hard_bytes, was=before == "hard"):
        return "hard"
    return "soft" if _is_past(rss_bytes, marks.soft_bytes, was=before != "calm") else "calm"


def _is_past(rss_bytes: int, mark: int | None, *, was: bool) -> bool:
    return mark is not None and rss_bytes >= (mark * CALM_AT if was else mark)


# -- sessions -------------------------------------------------------------------------------------------------------


class Idleness(NamedTuple):
    """How long a session was not used, and whether something of its user's is under way."""

    key: UserKey
    idle_s: float
    is_busy: bool


def to_evict(sessions: Sequence[Idleness], *, idle_max_s: float, sessions_max: int) -> list[UserKey]:
    """Sessions that go: idle for `idle_max_s` or longer, and then the longest idle of those beyond `sessions_max`.
    What is busy stays, however many there are."""
    idle = sorted((each for each in sessions if not each.is_busy), key=lambda each: (-each.idle_s, each.key))
    too_many = len(sessions) - sessions_max
    return [each.key for number, each in enumerate(idle) if each.idle_s >= idle_max_s or number < too_many]


# -- isolation ------------------------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in one user's session, as a check of isolation sees it. `parts`: what must be nobody else's, as
    "what it is" to the identity of the object; `contexts`: whose contexts its calls carry; `streams`: whose events
    its emitter holds."""

    key: UserKey
    parts: Mapping[str, int]
    contexts: tuple[UserKey, ...] = ()
    streams: tuple[UserKey, ...] = ()
    closed_contexts: int = 0


def violations(standings: Iterable[Standing]) -> list[str]:
    """Whatever is not as isolation has it, in words, each with the user whom it befell; empty where all is well."""
    found: list[str] = []
    owners: dict[int, tuple[UserKey, str]] = {}
    for each in sorted(standings, key=lambda standing: standing.key):
        whose = f"user {each.key[1]} of {each.key[0]}"
        for what, identity in sorted(each.parts.items()):
            other = owners.setdefault(identity, (each.key, what))
            if other[0] != each.key:
                found.append(f"{whose}: {what} is the same object as {other[1]} of user {other[0][1]} of {other[0][0]}")
        found += [
            f"{whose}: a call carries the context of user {u} of {t}" for t, u in each.contexts if (t, u) != each.key
        ]
        found += [
            f"{whose}: its emitter holds an event of user {u} of {t}" for t, u in each.streams if (t, u) != each.key
        ]
        if each.closed_contexts:
            found.append(f"{whose}: {each.closed_contexts} calls carry a context that was cleaned up")
    return found
