"""LangGraph with its AsyncSqliteSaver and `durability="sync"`: WAL by its own choice, SQLite's `synchronous=FULL`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness, Witness


class Count(TypedDict):
    """What the graph carries from node to node."""

    number: int


async def run(place: str, size: Size) -> Measured:
    """In a file of its own."""
    path = Path(place) / "langgraph.sqlite"
    witness = FileWitness(path, "SELECT count(*) FROM checkpoints")
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        return await measured_with([saver], size, witness)


async def measured_with(savers: Sequence[BaseCheckpointSaver[str]], size: Size, witness: Witness) -> Measured:
    """A node for each step, a thread for each run; runs take the `savers` in turn."""

    async def add(state: Count) -> Count:
        witness.saw_body()
        return {"number": state["number"] + 1}

    graph = StateGraph(Count)
    names = [f"s{place}" for place in range(size.steps)]
    for name in names:
        graph.add_node(name, add)
    for before, after in itertools.pairwise([START, *names, END]):
        graph.add_edge(before, after)
    compiled = [graph.compile(checkpointer=saver) for saver in savers]

    async def one(number: int) -> int:
        config: RunnableConfig = {"configurable": {"thread_id": str(number)}, "recursion_limit": size.steps + 5}
        end = await compiled[number % len(compiled)].ainvoke(Count(number=number), config, durability="sync")
        result: int = end["number"]
        return result

    return await measured(one, size, witness)
