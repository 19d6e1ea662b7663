"""Who is still being served when a state manager closes is told what became of it, and nothing is left of it."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import CommitUnknown, StateManager, Unavailable, UserExecutionContext
from holdfast.state import folding
from holdfast.store.contract.records import Change, Commit, Scope
from holdfast.store.memory import MemoryStore

ANA = UserExecutionContext(user="ana")


class Gated(MemoryStore):
    """Commits once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def commit(self, scope: Scope, change: Change) -> Commit:
        self.asked.set()
        await self.gate.wait()
        return await super().commit(scope, change)


def left() -> list[str]:
    """The tasks that run beside this one."""
    return sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()})


async def test_who_asked_before_gets_the_answer() -> None:
    store = Gated()
    async with StateManager(store) as state:
        before = set(left())
        first = asyncio.ensure_future(state.set(ANA, "plan", 1))
        await store.asked.wait()
        second = asyncio.ensure_future(state.update(ANA, "plan", lambda value: value + 1, int, initial=0))
        abandoned = asyncio.ensure_future(state.set(ANA, "other", 3))
        await asyncio.sleep(0)
        abandoned.cancel()
        asyncio.get_running_loop().call_soon(store.gate.set)
    assert [(await each).value for each in (first, second)] == [1, 2]
    assert not set(left()) - before
    await store.close()


async def test_who_cannot_be_served_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "CLOSE_S", 0.05)
    store = Gated()
    async with StateManager(store) as state:
        first = asyncio.ensure_future(state.set(ANA, "plan", 1))
        await store.asked.wait()
        second = asyncio.ensure_future(state.set(ANA, "plan", 2))
        await asyncio.sleep(0)
    with pytest.raises(CommitUnknown, match="read it to see what came of it"):
        await first
    with pytest.raises(Unavailable, match="closed before it was written"):
        await second
    assert not left()
    await store.close()
