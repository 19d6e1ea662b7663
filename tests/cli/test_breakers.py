"""breakers: what processes tell of their dependencies, and orders that they take up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from holdfast import Engine
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from tests.cli.conftest import Call

NODES = (
    Dependency(name="llm", kind="llm"),
    Dependency(name="cache", kind="redis"),
    Dependency(name="agent", kind="agent", needs=("llm",), wants=("cache",)),
)


@asynccontextmanager
async def at_work(store: str) -> AsyncIterator[Dependencies]:
    """An engine with these dependencies."""
    dependencies = Dependencies(*NODES)
    async with Engine(store, dependencies=dependencies):
        yield dependencies


async def until(dependencies: Dependencies, name: str, state: str) -> None:
    moved = asyncio.Event()
    loop = asyncio.get_running_loop()
    silence = dependencies.breaker(name).listen(lambda event: loop.call_soon_threadsafe(moved.set))
    async with asyncio.timeout(10):
        while dependencies.breaker(name).state != state:
            moved.clear()
            await moved.wait()
    silence()


async def told(call: Call, name: str, state: str) -> dict[str, object]:
    """The line of a dependency, once an engine has told that its breaker is in that state."""
    async with asyncio.timeout(10):
        while True:
            answer = await asyncio.to_thread(call, "breakers", "show", name, "--json")
            (line,) = answer.documents
            if line["state"] == state and (line["order"] is None or line["order"]["taken_up"] == line["of"]):
                return dict(line)


def test_an_open_breaker_is_shown_with_whom_it_blocks(call: Call, store: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with at_work(store) as dependencies:
            dependencies.breaker("llm").open("planted", wait_s=60)
            dependencies.breaker("cache").open("planted, too", wait_s=60)
            await told(call, "cache", "open")
            lines = {line["name"]: line for line in (await asyncio.to_thread(call, "breakers", "--json")).documents}
            assert (lines["llm"]["health"], lines["llm"]["reason"], lines["llm"]["of"]) == ("ill", "planted", 1)
            assert lines["llm"]["next_probe"] is not None
            assert (lines["agent"]["health"], lines["agent"]["by"]) == ("blocked", ["llm"])
            table = (await asyncio.to_thread(call, "breakers")).out
            assert "blocked by llm" in table
            assert "1 of 1" in table
            drawn = (await asyncio.to_thread(call, "breakers", "--mermaid")).out
            assert drawn.startswith("flowchart TD\n")
            assert "d2 --> d0" in drawn
            assert "d2 -.-> d1" in drawn
            picture = tmp_path / "graph.svg"
            answer = await asyncio.to_thread(call, "breakers", "--svg", str(picture))
            assert (answer.code, "blocked by llm" in picture.read_text()) == (0, True)
            assert (await asyncio.to_thread(call, "breakers", "--svg", str(tmp_path))).code == 2

    asyncio.run(work())
    after = {line["name"]: line for line in call("breakers", "--json").documents}
    assert (after["llm"]["state"], after["llm"]["said_by"][0]["is_alive"]) == ("open", False)


def test_a_breaker_is_forced_and_released_from_outside_and_every_order_is_journalled(call: Call, store: str) -> None:
    async def work() -> None:
        async with at_work(store) as dependencies:
            await told(call, "llm", "closed")
            forced = await asyncio.to_thread(call, "breakers", "force", "llm", "--reason", "new key", "--by", "ana")
            assert forced.code == 0, forced.err
            await until(dependencies, "llm", "forced_open")
            line = await told(call, "llm", "forced_open")
            assert line["reason"] == "forced_open by ana: new key"
            order = line["order"]
            assert isinstance(order, dict)
            assert (order["by"], order["action"], order["taken_up"]) == ("ana", "forced_open", 1)
            await asyncio.to_thread(call, "breakers", "force", "llm", "--metrics-only", "--reason", "watch")
            await until(dependencies, "llm", "metrics_only")
            await asyncio.to_thread(call, "breakers", "release", "llm")
            await until(dependencies, "llm", "closed")

    asyncio.run(work())
    assert call("verify").code == 0
    rows = call("breakers", "history", "llm", "--json").documents
    orders = [(row["detail"], row["who"], row["reason"]) for row in rows if row["what"] == "breaker ordered"]
    assert orders == [("forced_open", "ana", "new key"), ("metrics_only", "bob", "watch"), ("release", "bob", "")]
    moves = [(row["detail"], row["reason"]) for row in rows if row["what"] == "breakers told"]
    assert ("forced_open", "forced_open by ana: new key") in moves
    assert moves[-1] == ("closed", "")
    assert "new key" in call("breakers", "history", "llm").out


def test_orders_that_cannot_be_are_refused(call: Call, store: str) -> None:
    async def declare() -> None:
        async with at_work(store):
            pass

    asyncio.run(declare())
    unknown = call("breakers", "wake", "disk")
    assert (unknown.code, "there are: agent, cache, llm" in unknown.err) == (1, True)
    assert (call("breakers", "force", "llm").code, call("breakers", "force").code) == (2, 2)
    assert call("breakers", "show", "disk").code == 1
    both = call("breakers", "force", "llm", "--open", "--disabled", "--reason", "x")
    assert (both.code, "expected one of" in both.err) == (2, True)
    assert (call("breakers", "wake", "llm", "--open").code, call("breakers", "history").code) == (2, 2)


def test_a_store_without_dependencies_says_so(call: Call, runs: str) -> None:
    assert "no dependencies" in call("breakers").out
