"""A cluster in two: engines on one PostgreSQL, each behind a network of its own; one is cut off, then it is not."""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from contextlib import AsyncExitStack

import pytest

from holdfast import Engine, Fenced, RunContext, Workflow, health_of
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change, Key, Put, Query, Scope
from holdfast.store.open import open_store
from holdfast.testing.network import TcpProxy
from tests.engine.crash.findings import found_in
from tests.engine.crash.processes import LIMIT_S, ON_POSTGRES, Stage, until

QUICK = {"lease_ttl_s": 3.0, "heartbeat_s": 0.5}
SLACK_S = 4.0
"""How much later than its lease ends a side may say so: its beat, and a machine that is busy."""


class Side:
    """One side of the cluster: an engine behind a proxy, and a run's body that may be held up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bodies = 0
        self.is_at_work, self.may_end = asyncio.Event(), asyncio.Event()
        self.wf = Workflow("split", data=dict)
        self.wf.add_state("work", self._work, start=True, to="done")
        self.wf.final("done")
        self.engine: Engine
        self.store: OpenStore

    async def _work(self, ctx: RunContext) -> None:
        ctx.data["by"] = await ctx.step("body", self._body)

    async def _body(self) -> str:
        self.bodies += 1
        self.is_at_work.set()
        await self.may_end.wait()
        return self.name

    async def enter(self, url: str, exit: AsyncExitStack) -> TcpProxy:
        """Open its engine behind a new proxy."""
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        proxy = await exit.enter_async_context(TcpProxy(parts.hostname, parts.port))
        login = parts.netloc.rpartition("@")[0]
        self.store = open_store(urllib.parse.urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}")))
        exit.push_async_callback(self.store.close)
        self.engine = await exit.enter_async_context(Engine(self.store, self.wf, **QUICK))  # type: ignore[arg-type]
        return proxy


def _note(text: str) -> Put:
    return Put(key=Key("main", "", "note", "cart"), body=f'"{text}"'.encode(), expect=None)


@ON_POSTGRES
@pytest.mark.parametrize("delivers", [True, False])
async def test_of_two_partitions_one_commits_and_the_other_says_so_within_its_lease(
    stage: Stage, delivers: bool
) -> None:
    """Half-open: nobody hears of anybody. The run and the lock pass to the other side; the side that is cut off turns
    red and calls its lock lost within its lease; after healing, with what it had sent delivered late or lost, none of
    its writes has been taken."""
    cut, other = Side("cut"), Side("other")
    other.may_end.set()
    async with asyncio.timeout(2 * LIMIT_S), AsyncExitStack() as exit:
        proxy = await cut.enter(stage.url, exit)
        run = await cut.engine.start("split", id="T-0")
        await cut.is_at_work.wait()
        await other.enter(stage.url, exit)
        lock = cut.engine.lock("repository", "cart", ttl_s=QUICK["lease_ttl_s"])
        lease = await lock.__aenter__()
        proxy.silence()
        began = time.monotonic()
        cut.may_end.set()  # its memo is on the way for as long as the network is silent
        await lease.lost.wait()
        await until(lambda: health_of(cut.engine).status.value == "red", "red health")
        assert time.monotonic() - began < QUICK["lease_ttl_s"] + SLACK_S
        with pytest.raises(Fenced):
            lease.check()
        async with other.engine.lock("repository", "cart") as theirs:
            assert theirs.token > lease.token
            result = await (await other.engine.get("T-0")).result()
            assert result == {"by": "other"}
            mine = Change(change_id="theirs", writes=(_note("theirs"),), requires=(theirs.requirement(),))
            await other.engine.store.commit(Scope.of_tenant("main"), mine)
        proxy.heal(delivers=delivers)
        await until(lambda: health_of(cut.engine).status.value == "green", "green health")
        stale = Change(change_id="stale", writes=(_note("stale"),), requires=(lease.requirement(),))
        with pytest.raises(Fenced):
            await cut.engine.store.commit(Scope.of_tenant("main"), stale)
        await lock.__aexit__(None, None, None)
        assert await run.result() == {"by": "other"}
        store = other.store
        found = (await found_in(store))["T-0"]
        (note,) = (await store.scan(Scope.system(), Query(kind="note"))).records
        assert not (await store.scan(Scope.system(), Query(kind="memo"))).records
    assert note.body == b'"theirs"'
    assert (found.run.status, found.count("recovered")) == ("done", 1)
    assert found.transitions == [("", "work"), ("work", "done")]
    assert (cut.bodies, other.bodies) == (1, 1)
