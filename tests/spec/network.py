"""The chain triage -> supervisor -> data -> optimization, and its domains: presets as they are shipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast import Dependencies, Dependency, Retry, RunContext, Workflow
from holdfast.clock import Clock, seeded_randomness

AGENTS = ("triage", "supervisor", "data", "optimization")
Ping = Callable[[], Awaitable[object]]


class Overloaded(Exception):
    """What a model's vendor answers when it is ill."""

    status_code = 529


class Network:
    """Four agents over a model, a database and a cache. `down` names what is ill of those that are only played here;
    `database` and `cache` are calls to the real ones, where there are any."""

    def __init__(self, *, clock: Clock | None = None, database: Ping | None = None, cache: Ping | None = None) -> None:
        self.down: set[str] = set()
        self.calls = Counter[str]()
        self.effects = Counter[str]()
        self._database = database or self._played("db")
        self._cache = cache or self._played("cache")
        self.dependencies = Dependencies(
            Dependency(name="llm", kind="llm", probe=self._played("llm")),
            Dependency(name="db", kind="database", probe=self._database),
            Dependency(name="cache", kind="redis", probe=self._cache),
            Dependency(name="triage", kind="agent", needs=("llm",), wants=("cache",), recovery_s=30),
            Dependency(name="supervisor", kind="agent", needs=("triage",), recovery_s=60),
            Dependency(name="data", kind="agent", needs=("db",), wants=("cache",), recovery_s=45),
            Dependency(name="optimization", kind="agent", needs=("llm", "data"), recovery_s=90),
            clock=clock,
            randomness=seeded_randomness(7),
        )

    async def ask_model(self) -> str:
        self.calls["llm"] += 1
        return await self.dependencies.on("llm").call(self._played("llm"))

    async def query(self) -> str:
        await self.dependencies.on("db").call(self._database)
        return "rows"

    async def look_up(self) -> str:
        """From the cache, or else without it."""

        async def cached() -> str:
            await self._cache()
            return "cached"

        async def without(error: Exception) -> str:
            return "without"

        return await self.dependencies.on("cache").call_or(without, cached)

    async def effect(self, run: str, what: str) -> str:
        self.effects[f"{run} {what}"] += 1
        return what

    def workflow(self, name: str = "chain") -> Workflow:
        """Each agent is a state with a durable step; the optimization needs what the data agent found."""
        workflow = Workflow(name, data=dict, retry=Retry(attempts_max=3, jitter=0))

        @workflow.state("triage", start=True, to="supervisor", needs=["triage"])
        async def triage(ctx: RunContext) -> None:
            ctx.data["kind"] = await self._agent(ctx, "triage", self.ask_model)

        @workflow.state("supervisor", to="data", needs=["supervisor"])
        async def supervisor(ctx: RunContext) -> None:
            ctx.data["plan"] = await self._agent(ctx, "supervisor", self.ask_model)

        @workflow.state("data", to="optimization", needs=["data"])
        async def data(ctx: RunContext) -> None:
            ctx.data["rows"] = await self._agent(ctx, "data", self.query)
            ctx.data["cache"] = await ctx.step("look up", self.look_up)

        @workflow.state("optimization", to="done", needs=["optimization"])
        async def optimization(ctx: RunContext) -> None:
            ctx.data["saving"] = await self._agent(ctx, "optimization", self.ask_model)

        workflow.final("done")
        return workflow

    def queries(self, name: str = "queries") -> Workflow:
        """What needs the database alone."""
        workflow = Workflow(name, data=dict)

        @workflow.state("query", start=True, to="done", needs=["db"])
        async def query(ctx: RunContext) -> None:
            ctx.data["rows"] = await ctx.step("query", self.query)

        workflow.final("done")
        return workflow

    async def _agent(self, ctx: RunContext, name: str, work: Callable[[], Awaitable[str]]) -> str:
        await ctx.step("effect", self.effect, ctx.run_id, name)
        return await ctx.step(name, self.dependencies.on(name).call, work)

    def _played(self, name: str) -> Callable[[], Awaitable[Any]]:
        async def call() -> str:
            if name in self.down:
                raise Overloaded("overloaded") if name == "llm" else ConnectionError(f"{name} is away")
            return "answer"

        return call
