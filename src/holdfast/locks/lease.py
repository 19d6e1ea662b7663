"""A lock that is held now, in the hands of whoever holds it."""

from __future__ import annotations

import asyncio

from holdfast.errors import Fenced
from holdfast.locks.records import lease_requirement
from holdfast.locks.rules import LockRequest, Mode
from holdfast.store.contract.records import Require


class Term:
    """How long the leases of one block last: together, for they are renewed by one commit. `good_until`: until when the
    store keeps them, in epoch seconds on its clock."""

    def __init__(self, good_until: float) -> None:
        self.good_until = good_until
        self.lost = asyncio.Event()


class Lease:
    """A lock that is held now. `token` only grows from holder to holder: hand it to whatever is written. `mode`:
    "exclusive" or "shared". `lost`: an event, set once the lease is known to be lost.

    Example::

        async with engine.lock("repository", "company/service") as lease:
            change = Change(..., requires=(lease.requirement(),))
    """

    def __init__(self, tenant: str, request: LockRequest, token: int, term: Term) -> None:
        self.kind = request.kind
        self.name = request.name
        self.mode: Mode = request.mode
        self.token = token
        self._tenant = tenant
        self._term = term

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease is known to be lost, be it by time or by another life of the same holder."""
        return self._term.lost

    @property
    def good_until(self) -> float:
        """Until when the store keeps it for its holder unless it is renewed: epoch seconds on the store's clock."""
        return self._term.good_until

    def requirement(self) -> Require:
        """A precondition for a store's change: this lease is still the one, else the change is refused as Fenced."""
        return lease_requirement(self._tenant, self.kind, self.name, self.token)

    def check(self) -> None:
        """Raises Fenced once the lease is known to be lost."""
        if self.lost.is_set():
            raise Fenced(f"lock {self.kind}/{self.name}: the lease with token {self.token} was lost; stop writing")

    def __repr__(self) -> str:
        return f"Lease({self.kind}/{self.name}, {self.mode}, token={self.token}, lost={self.lost.is_set()})"
