"""The witness of the truth's commits: what it must be asked before COMMIT, and told after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from holdfast.store.contract.history import Row
from holdfast.store.contract.records import Key, RemovePrefix
from holdfast.store.mirror.generation import Generation
from holdfast.store.mirror.link import Link
from holdfast.store.mirror.puts import Puts
from holdfast.store.mirror.rules import entries_of, is_unlisted, micros


class _Asked(NamedTuple):
    """What was so inside a transaction, and so before its COMMIT."""

    moment: int
    generation: int
    is_raised: bool


class Attention:
    """A `CommitWitness`. The truth asks and tells within one task, by which the two are known to belong together.

    What a commit wrote is entered with the generation that was known before it: one that was read after it could
    have been raised by somebody who has overwritten it meanwhile.
    """

    def __init__(
        self,
        link: Link,
        puts: Puts,
        generation: Generation,
        *,
        now_s: Callable[[], float],
        forget: Callable[[Mapping[Key, Row]], None],
    ) -> None:
        self._link = link
        self._puts = puts
        self._generation = generation
        self._now_s = now_s
        self._forget = forget
        self._asked: WeakKeyDictionary[asyncio.Task[Any], _Asked] = WeakKeyDictionary()

    def must_raise(self) -> bool:
        self._link.tend()
        self._generation.refresh()
        task = asyncio.current_task()
        assert task is not None, "a transaction runs in a task"
        must = not self._link.is_usable
        self._asked[task] = _Asked(micros(self._now_s()), self._generation.known, must)
        return must

    def written(self, rows: Mapping[Key, Row], removed: Sequence[RemovePrefix]) -> None:
        task = asyncio.current_task()
        asked = self._asked.pop(task, None) if task is not None else None
        self._forget(rows)
        if asked is None:
            self._link.owe()
            return
        if is_unlisted(removed) and not asked.is_raised:
            self._link.owe()
        entries = entries_of(rows, generation=asked.generation, moment=asked.moment)
        if not entries:
            return
        if self._link.is_up:
            self._puts.committed(entries)
        elif not asked.is_raised:
            self._link.owe()

    def __repr__(self) -> str:
        return f"Attention(transactions={len(self._asked)})"
