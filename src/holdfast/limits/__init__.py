"""Limits: how many at once, and how many in a time. Places and a rate, agreed on by all processes through the store.

`rules` says what a limit is, when there is room and when there will be; `records` how that is stored, and `book` how
one decision goes over several limits; `service` takes a place for a block of code. A state's `limits=` writes the same
records as part of the run's own transitions. `view` is what operators see.
"""

from holdfast.limits.book import LimitBook, PlaceChange
from holdfast.limits.records import LIMIT, WAITER, LimitWaiter, ledger_key, line_prefix
from holdfast.limits.rules import Ledger, Limit, Place, next_at, room
from holdfast.limits.service import PlaceService
from holdfast.limits.view import LimitView, PlaceView, look_at_limits

__all__ = [
    "LIMIT",
    "WAITER",
    "Ledger",
    "Limit",
    "LimitBook",
    "LimitView",
    "LimitWaiter",
    "Place",
    "PlaceChange",
    "PlaceService",
    "PlaceView",
    "ledger_key",
    "line_prefix",
    "look_at_limits",
    "next_at",
    "room",
]
