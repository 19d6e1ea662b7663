"""Locks: who may touch what. Exclusive leases with fencing tokens, first come first served, kept in the store.

`rules` says who holds and who waits; `records` how that is stored; `service` lets code acquire one. A state's
`lock=` writes the same records as part of the run's own transitions.
"""

from holdfast.locks.records import LOCK, lock_key, lock_state, lock_write, token_of
from holdfast.locks.rules import LockState, Standing, Ticket, ask, check_lock, is_held_by, release, standing
from holdfast.locks.service import Lease, LockService

__all__ = [
    "LOCK",
    "Lease",
    "LockService",
    "LockState",
    "Standing",
    "Ticket",
    "ask",
    "check_lock",
    "is_held_by",
    "lock_key",
    "lock_state",
    "lock_write",
    "release",
    "standing",
    "token_of",
]
