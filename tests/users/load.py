"""A load in a process of its own, which says in one line of JSON what it took: `python -m tests.users.load`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

from holdfast import ExecutionEngine, UserExecutionContext, UserQuota
from holdfast.users.memory import peak_rss_bytes, rss_bytes
from tests.users.conftest import DirectCore, context

WARM_UP, ROUNDS, SAMPLES = 200, 1000, 5
USERS, CONTEXTS, WORKING = 1000, 5, 20


class Agent:
    """Holds something worth freeing, and works with it."""

    def __init__(self, ctx: UserExecutionContext) -> None:
        self.held = bytearray(50_000)

    async def run(self, ctx: UserExecutionContext, value: Any, tell: Any) -> int:
        ctx.on_cleanup(self.held.copy, name="nothing")
        tell("progress", {"n": value})
        await asyncio.sleep(0)
        return len(self.held)

    async def cleanup(self) -> None:
        self.held = bytearray()


async def rounds(url: str) -> dict[str, Any]:
    """Create, run, clean up, a thousand times after a warm-up: resident memory and objects after each fifth."""
    async with ExecutionEngine(url, DirectCore(), quota=UserQuota(starts=1_000_000)) as engine:
        engine.registry.declare("agent", Agent)
        memory, objects = [], []
        for number in range(WARM_UP + ROUNDS + 1):
            if number >= WARM_UP and (number - WARM_UP) % (ROUNDS // SAMPLES) == 0:
                gc.collect()
                memory.append(rss_bytes())
                objects.append(len(gc.get_objects()))
            ctx = context(f"u{number % 50}", request=f"q-{number}")
            await engine.run(ctx, "agent", number)
            await engine.registry.session(ctx).emitter.flush()
            await engine.lifecycle.emergency_clean_up(ctx)
            await ctx.cleanup()
        assert len(engine.registry) == 0
        return {"rss": memory, "objects": objects}


async def crowd(url: str) -> dict[str, Any]:
    """A thousand users with five contexts each, every one connected and subscribed; twenty of them work at a time."""
    places = asyncio.Semaphore(WORKING)
    async with ExecutionEngine(url, DirectCore(), quota=UserQuota(starts=100)) as engine:
        engine.registry.declare("agent", Agent)
        users = [context(f"u{n}") for n in range(USERS)]

        async def follow(whose: UserExecutionContext) -> int:
            finished = 0
            async for event in engine.stream(whose, after="0:0"):
                finished += getattr(event, "name", "") == "agent.finished"
                if finished == CONTEXTS:
                    return finished
            return finished

        async def use(whose: UserExecutionContext, number: int) -> None:
            async with engine.registry.connection(whose) as own, places:
                await engine.run(own, "agent", number)

        readers = [asyncio.ensure_future(follow(whose)) for whose in users]
        await asyncio.gather(*(use(whose, number) for number in range(CONTEXTS) for whose in users))
        seen = await asyncio.gather(*readers)
        figures = engine.statistics()
        return {
            "seen": sum(seen),
            "finished": figures.finished,
            "isolated": engine.isolation().is_isolated,
            "users": len(engine.registry),
        }


def main() -> None:
    """Run the load that the command line names."""
    mode, url = sys.argv[1:]
    found = asyncio.run({"rounds": rounds, "crowd": crowd}[mode](url))
    print(json.dumps({**found, "peak": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
