"""A process with an engine and one dependency: it does what it is told on stdin, and answers in JSON on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

from holdfast import Engine
from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker import preset
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from holdfast.testing import AgentDown, FailingAgent, Spell

OPTIONS = preset("database", probes=3, failure_rate=0.3, open_s=1.0, ramp_s=0.5)


async def serve(url: str) -> None:
    agent = FailingAgent()
    dependencies = Dependencies(Dependency(name="db", kind="database", probe=agent, options=OPTIONS))
    async with Engine(url, dependencies=dependencies):
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            answer = await told(words, agent, dependencies)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


async def told(words: list[str], agent: FailingAgent, dependencies: Dependencies) -> dict[str, Any]:
    """Do it, and say how things stand."""
    match words:
        case ["break"]:
            agent.spells = [Spell("fails")]
        case ["mend"]:
            agent.spells = []
        case ["call", times]:
            for _ in range(int(times)):
                with suppress(AgentDown, BreakerOpen):
                    await dependencies.on("db").call(agent)
    view = dependencies.breaker("db").look()
    return {"state": view.state, "reason": view.reason, "well": agent.counts["well"], "calls": len(agent.calls)}


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
