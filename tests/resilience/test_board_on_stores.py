"""The board on every store that processes share: what hangs there is read, refused, rung and followed alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from holdfast import Engine, RunContext, Workflow, health_of
from holdfast.cli.documents.breakers import DependencyLine, dependency_lines
from holdfast.errors import BreakerOpen, Conflict, InvalidInput, NotFound
from holdfast.observe.rules import Status
from holdfast.resilience.breaker import preset
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from holdfast.resilience.quorum import Turn
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import ABSENT
from holdfast.store.open import open_store
from holdfast.store.servers.breaker import breakers_of
from holdfast.testing import AgentDown, FailingAgent, Spell
from holdfast.testing.servers import ValkeyServer
from holdfast.workflow.board.postings import PROBES, give_order, history_of, post, read_postings
from tests.store.places import Places, handed_out

PATIENCE_S = 30.0
OPTIONS = preset("database", probes=3, failure_rate=0.3, open_s=0.5, open_max_s=1.0, ramp_s=0.5)
SHARED = ["sqlite", "postgres", "redis", "hybrid"]


def mirror(places: Places, server: ValkeyServer) -> str:
    database = places.database()
    return f"hybrid+{database}?cache={server.url}"


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with handed_out(request, tmp_path) as places:
        if request.param == "hybrid":
            yield mirror(places, request.getfixturevalue("valkey_server"))
        else:
            yield places.url(request.param)


class Member:
    """One engine with a store of its own, and a dependency that is up or down for it."""

    def __init__(self, url: str) -> None:
        self.agent = FailingAgent()
        db = Dependency(name="db", kind="database", probe=self.agent, options=OPTIONS)
        self.dependencies = Dependencies(db)
        self.engine = Engine(url, dependencies=self.dependencies, durable=False)

    @property
    def state(self) -> str:
        return self.dependencies.breaker("db").state

    async def call(self, times: int) -> None:
        for _ in range(times):
            with suppress(AgentDown, BreakerOpen):
                await self.dependencies.on("db").call(self.agent)


@pytest.fixture
async def members(url: str) -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as exit:
        made = [Member(url) for _ in range(3)]
        for member in made:
            await exit.enter_async_context(member.engine)
        yield made


@pytest.fixture
async def store(url: str) -> AsyncIterator[OpenStore]:
    opened = open_store(url)
    await opened.migrate()
    yield opened
    await opened.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  the condition is in other engines
            await asyncio.sleep(0.01)


async def test_a_stale_posting_is_refused_and_the_first_one_hangs(store: OpenStore) -> None:
    facts = {"breaker": "db"}
    first, second = Turn("one", "probing", 1.0, 2.0), Turn("two", "probing", 1.0, 2.0)
    version = await post(store, "a", PROBES + "db", first, expect=ABSENT, what="begun", facts=facts)
    with pytest.raises(Conflict):
        await post(store, "b", PROBES + "db", second, expect=ABSENT, what="begun", facts=facts)
    seen = await read_postings(store)
    assert seen.turns == {"db": first}
    await post(store, "c", PROBES + "db", second, expect=version, what="begun", facts=facts)
    assert [event.change_id for event in await history_of(store, "db")] == ["a", "c"]


async def test_of_two_who_take_the_turn_one_gets_it(store: OpenStore) -> None:
    turns = [Turn(str(number), "probing", 1.0, 2.0) for number in range(8)]
    took = await asyncio.gather(
        *(post(store, f"t{t.holder}", PROBES + "db", t, expect=ABSENT, what="begun", facts={}) for t in turns),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in took) == [*["Conflict"] * 7, "int"]


async def test_engines_agree_probe_in_turn_and_take_up_orders(members: list[Member], store: OpenStore) -> None:
    one, two, idle = members
    for member in members:
        member.agent.spells = [Spell("fails")]
    await one.call(6)
    assert idle.state == "closed"
    await two.call(6)
    await until(lambda: idle.state == "open")
    assert len(idle.agent.calls) == idle.agent.counts["fails"], "it opened by others' word"
    for member in members:
        member.agent.spells = []
    await until(lambda: {member.state for member in members} == {"closed"})
    assert sum(member.agent.counts["well"] for member in members) == OPTIONS.probes, (
        "three permits, and one that probes"
    )

    await give_order(store, "o1", "db", "forced_open", by="ana", reason="maintenance")
    await until(lambda: {member.state for member in members} == {"forced_open"})
    (line,) = [each for each in dependency_lines(await read_postings(store), now=store.now_s()) if each.name == "db"]
    assert (line.state, line.of) == ("forced_open", 3)
    await give_order(store, "o2", "db", "release", by="ana", reason="done")
    await until(lambda: {member.state for member in members} == {"closed"})
    with pytest.raises(NotFound, match="there are: db"):
        await give_order(store, "o3", "dp", "wake", by="ana", reason="")
    rows = [(event.name, event.key.id.partition("/")[0]) for event in await history_of(store, "db")]
    assert ("breaker ordered", "order") in rows
    assert ("breaker probed", "probe") in rows


async def test_the_servers_of_the_store_are_shown_and_ordered(members: list[Member], store: OpenStore) -> None:
    """The one in which the board hangs cannot be forced open, for nobody would hear of its release."""
    names = [guard.breaker.name for guard in breakers_of(store)]
    lines = dependency_lines(await read_postings(store), now=store.now_s())
    assert [line.name for line in lines if line.name != "db"] == names
    assert {line.health for line in lines} == {"well"}
    if not names:
        return
    ground, *others = names
    with pytest.raises(InvalidInput, match="nobody would hear"):
        await give_order(store, "o1", ground, "forced_open", by="ana", reason="maintenance")
    for name in others:
        await give_order(store, "o2", name, "forced_open", by="ana", reason="maintenance")
        caches = [breakers_of(member.engine.store)[1].breaker for member in members]
        await until(lambda caches=caches: {each.state for each in caches} == {"forced_open"})
        await until(lambda: all(weakness(member) is not None for member in members))
        await give_order(store, "o3", name, "release", by="ana", reason="done")
        await until(lambda: all(weakness(member) is None for member in members))


def weakness(member: Member) -> str | None:
    return member.engine.store.weakness()  # type: ignore[attr-defined,no-any-return]


async def test_a_cache_that_is_away_is_shown_by_health_and_by_the_board(tmp_path: Path, places: Places) -> None:
    """Told over PostgreSQL while Redis is down; runs go on meanwhile, and it is used again when it is back."""
    workflow = Workflow("tick", data=dict)

    @workflow.state("tick", start=True, to="done")
    async def tick(ctx: RunContext) -> None:
        ctx.data["is"] = "done"

    workflow.final("done")
    with ValkeyServer() as server:
        async with Engine(mirror(places, server), workflow) as engine:

            async def line_once(is_so: Callable[[DependencyLine], bool]) -> DependencyLine:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        run = await engine.start("tick", {})
                        await run.reach("done")
                        lines = dependency_lines(await read_postings(engine.store), now=engine.store.now_s())
                        found = [line for line in lines if line.name == "store.cache" and is_so(line)]
                        if found:
                            return found[0]

            await line_once(lambda line: line.health == "well")
            server.kill()
            line = await line_once(lambda line: line.state == "open")
            assert line.said_by[0].last_error
            health = health_of(engine)
            assert health.status is Status.DEGRADED
            assert any("cache is not used" in check.seen for check in health.checks)
            server.start()
            await line_once(lambda line: line.health == "well")
            async with asyncio.timeout(PATIENCE_S):
                while health_of(engine).status is not Status.GREEN:
                    await (await engine.start("tick", {})).reach("done")


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    with handed_out(request, tmp_path) as made:
        yield made
