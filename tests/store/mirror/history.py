"""What writers and readers saw, and when: proof that nobody read anything older than the promise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.clock import monotonic_s
from holdfast.store.contract.records import Key
from holdfast.store.mirror.store import MirrorStore
from tests.store.mirror.truths import put, version_of


class Committed(NamedTuple):
    """A version that was there for certain at `at_s`."""

    key: Key
    version: int
    at_s: float


class Seen(NamedTuple):
    """A read that began at `at_s`."""

    key: Key
    version: int
    at_s: float
    least: int = 0


class History:
    """The acts of any number of writers and readers on one clock."""

    def __init__(self) -> None:
        self.commits: list[Committed] = []
        self.reads: list[Seen] = []

    async def write(self, store: MirrorStore, key: Key) -> int:
        version = await put(store, key, 0)
        self.commits.append(Committed(key, version, monotonic_s()))
        return version

    async def read(self, store: MirrorStore, key: Key, *, least: int = 0) -> int:
        began_at_s = monotonic_s()
        version = await version_of(store, key, least=least)
        self.reads.append(Seen(key, version, began_at_s, least))
        return version

    def too_old(self, *, within_s: float) -> list[str]:
        """Reads of a version that had been overwritten for longer than `within_s` when they began."""
        found = []
        for seen in self.reads:
            due = [
                commit
                for commit in self.commits
                if commit.key == seen.key and commit.version > seen.version and commit.at_s + within_s < seen.at_s
            ]
            if due:
                first = min(due, key=lambda commit: commit.at_s)
                found.append(f"{seen}: {first} was there {seen.at_s - first.at_s:.3f} s before")
        return found

    def too_low(self) -> list[Seen]:
        """Reads below the reader's least version."""
        return [seen for seen in self.reads if seen.version < seen.least]

    def stale(self) -> int:
        """How many reads were of an overwritten version at all: without any, a test of the promise tests nothing."""
        return len(self.too_old(within_s=0))


async def at_rest(history: History, stores: Sequence[MirrorStore], keys: Sequence[Key]) -> list[str]:
    """What the stores still answer wrongly after all has been put."""
    for store in stores:
        await store.flush()
    for store in stores:
        for key in keys:
            await history.read(store, key)
    rested = history.reads[-len(stores) * len(keys) :]
    newest = {key: max(commit.version for commit in history.commits if commit.key == key) for key in keys}
    return [f"{seen}: {newest[seen.key]} is the newest" for seen in rested if seen.version < newest[seen.key]]


async def pauses(turns: int) -> None:
    """Let others run."""
    for _ in range(turns):
        await asyncio.sleep(0)
