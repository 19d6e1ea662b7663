"""Locks as records of their tenant: one for each tree, and one for each lease whose token is live.

A tree's record is the truth, and one optimistic write decides over it. A lease's record says nothing: that it is there
is what a change under the lease requires. It is made by the commit that grants the token and removed by the one that
ends it, and no other ever has its id.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from holdfast import codec
from holdfast.locks.rules import LockTree, Ticket, root_of
from holdfast.store.contract.records import ABSENT, SHARED, Key, Put, Record, RemovePrefix, Require
from holdfast.store.wrapping.seal import check_opened

LOCK = "lock"
LEASE = "lease"
_decoder = msgspec.json.Decoder(LockTree)


class KnownTree(NamedTuple):
    """A tree as it was read or committed last, with the version of its record; ABSENT where there is none."""

    tree: LockTree
    version: int


class LockChange(NamedTuple):
    """What a store's change must do to make a decision true, if the trees are still as they were read."""

    puts: tuple[Put, ...] = ()
    removes: tuple[RemovePrefix, ...] = ()


def lock_key(tenant: str, kind: str, name: str) -> Key:
    """The key of the tree that a lock is in: of the tenant, so that all its users meet at it."""
    return Key(tenant, SHARED, LOCK, f"{kind}/{root_of(name)}")


def lease_key(tenant: str, kind: str, name: str, token: int) -> Key:
    """The key of a lease's record. Its end makes no such key the beginning of another."""
    return Key(tenant, SHARED, LEASE, f"{kind}/{root_of(name)}#{token}\n")


def lease_requirement(tenant: str, kind: str, name: str, token: int) -> Require:
    """What holds while the lease's token is live; a store refuses it as Fenced afterwards."""
    return Require(key=lease_key(tenant, kind, name, token), epoch=1)


def lock_tree(kind: str, name: str, record: Record | None) -> LockTree:
    """The stored tree of a lock, or one in which everything is free."""
    return LockTree(kind, root_of(name)) if record is None else decode_tree(record)


def decode_tree(record: Record) -> LockTree:
    """The tree in a stored record. Raises CannotOpen where it is sealed."""
    check_opened(record.body, f"lock {record.key.id}")
    return _decoder.decode(record.body)


def known_tree(key: Key, record: Record | None) -> KnownTree:
    """What is known of the tree under `key` by its record."""
    kind, _, root = key.id.partition("/")
    return KnownTree(lock_tree(kind, root, record), ABSENT if record is None else record.version)


def lock_change(tenant: str, known: KnownTree, after: LockTree) -> LockChange:
    """What makes `after` of the tree that is known."""
    before = known.tree
    if after == before:
        return LockChange()
    put = Put(
        key=lock_key(tenant, after.kind, after.root),
        body=codec.encode(after, what=f"locks {after.kind}/{after.root}"),
        expect=known.version,
        status=after.status,
        labels={"lock": after.kind},
    )
    was, live = _leases(tenant, before), _leases(tenant, after)
    return LockChange(
        puts=(put, *(Put(key=key, body=b"{}", expect=ABSENT, raise_epoch=True) for key in live if key not in was)),
        removes=tuple(
            RemovePrefix(tenant=key.tenant, user=key.user, kind=key.kind, prefix=key.id)
            for key in was
            if key not in live
        ),
    )


def _leases(tenant: str, tree: LockTree) -> list[Key]:
    return [
        lease_key(tenant, tree.kind, tree.root, ticket.token)
        for ticket in tree.queue
        if ticket.token and _is_lease(ticket)
    ]


def _is_lease(ticket: Ticket) -> bool:
    """A run's own ticket needs no record of its own: what the run writes is guarded by the run's epoch."""
    return ticket.expires_at is not None
