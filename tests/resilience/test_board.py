"""Engines that share their breakers over the store: by quorum, with one budget of probes, and never waiting for it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.documents.breakers import dependency_lines
from holdfast.errors import Conflict
from holdfast.resilience.breaker import preset
from holdfast.resilience.graph import Dependency
from holdfast.resilience.quorum import Turn
from holdfast.store.contract.records import ABSENT, Scope
from holdfast.workflow.board.postings import BELL, PROBES, give_order, post, read_postings
from holdfast.workflow.process.ownership import LEASE_TTL_S
from tests.resilience.crowd import LAG_S, Crowd, Member
from tests.resilience.world import in_virtual_time

DB = Dependency(name="db", kind="database")
DB3 = Dependency(name="db", kind="database", options=preset("database", probes=3, failure_rate=0.3))
LLM = Dependency(name="llm", kind="llm")


def test_one_of_three_with_a_broken_network_opens_alone() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as (sick, *others):
            sick.world.down = {"db"}
            await sick.call("db", 10)
            for other in others:
                await other.call("db", 10)
            await asyncio.sleep(10)
            assert crowd.states("db") == ["open", "closed", "closed"]
            sick.world.down = set()
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=20)

    in_virtual_time(work)


def test_a_quorum_opens_all_within_the_bound_and_says_why() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as (one, two, idle):
            for member in crowd.members:
                member.world.down = {"db"}
            await one.call("db", 5)
            await two.call("db", 5)
            await crowd.until(lambda: idle.state("db") == "open", within_s=LAG_S)
            view = idle.world.dependencies.breaker("db").look()
            assert view.counts.calls == 0
            assert idle.world.calls == []
            opened = [event.reason for event in idle.world.events if event.kind == "ill"]
            assert opened[0].startswith("others say: ill at 2 of 3 processes, failed: 5 of 5")

    in_virtual_time(work)


def test_three_processes_with_three_permits_make_three_probes_in_all() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB3)
        async with crowd.opened() as members:
            for member in members:
                member.world.down = {"db"}
                await member.call("db", 6, every_s=0.01)
            assert set(crowd.states("db")) == {"open"}
            for member in members:
                member.world.down = set()
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=3)
            assert len({number for _, number in crowd.probes("db")}) == 1
            assert len(crowd.probes("db")) == 3
            assert sum(member.reason("db").startswith("others say: probes of process") for member in members) == 2
            shares = [member.world.dependencies.breaker("db").look().share for member in members]
            assert all(share < 1 for share in shares), "who follows lets calls in by and by, too"

    in_virtual_time(work)


def test_where_callers_are_the_probes_those_of_one_process_are() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB3, has_probes=False)
        async with crowd.opened() as members:
            for member in members:
                member.world.down = {"db"}
                await member.call("db", 6, every_s=0.01)
            for member in members:
                member.world.down, member.world.calls = set(), []
            probed: list[list[int]] = []
            for member in members:
                member.world.dependencies.breaker("db").listen(
                    lambda event: (
                        probed.append([len(each.world.calls) for each in members]) if event.after == "closed" else None
                    )
                )
            callers = [asyncio.ensure_future(member.call("db", 1000, every_s=0.01)) for member in members]
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=10)
            assert sorted(probed[0]) == [0, 0, 3], "what had been called when the first one closed"
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    in_virtual_time(work)


def test_while_it_stays_away_it_is_probed_by_one_at_a_time() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as members:
            for member in members:
                member.world.down = {"db"}
                await member.call("db", 6, every_s=0.01)
            alone_s = members[0].world.dependencies.breaker("db").options.open_max_s
            await asyncio.sleep(120)
            probes = crowd.probes("db")
            assert len(probes) <= 120 / alone_s + 10, "three waves instead of one"
            assert {number for _, number in probes} == {1, 2, 3}, "one that may have a broken network gives way"
            for member in members:
                member.world.down = set()
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=alone_s + 5)

    in_virtual_time(work)


def test_the_rounds_of_all_make_waits_grow_and_end_in_dormancy() -> None:
    """As many rounds in all as one process would make alone; then nobody probes until somebody wakes it, for all."""

    async def work() -> None:
        rounds_max = 6
        crowd = Crowd(3, DB, rounds_max=rounds_max)
        async with crowd.opened() as members:
            for member in members:
                member.world.down = {"db"}
                await member.call("db", 6, every_s=0.01)
            await asyncio.sleep(300)
            probes = crowd.probes("db")
            assert rounds_max <= len(probes) <= rounds_max + 1, "each process counted by itself"
            assert {number for _, number in probes} == {1, 2, 3}
            waits = [after - before for (before, _), (after, _) in itertools.pairwise(probes)]
            assert waits[-1] > 3 * waits[1], "waits did not grow by the rounds of all"
            assert all("dormant" in {event.kind for event in member.world.events} for member in members)
            for member in members:
                member.world.down = set()
            await asyncio.sleep(60)
            assert set(crowd.states("db")) == {"open"}
            await give_order(crowd.memory, "w", "db", "wake", by="ana", reason="mended")
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=10)

    in_virtual_time(work)


def test_what_comes_back_is_told_until_it_takes_all_of_its_calls() -> None:
    async def work() -> None:
        crowd = Crowd(1, DB)
        async with crowd.opened() as (one,):
            one.world.down = {"db"}
            await one.call("db", 6, every_s=0.01)
            one.world.down = set()
            await crowd.until(lambda: one.state("db") == "closed", within_s=20)
            ramp_s = one.world.dependencies.breaker("db").options.ramp_s
            await asyncio.sleep(ramp_s / 2)
            (line,) = dependency_lines(await read_postings(crowd.memory), now=crowd.memory.now_s())
            assert (line.health, line.state) == ("ramping", "closed")
            assert 0.4 < line.share < 0.7
            await asyncio.sleep(ramp_s)
            seen = await read_postings(crowd.memory)
            assert [each.words for each in seen.statements.values()] == [{}], "it is said when the ramp has ended"
            (line,) = dependency_lines(seen, now=crowd.memory.now_s())
            assert (line.health, line.share) == ("well", 1.0)

    in_virtual_time(work)


def test_with_the_store_away_nothing_waits_and_each_decides_alone() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as members:
            for member in members:
                member.store.fall_ill("the store is away")
            for member in members[:2]:
                member.world.down = {"db"}
                began = asyncio.get_running_loop().time()
                await member.call("db", 6, every_s=0.0)
                assert asyncio.get_running_loop().time() - began < 0.2
            assert crowd.states("db") == ["open", "open", "closed"]
            await crowd.until(lambda: "breakers" in members[0].engine.inside.problems, within_s=5)
            for member in members:
                member.world.down = set()
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=20)
            assert len(crowd.probes("db")) == 2, "each for itself"
            for member in members:
                member.store.recover()
            await crowd.until(lambda: "breakers" not in members[0].engine.inside.problems, within_s=10)

    in_virtual_time(work)


def test_while_all_is_well_nothing_is_written() -> None:
    async def work() -> None:
        crowd = Crowd(2, DB, LLM)
        async with crowd.opened() as members:
            before = (await crowd.memory.read(Scope.system(), [BELL]))[0]
            for member in members:
                await member.call("db", 200)
            after = (await crowd.memory.read(Scope.system(), [BELL]))[0]
            assert before is not None
            assert before == after

    in_virtual_time(work)


def test_who_suspects_itself_tells_nothing_and_follows_nobody() -> None:
    async def work() -> None:
        nodes = [Dependency(name=f"api{number}", kind="http") for number in range(4)]
        crowd = Crowd(3, *nodes)
        async with crowd.opened() as (sick, also, third):
            for member in (sick, also):
                member.world.down = {node.name for node in nodes}
                for node in nodes:
                    await member.call(node.name, 12, every_s=0.0)
                assert member.world.dependencies.is_self_suspect
            await asyncio.sleep(LAG_S)
            said = (await read_postings(crowd.memory)).statements
            mine = said[sick.engine.inside.ownership.process_id]
            assert (mine.is_self_suspect, mine.words) == (True, {})
            assert [third.state(node.name) for node in nodes] == ["closed"] * 4
            sick.world.down = also.world.down = set()
            await crowd.until(lambda: all(set(crowd.states(node.name)) == {"closed"} for node in nodes), within_s=120)

    in_virtual_time(work)


def test_a_prober_that_dies_in_mid_probe_is_followed_by_one_other() -> None:
    """Its turn hangs there, and its process lease lapses: no second wave, and nobody waits for the turn's own end."""

    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as (dead, *others):
            for member in crowd.members:
                member.world.down = {"db"}
                await member.call("db", 6, every_s=0.01)
            dead.world.down = set()
            dead.world.hangs = True
            await crowd.until(lambda: any(number == 1 for _, number in crowd.probes("db")), within_s=60)
            before = len(crowd.probes("db"))
            dead.store.fall_ill("power cut")
            await dead.engine.close()
            for member in others:
                member.world.down = set()
            began = asyncio.get_running_loop().time()
            await crowd.until(lambda: crowd.states("db")[1:] == ["closed", "closed"], within_s=LEASE_TTL_S + 2 * LAG_S)
            assert asyncio.get_running_loop().time() - began > 1, "its turn was respected while its lease was good"
            assert len(crowd.probes("db")) == before + 1

    in_virtual_time(work)


def test_a_restarted_engine_goes_on_where_its_predecessor_was() -> None:
    async def work() -> None:
        crowd = Crowd(1, DB)
        async with crowd.opened() as (one,):
            one.world.down = {"db"}
            await one.call("db", 6, every_s=0.01)
            await asyncio.sleep(20)
            before = one.world.dependencies.breaker("db").look()
            assert before.attempt > 2
        successor = crowd.member(2)
        successor.world.down = {"db"}
        async with successor.engine:
            view = successor.world.dependencies.breaker("db").look()
            assert (view.state, view.attempt) == ("open", before.attempt)
            assert view.retry_after_s == pytest.approx(before.retry_after_s, abs=LAG_S)
            successor.world.down = set()
            await crowd.until(lambda: successor.state("db") == "closed", within_s=30)
        third = crowd.member(3)
        async with third.engine:
            assert third.state("db") == "closed", "the last word counts"

    in_virtual_time(work)


def test_a_stale_write_is_refused() -> None:
    async def work() -> None:
        crowd = Crowd(1, DB)
        async with crowd.opened():
            turn = Turn("somebody", "probing", 1.0, 2.0)
            facts = {"breaker": "db"}
            await post(crowd.memory, "a", PROBES + "db", turn, expect=ABSENT, what="begun", facts=facts)
            with pytest.raises(Conflict):
                await post(crowd.memory, "b", PROBES + "db", turn, expect=ABSENT, what="begun", facts=facts)

    in_virtual_time(work)


def test_a_posting_that_cannot_be_read_silences_nobody() -> None:
    async def work() -> None:
        crowd = Crowd(3, DB)
        async with crowd.opened() as (one, two, third):
            newer = {"holder": "x", "outcome": "of a newer version", "at": 1.0, "until": 1.0}
            await post(crowd.memory, "n", PROBES + "other", newer, expect=ABSENT, what="begun", facts={})
            for member in (one, two):
                member.world.down = {"db"}
                await member.call("db", 5)
            await crowd.until(lambda: third.state("db") == "open", within_s=LAG_S)

    in_virtual_time(work)


def test_orders_are_taken_up_by_all_and_by_who_comes_later() -> None:
    async def work() -> None:
        crowd = Crowd(2, DB)
        async with crowd.opened() as members:
            await give_order(crowd.memory, "o1", "db", "forced_open", by="ana", reason="maintenance")
            await crowd.until(lambda: set(crowd.states("db")) == {"forced_open"}, within_s=LAG_S)
            assert members[0].reason("db") == "forced_open by ana: maintenance"
            late = crowd.member(3)
            async with late.engine:
                assert late.state("db") == "forced_open"
            await give_order(crowd.memory, "o2", "db", "release", by="ana", reason="")
            await crowd.until(lambda: set(crowd.states("db")) == {"closed"}, within_s=LAG_S)
            members[0].world.dependencies.breaker("db").open("planted", wait_s=60)
            await asyncio.sleep(LAG_S)
            assert members[0].state("db") == "open", "an order is taken up once"
            later = crowd.member(4)
            async with later.engine:
                assert later.state("db") == "closed"
            said = (await read_postings(crowd.memory)).statements[members[0].engine.inside.ownership.process_id]
            assert said.orders == {"db": 2}
        verified = await crowd.memory.verify()
        assert verified.is_clean, verified.problems

    in_virtual_time(work)


NETWORK = (DB, LLM, Dependency(name="agent", kind="agent", needs=("db",), wants=("llm",), recovery_s=20))
troubles = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["db", "llm", "agent", "the store"]),
        st.floats(0, 20),
        st.floats(0.5, 15),
    ),
    max_size=8,
)


@settings(max_examples=4, deadline=None)
@given(troubles, st.integers(0, 1000))
def test_whatever_each_network_does_one_probes_at_a_time_and_all_comes_back(
    troubles: list[tuple[int, str, float, float]], seed: int
) -> None:
    """While none is cut off from the store, no two probe one thing at once; and in the end all is closed."""

    async def work() -> None:
        crowd = Crowd(3, *NETWORK)
        async with crowd.opened() as members:
            tasks = [asyncio.ensure_future(strike(members[which], *trouble)) for which, *trouble in troubles]
            tasks += [
                asyncio.ensure_future(member.call(name, 300)) for member in members for name in ("db", "llm", "agent")
            ]
            await asyncio.gather(*tasks)
            names = [node.name for node in NETWORK]
            await crowd.until(lambda: all(set(crowd.states(name)) == {"closed"} for name in names), within_s=150)
            if not any(what == "the store" for _, what, _, _ in troubles):
                assert_probed_in_turn(crowd, names)

    in_virtual_time(work, seed=seed)


async def strike(member: Member, what: str, after_s: float, for_s: float) -> None:
    await asyncio.sleep(after_s)
    if what == "the store":
        member.store.fall_ill("planted")
        await asyncio.sleep(for_s)
        member.store.recover()
    else:
        member.world.down.add(what)
        await asyncio.sleep(for_s)
        member.world.down.discard(what)


def assert_probed_in_turn(crowd: Crowd, names: list[str]) -> None:
    for name in names:
        probes = crowd.probes(name)
        for (at, number), (next_at, other) in itertools.pairwise(probes):
            assert number == other or next_at - at > 0.01, f"{number} and {other} probed {name} at once, at {at}"
