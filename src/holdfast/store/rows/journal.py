"""What a record's journal says about its body: deltas going in, the body coming out.

A delta is JSON: `{"full": body}`, or `{"patch": [operations]}` (RFC 6902) relative to the event before it. A snapshot
is taken at creation, every k versions, and whenever it is the smaller of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from holdfast import codec, patch
from holdfast.errors import Corrupt
from holdfast.store.contract.records import Event

SNAPSHOT_EVERY = 20
"""Versions between two full snapshots, unless configured otherwise."""

DELTA_BYTES_MAX = 2 * codec.PAYLOAD_BYTES_MAX
"""Bound on one delta: a full snapshot is a body and a little more."""


class Rebuilt(NamedTuple):
    """A body as the journal tells it, and the version of the record that it belongs to."""

    version: int
    body: Any


def delta(before_body: Any | None, after_body: Any, version: int, *, every: int = SNAPSHOT_EVERY) -> bytes:
    """The delta of an event: how a record's body (plain JSON values) came to be `after_body` at `version`.

    `before_body` is what the record's previous delta led to, or None at creation.
    """
    if before_body is None or version % every == 0:
        return _encode({"full": after_body})
    operations = patch.diff(before_body, after_body)
    patched = _encode({"patch": operations})
    if len(operations) < 2 and len(patched) < 256:
        return patched  # cheaper than encoding the whole body to compare with
    full = _encode({"full": after_body})
    return patched if len(patched) < len(full) else full


def rebuild(events: Iterable[Event]) -> Any:
    """The body that the deltas of one record's events, in order, lead to. Raises Corrupt if they lead nowhere."""
    found = rebuilt(events)
    if found is None:
        raise Corrupt("journal: expected a full snapshot to start from, saw none; restore a backup")
    return found.body


def rebuilt(events: Iterable[Event]) -> Rebuilt | None:
    """As `rebuild`, with the version; None where no event carries a snapshot. Raises Corrupt for a broken sequence.

    Patches before the first snapshot are of a journal that was cut: they tell nothing by themselves.
    """
    last: Rebuilt | None = None
    for event in events:
        if not event.delta:
            continue
        change = _decoded(event)
        if "full" in change:
            last = Rebuilt(event.version, change["full"])
        elif last is not None:
            last = Rebuilt(event.version, patch.apply(last.body, change["patch"]))
    return last


def own_life(events: Sequence[Event]) -> Sequence[Event]:
    """The events since the record was last made: of one that was removed whole and made again, its second life."""
    starts = (index for index in range(len(events) - 1, -1, -1) if not events[index].previous)
    return events[next(starts, 0) :]


def is_snapshot(event: Event) -> bool:
    """Whether `event` carries a full snapshot, so that the journal can start with it."""
    return bool(event.delta) and "full" in _decoded(event)


def kept_from(events: Sequence[Event], *, before_s: float, keep: int, is_gone: bool) -> int:
    """The index of the first of one record's events that trimming must keep: it, and all behind it.

    Events older than `before_s` may go, but for the last `keep` (at least one) and what rebuilding needs. Of a record
    that `is_gone` (no row at all, not even a deleted one) nothing has to be kept once all of it is older; its anchor
    goes with the last event.
    """
    cut = next((index for index, event in enumerate(events) if event.at >= before_s), len(events))
    if is_gone and cut == len(events):
        return cut
    cut = max(0, min(cut, len(events) - max(keep, 1)))
    first = next((event for event in events[cut:] if event.delta), None)
    if first is not None and is_snapshot(first):
        return cut
    return next((index for index in range(cut - 1, -1, -1) if is_snapshot(events[index])), cut)


def _encode(change: dict[str, Any]) -> bytes:
    return codec.encode_again(change, what="delta", bytes_max=DELTA_BYTES_MAX)


def _decoded(event: Event) -> dict[str, Any]:
    change: dict[str, Any] = codec.decode(event.delta, dict[str, Any], what=f"delta of {event.key} at {event.position}")
    if not ("full" in change or "patch" in change):
        raise Corrupt(f"{event.key}: expected a delta with full or patch, saw {sorted(change)}", key=event.key)
    return change
