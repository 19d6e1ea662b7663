"""Quotas that keep objects away that no event tells of: declared, absent, and no room for them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Finding, quote
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig

_BY_CLASS = ".storageclass.storage.k8s.io/"
"""What stands between a storage class and what a quota allows of it."""


def full_for(snapshot: Snapshot, rule: str, kind: str, *names: str) -> Iterator[Finding]:
    """What the rule finds: that a quota, under one of its names, has no room for an absent object of the kind."""
    evidence = tuple(_full(snapshot, names, kind))
    if evidence:
        yield Finding(rule, Ref("Namespace", snapshot.namespace), 0.97, evidence[:3])


def _full(snapshot: Snapshot, names: tuple[str, ...], kind: str) -> Iterator[Evidence]:
    """Objects of a kind that no event tells of: declared, absent, and the quota for them has no room."""
    absent = _absent(snapshot, kind)
    if not absent:
        return
    for ref, quota in snapshot.of_kind("ResourceQuota"):
        used, hard = dig(quota, "status.used") or {}, dig(quota, "status.hard") or {}
        for name in (
            key for key in hard if key in names or key.endswith(tuple(f"{_BY_CLASS}{part}" for part in names))
        ):
            if _is_exceeded(snapshot, used.get(name, "0"), hard[name], name, absent):
                yield quote(ref, f"{name}: {used.get(name)} of {hard[name]} used")
                yield quote(absent[0], "declared, but the cluster does not have it")


def _absent(snapshot: Snapshot, kind: str) -> list[Ref]:
    """Declared objects of a kind that the cluster does not have."""
    return [ref for ref, _ in snapshot.of_kind(kind) if ref in snapshot.declared and not snapshot.exists(ref)]


def _is_exceeded(snapshot: Snapshot, used: str, hard: str, name: str, absent: list[Ref]) -> bool:
    """Whether the smallest of the absent objects would not fit."""
    amount, limit = quantity(used), quantity(hard)
    if amount is None or limit is None:
        return False
    sizes = [
        (quantity(dig(snapshot.manifest(ref), "spec.resources.requests.storage")) or 0.0)
        if name.endswith("storage")
        else 1.0
        for ref in absent
    ]
    return amount + min(sizes) > limit
