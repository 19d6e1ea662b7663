"""A core for each test, and that nothing of it is left behind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from holdfast import AgentExecutionCore
from tests.agents.bodies import LIMIT_S


@pytest.fixture(autouse=True)
def no_thread_outlives_the_test() -> Iterator[None]:
    """Fails a test after which a watchdog or a thread of an agent lives on. Those that it freed are on their way."""
    yield
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("holdfast-")]
    for thread in ours:
        thread.join(LIMIT_S)
    assert [thread.name for thread in ours if thread.is_alive()] == []


@pytest.fixture
async def core() -> AsyncIterator[AgentExecutionCore]:
    """One that looks often."""
    async with AgentExecutionCore(beat_s=0.02, lag_max_s=0.1, block_max_s=0.4) as opened:
        yield opened
