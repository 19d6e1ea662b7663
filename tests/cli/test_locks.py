"""locks: who holds what, for whom and until when, and who waits in which order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from holdfast import Engine
from tests.cli.conftest import Answer, Call


async def looked_at(store: str, call: Call, *words: str) -> Answer:
    """What the program says while ana and bob share a repository, and carl and dora wait for parts of it."""
    async with Engine(store, works=False) as engine, AsyncExitStack() as stack:
        for user in ("ana", "bob"):
            await stack.enter_async_context(engine.lock("repository", "company/cart", mode="shared", user=user))

        async def wait_in_line(user: str, name: str) -> None:
            async with engine.lock("repository", name, user=user):
                return

        waiting = []
        for place, (user, name) in enumerate([("carl", "company"), ("dora", "company/cart")], start=1):
            waiting.append(asyncio.get_running_loop().create_task(wait_in_line(user, name)))
            tick = 0
            while len((await asyncio.to_thread(call, "locks", "--json")).out.split('"token":0')) <= place:
                tick = await engine.store.wait(tick)
        answer = await asyncio.to_thread(call, *words)
        await stack.aclose()
        await asyncio.gather(*waiting)
    return answer


def test_locks_lists_holders_and_waiters_in_order(call: Call, store: str) -> None:
    company, cart = asyncio.run(looked_at(store, call, "locks", "--json")).documents
    assert (company["lock"], cart["lock"]) == ("repository/company", "repository/company/cart")
    assert [(each["by"], each["mode"]) for each in cart["holders"]] == [("ana", "shared"), ("bob", "shared")]
    assert 0 < cart["holders"][0]["token"] < cart["holders"][1]["token"]
    assert all(each["since"] < each["until"] for each in cart["holders"])
    holders = [each["holder"] for each in cart["holders"]]
    (carl,), (dora,) = company["waiters"], cart["waiters"]
    assert (carl["by"], carl["behind"], carl["token"]) == ("carl", holders, 0)
    assert (dora["by"], dora["behind"]) == ("dora", [*holders, carl["holder"]])


def test_locks_are_drawn_with_their_line(call: Call, store: str) -> None:
    drawn = asyncio.run(looked_at(store, call, "locks", "repository/company/cart")).out.splitlines()
    rows = [line.split() for line in drawn[2:]]
    assert [row[0] for row in rows] == ["repository/company/cart", "held", "1."]
    assert ["ana" in rows[0], "bob" in rows[1], "dora" in rows[2]] == [True] * 3
    assert "in" in rows[2]


def test_free_locks_are_not_listed(call: Call, runs: str) -> None:
    assert call("locks", "--json").documents == []
    assert "nobody holds or waits for a lock" in call("locks").out
