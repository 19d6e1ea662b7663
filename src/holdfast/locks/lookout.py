"""One look at a tree for all visits of this process that wait in it.

Each of them could look for itself whenever somebody commits something; in a line of a hundred that is a hundred reads
for each step that the line makes, and those in line keep the machine from the one whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice

import msgspec

from holdfast.errors import HoldfastError
from holdfast.locks.records import known_tree
from holdfast.locks.rules import called
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key, Scope
from holdfast.tasks import Supervisor

LOOK_MAX = 100
"""How many trees one read asks for."""
AGAIN_S = 1.0
"""Who was called and waits on as before, for his other lock is not free, is called again after so long."""

Call = Callable[[], None]


class _Waiting:
    """Who waits in a tree: how he is called, when he was last, and what for: the tokens that he had then."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.called_at = float("-inf")
        self.tokens: tuple[int, ...] = ()


class Lookout:
    """For one engine. Whoever waits is called when his ticket is granted or gone, or when nobody alive is before it;
    then he looks himself. That a ticket before him lapses with time is his own business."""

    def __init__(self, store: Store, tasks: Supervisor) -> None:
        self._store = store
        self._tasks = tasks
        self._waiting: dict[Key, dict[str, _Waiting]] = {}
        self._due: dict[Key, None] = {}
        self._looking: asyncio.Task[None] | None = None

    def watch(self, keys: Iterable[Key], holder: str, call: Call) -> None:
        """`holder` waits in these trees from now on."""
        for key in keys:
            self._waiting.setdefault(key, {})[holder] = _Waiting(call)

    def unwatch(self, keys: Iterable[Key], holder: str, call: Call) -> None:
        """He waits no more; but for one who took his place since: a run is taken up anew before its last actor ends."""
        for key in keys:
            waiting = self._waiting.get(key, {})
            if holder in waiting and waiting[holder].call == call:
                del waiting[holder]
            if not waiting:
                self._waiting.pop(key, None)

    def changed(self, key: Key) -> None:
        """Somebody took or gave back something in this tree: look at it soon."""
        if key in self._waiting:
            self._look_at([key])

    def look_again(self) -> None:
        """Other processes may have committed something: look at all trees in which somebody waits."""
        self._look_at(self._waiting)

    def _look_at(self, keys: Iterable[Key]) -> None:
        self._due.update(dict.fromkeys(keys))
        if self._due and (self._looking is None or self._looking.done()):
            self._looking = self._tasks.start(self._look(), name="lock lookout")

    async def _look(self) -> None:
        """Until no tree is to be looked at: what comes up during a look is looked at by the next one."""
        while self._due:
            keys = sorted(islice(self._due, LOOK_MAX))
            for key in keys:
                del self._due[key]
            for tenant, its in groupby(keys, key=lambda key: key.tenant):
                await self._look_into(tenant, list(its))

    async def _look_into(self, tenant: str, keys: Sequence[Key]) -> None:
        try:
            records = await self._store.read(Scope.of_tenant(tenant), keys)
            trees = [known_tree(key, record).tree for key, record in zip(keys, records, strict=True)]
        except (HoldfastError, msgspec.DecodeError):  # each looks himself, and meets what is wrong
            for waiting in [each for key in keys for each in self._waiting.get(key, {}).values()]:
                waiting.call()
            return
        now = self._store.now_s()
        for key, tree in zip(keys, trees, strict=True):
            waits = self._waiting.get(key, {})
            for holder, tokens in called(tree, tuple(waits), now=now).items():
                waiting = waits[holder]
                if tokens != waiting.tokens or not 0 <= now - waiting.called_at < AGAIN_S:
                    waiting.tokens, waiting.called_at = tokens, now
                    waiting.call()

    def __repr__(self) -> str:
        return f"Lookout(trees={len(self._waiting)}, waiting={sum(map(len, self._waiting.values()))})"
