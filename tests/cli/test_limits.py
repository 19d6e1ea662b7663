"""limits: who has a place since when, who waits in which order, and when there is room next."""

from __future__ import annotations

import asyncio

from holdfast import Engine, Limit, RunContext, Workflow
from tests.cli.conftest import Answer, Call

LLM = Limit("llm", places=1, rate="1/10s")


async def looked_at(store: str, call: Call, *words: str) -> Answer:
    """What the program says while ana's run has the only place and bob's waits for it."""
    wf = Workflow("ask", data=dict)
    begun, over = asyncio.Event(), asyncio.Event()

    @wf.state("ask", start=True, to="end", limits=LLM)
    async def ask(ctx: RunContext) -> None:
        begun.set()
        await over.wait()

    wf.final("end")
    async with Engine(store, wf) as engine:
        await engine.start("ask", id="A-1", user="ana")
        await begun.wait()
        await engine.start("ask", id="B-1", user="bob", priority="urgent")
        return await asyncio.to_thread(call, *words)


def test_limits_lists_holders_and_waiters(call: Call, store: str) -> None:
    (llm,) = asyncio.run(looked_at(store, call, "limits", "--json")).documents
    assert (llm["limit"], llm["rule"]) == ("llm", "places=1 rate=1/10s burst=1")
    assert (llm["room"], llm["next_at"], llm["waiting"]) == (0, None, 1)
    assert [(each["by"], each["until"]) for each in llm["places"]] == [("ana", None)]
    assert [(each["by"], each["priority"]) for each in llm["waiters"]] == [("bob", "urgent")]


def test_limits_are_drawn_with_their_line(call: Call, store: str) -> None:
    drawn = asyncio.run(looked_at(store, call, "limits", "llm")).out
    assert "room when a place is given back" in " ".join(drawn.split())
    assert "1. in line" in drawn


def test_a_run_says_what_it_waits_for_and_how_urgent_it_is(call: Call, store: str) -> None:
    shown = asyncio.run(looked_at(store, call, "show", "B-1", "--json")).documents[0]
    (leaf,) = shown["leaves"]
    assert (leaf["phase"], leaf["queues_for"], leaf["places"]) == ("queuing", "llm", [])
    assert shown["run"]["priority"] == "urgent"
    drawn = call("show", "B-1").out
    assert "llm, in line" in drawn
    assert "urgent" in drawn


def test_where_none_was_used_none_is_listed(call: Call, runs: str) -> None:
    assert call("limits", "--json").documents == []
    assert "no limit was ever used" in call("limits").out
