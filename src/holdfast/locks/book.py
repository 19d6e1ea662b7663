"""The trees that one decision is about, as they were read, with what the decision makes of them.

Several locks are asked for and given back together: what is decided over all their trees is one change, all or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from holdfast.locks.records import KnownTree, LockChange, known_tree, lock_change, lock_key
from holdfast.locks.rules import LockRequest, LockTree, Standing, Ticket, ask, release, standing
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key, Scope


class LockBook:
    """`known`: the trees as they are believed to be; a commit of the `change` confirms it. `now`: the store's time, at
    which everything is judged. See `read`."""

    def __init__(self, tenant: str, known: Mapping[Key, KnownTree], *, now: float) -> None:
        self.now = now
        self._tenant = tenant
        self._known = known
        self._trees = {key: each.tree for key, each in known.items()}

    @classmethod
    async def read(cls, store: Store, tenant: str, requests: Iterable[LockRequest]) -> LockBook:
        """The book of all trees that `requests` are in."""
        keys = keys_of(tenant, requests)
        records = await store.read(Scope.of_tenant(tenant), keys)
        known = {key: known_tree(key, record) for key, record in zip(keys, records, strict=True)}
        return cls(tenant, known, now=store.now_s())

    def standing(self, requests: Sequence[LockRequest], holder: str, *, life: str = "") -> Standing:
        """Where `holder` stands with each of `requests`."""
        trees = [self._trees[self._key(request)] for request in requests]
        return standing(trees, requests, holder, now=self.now, life=life)

    def ask(self, requests: Iterable[LockRequest], ticket: Ticket, *, anew: bool = False) -> None:
        """Queue a ticket like `ticket` for each of `requests`, or keep the places that its holder has."""
        for key, asked in self._by_tree(requests).items():
            tickets = [replace(ticket, name=request.name, mode=request.mode) for request in asked]
            self._trees[key] = ask(self._trees[key], tickets, now=self.now, anew=anew)

    def release(
        self, requests: Iterable[LockRequest], holder: str, *, tokens: Collection[int] | None = None, life: str = ""
    ) -> None:
        """Give back what `holder` has in the trees of `requests`; `tokens`, `life`: only the tickets with these."""
        for key in self._by_tree(requests):
            self._trees[key] = release(self._trees[key], holder, now=self.now, tokens=tokens, life=life)

    def change(self) -> LockChange:
        """What makes it true; nothing where nothing is different."""
        parts = [lock_change(self._tenant, known, self._trees[key]) for key, known in self._known.items()]
        return LockChange(
            tuple(put for part in parts for put in part.puts), tuple(each for part in parts for each in part.removes)
        )

    def committed(self, versions: Mapping[Key, int]) -> dict[Key, KnownTree]:
        """The trees as they are known once the change was committed and gave these `versions`."""
        return {
            key: KnownTree(self._trees[key], versions.get(key, known.version)) for key, known in self._known.items()
        }

    def trees_but(self, others: Iterable[LockTree]) -> list[LockTree]:
        """These trees, and those of `others` that are not among them."""
        known = {(tree.kind, tree.root) for tree in self._trees.values()}
        return [*self._trees.values(), *(tree for tree in others if (tree.kind, tree.root) not in known)]

    def _by_tree(self, requests: Iterable[LockRequest]) -> dict[Key, list[LockRequest]]:
        found: dict[Key, list[LockRequest]] = {}
        for request in requests:
            found.setdefault(self._key(request), []).append(request)
        return found

    def _key(self, request: LockRequest) -> Key:
        return lock_key(self._tenant, request.kind, request.name)


def keys_of(tenant: str, requests: Iterable[LockRequest]) -> tuple[Key, ...]:
    """The keys of the trees that `requests` are in, sorted."""
    return tuple(sorted({lock_key(tenant, request.kind, request.name) for request in requests}))
