"""LangGraph with its AsyncSqliteSaver and `durability="sync"`: WAL by its own choice, SQLite's `synchronous=FULL`."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import Witness


class Count(TypedDict):
    """What the graph carries from node to node."""

    number: int


async def run(folder: Path, size: Size) -> Measured:
    """A node for each step, a thread for each run."""
    path = folder / "langgraph.sqlite"
    witness = Witness(path, "SELECT count(*) FROM checkpoints")

    async def add(state: Count) -> Count:
        witness.saw_body()
        return {"number": state["number"] + 1}

    graph = StateGraph(Count)
    names = [f"s{place}" for place in range(size.steps)]
    for name in names:
        graph.add_node(name, add)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        compiled = graph.compile(checkpointer=saver)

        async def one(number: int) -> int:
            config: RunnableConfig = {"configurable": {"thread_id": str(number)}, "recursion_limit": size.steps + 5}
            end = await compiled.ainvoke(Count(number=number), config, durability="sync")
            result: int = end["number"]
            return result

        return await measured(one, size, witness)
