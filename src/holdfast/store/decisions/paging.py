"""Which records a query or a claim means, in what order, and where the next page starts. Pure; back ends agree on it.

The order of a scan is by id, or by due and then id; tenant and user break ties. Scans by due hold only records that
have one. A claim takes the earliest due first, then what waits longest; what has no due comes last.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast import codec
from holdfast.store.contract.records import Claim, Page, Query, Record
from holdfast.store.decisions.rules import moment

Place = tuple[float, str, str, str]
"""Where a record stands in a scan: due (0 if the order is by id), id, tenant, user."""


def is_match(query: Query, record: Record) -> bool:
    """Whether `record` is one that `query` looks for."""
    return (
        record.key.kind == query.kind
        and record.key.id.startswith(query.prefix)
        and (not query.statuses or record.status in query.statuses)
        and (not query.queues or record.queue in query.queues)
        and (query.owner is None or record.owner == query.owner)
        and (query.due_until is None or (record.due is not None and record.due <= moment(query.due_until)))
        and (not query.by_due or record.due is not None)
        and all(record.labels.get(name) == value for name, value in query.labels.items())
    )


def is_claimable(claim: Claim, record: Record) -> bool:
    """Whether `record` is one that `claim` may take."""
    return (
        record.key.kind == claim.kind
        and record.owner in claim.from_owners
        and (not claim.ids or record.key.id in claim.ids)
        and (not claim.statuses or record.status in claim.statuses)
        and (not claim.queues or record.queue in claim.queues)
        and (claim.due_until is None or (record.due is not None and record.due <= moment(claim.due_until)))
    )


def claim_order(record: Record) -> tuple[bool, float, float, str, str, str]:
    """What records are sorted by before a claim takes the first."""
    key = record.key
    return (record.due is None, record.due or 0.0, record.written_at, key.id, key.tenant, key.user)


def place_of(query: Query, record: Record) -> Place:
    """Where `record` stands among the answers of `query`."""
    due = record.due if query.by_due and record.due is not None else 0.0
    return (due, record.key.id, record.key.tenant, record.key.user)


def page_of(query: Query, records: Iterable[Record], limit: int) -> Page:
    """The page of the first `limit` of `records`, which are sorted and one more than `limit` if there is more."""
    found = tuple(records)
    if len(found) <= limit:
        return Page(records=found)
    last = place_of(query, found[limit - 1])
    return Page(records=found[:limit], next=codec.encode(last).decode())


def parse_place(after: str) -> Place:
    """The place that a page's `next` names. Raises InvalidInput."""
    place: Place = codec.decode(after.encode(errors="replace"), Place, what="scan: after")
    return place
