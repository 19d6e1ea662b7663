"""Locks: who may touch what. Leases with fencing tokens, first come first served, kept in the store.

`rules` says who holds and who waits, `waits` who would wait for himself; `records` how that is stored, and `book` how
several are decided over at once; `service` lets code acquire some. A state's `lock=` writes the same records as part of
the run's own transitions. `view` is what operators see.
"""

from holdfast.locks.book import LockBook
from holdfast.locks.lease import Lease
from holdfast.locks.lookout import Lookout
from holdfast.locks.records import LEASE, LOCK, LockChange, lock_key, lock_tree
from holdfast.locks.rules import LockName, LockRequest, LockTree, Mode, Standing, Ticket, ask, release, requests_of
from holdfast.locks.service import Asked, LockService
from holdfast.locks.view import LockView, TicketView, look_at_locks

__all__ = [
    "LEASE",
    "LOCK",
    "Asked",
    "Lease",
    "LockBook",
    "LockChange",
    "LockName",
    "LockRequest",
    "LockService",
    "LockTree",
    "LockView",
    "Lookout",
    "Mode",
    "Standing",
    "Ticket",
    "TicketView",
    "ask",
    "lock_key",
    "lock_tree",
    "look_at_locks",
    "release",
    "requests_of",
]
