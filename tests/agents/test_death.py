"""What hangs, will not end, never returns or blocks the loop is found, named and fenced off; the others go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentDead,
    AgentExecutionCore,
    AgentType,
    DeadlineExceeded,
    Fenced,
    Unavailable,
)
from holdfast.agents import AgentView, Trouble
from holdfast.agents.stacks import place_of_coroutine, place_of_thread
from holdfast.agents.threads import DaemonThreads
from tests.agents.bodies import (
    ANA,
    LIMIT_S,
    PATIENT,
    QUICK,
    Deafest,
    Seen,
    Stuck,
    answer,
    blocks,
    deaf,
    question,
    until,
)

SILENT = AgentType(name="silent", timeout_s=60.0, lease_ttl_s=1.0, grace_s=0.2)


def view_of(core: AgentExecutionCore, name: str) -> AgentView:
    """How the agent stands; it was called."""
    view = core.look(name)
    assert view is not None
    return view


class TestSilence:
    async def test_an_agent_without_a_sign_of_life_is_dead(self, core: AgentExecutionCore) -> None:
        async def goes_quiet(_: Any, call: AgentCall) -> None:
            call.progress("begun")
            await asyncio.Event().wait()

        with pytest.raises(AgentDead, match="no sign of life for") as caught:
            await core.execute(ANA, Agent(goes_quiet, type=SILENT))
        assert (caught.value.state, caught.value.why) == ("dead", "silence")
        assert "goes_quiet" in caught.value.where
        assert view_of(core, "goes_quiet").dead == 1

    @pytest.mark.parametrize("sign", ["beat", "progress", "tool", "write"])
    async def test_each_sign_of_life_renews_the_lease(self, core: AgentExecutionCore, sign: str) -> None:
        """It works for two leases, and gives a sign in each quarter of one."""

        class Echo:
            async def call(self, name: str, /, **arguments: Any) -> str:
                return name

        async def speaks(_: Any, call: AgentCall) -> str:
            loop = asyncio.get_running_loop()
            until_at = loop.time() + 2 * SILENT.lease_s
            while loop.time() < until_at:
                await asyncio.sleep(SILENT.lease_s / 4)
                match sign:
                    case "beat":
                        call.beat()
                    case "progress":
                        call.progress("on")
                    case "tool":
                        await call.tool("echo")
                    case _:
                        await call.write(_nothing)
            return "done"

        assert await core.execute(ANA, Agent(speaks, type=SILENT), tools=Echo()) == "done"


class TestDeaf:
    async def test_a_swallowed_cancellation_does_not_hold_the_caller(self, core: AgentExecutionCore) -> None:
        """It is named, and ended where it is suspended: nothing of it is left."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeadlineExceeded, match="dead, in deaf") as caught:
            await core.execute(ANA, Agent(deaf, type=QUICK))
        assert loop.time() - began < LIMIT_S / 3
        assert caught.value.state == "dead"
        assert (view_of(core, "deaf").strays, view_of(core, "deaf").dead) == (0, 1)

    async def test_what_swallows_all_is_left_behind_and_refused(self, core: AgentExecutionCore) -> None:
        deafest, seen, written = Deafest(), Seen(), []

        async def write(text: str) -> None:
            written.append(text)

        with pytest.raises(DeadlineExceeded):
            await core.execute(ANA, Agent(deafest, name="deafest", type=QUICK), emit=seen)
        assert view_of(core, "deafest").strays == 1
        (call,) = deafest.calls
        for late in (call.check, call.beat, lambda: call.progress("late"), lambda: call.spend(tokens=1)):
            with pytest.raises(Fenced, match=r"fenced off \(its time was over\)"):
                late()
        with pytest.raises(Fenced):
            await call.write(write, "late")
        with pytest.raises(Fenced):
            await call.tool("late")
        assert (written, seen.kinds()) == ([], ["started", "failed"])
        deafest.is_free = True
        await until(lambda: view_of(core, "deafest").strays == 0, "it has come to its end")
        assert view_of(core, "deafest").late == 1
        assert seen.kinds() == ["started", "failed"]

    async def test_it_may_clean_up_within_its_grace(self, core: AgentExecutionCore) -> None:
        """The fence comes behind the grace: a clean-up that writes is not refused."""
        written: list[str] = []

        async def write(text: str) -> None:
            written.append(text)

        async def tidy(_: Any, call: AgentCall) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await call.write(write, "undone")

        with pytest.raises(DeadlineExceeded) as caught:
            await core.execute(ANA, Agent(tidy, type=QUICK))
        assert (written, caught.value.state) == (["undone"], "slow")

    async def test_a_result_within_the_grace_comes_too_late(self, core: AgentExecutionCore) -> None:
        async def late(_: Any) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "better late than never"
            return ""

        with pytest.raises(DeadlineExceeded):
            await core.execute(ANA, Agent(late, type=QUICK))

    async def test_a_caller_who_is_cancelled_twice_goes_at_once(self, core: AgentExecutionCore) -> None:
        """He does not wait for the grace of a body that will not end."""
        deafest = Deafest()
        slow_to_end = AgentType(name="slow", timeout_s=60.0, grace_s=LIMIT_S)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(core.execute(ANA, Agent(deafest, name="deafest", type=slow_to_end)))
            await until(lambda: len(deafest.calls) == 1, "it runs")
            task.cancel()
            await until(lambda: deafest.calls[0].is_ending, "its end is asked for")
            task.cancel()
        assert task.cancelled()
        assert deafest.calls[0].is_fenced
        deafest.is_free = True
        await until(lambda: view_of(core, "deafest").strays == 0, "it has come to its end")

    async def test_too_many_that_will_not_end_are_not_called_again(self, core: AgentExecutionCore) -> None:
        """Four strays of one agent, and it is refused by name and place; others are called."""
        deafest = Deafest()
        agent = Agent(deafest, name="deafest", type=AgentType(name="t", timeout_s=0.02, grace_s=0.02))
        calls = (core.execute(ANA, agent) for _ in range(4))
        assert {type(e) for e in await asyncio.gather(*calls, return_exceptions=True)} == {DeadlineExceeded}
        with pytest.raises(Unavailable, match=r"4 calls that were given up have not ended, in Deafest\.run"):
            await core.execute(ANA, agent)
        assert await core.execute(ANA, Agent(answer), question()) is not None
        deafest.is_free = True
        await until(lambda: view_of(core, "deafest").strays == 0, "they have come to their end")

    async def test_a_new_body_is_made_for_the_next_call(self, core: AgentExecutionCore) -> None:
        """The old one may be in any state; it is not called again."""
        bodies = [Deafest()]

        def another() -> Deafest:
            bodies.append(Deafest())
            bodies[-1].is_free = True
            return bodies[-1]

        agent = Agent(bodies[0], name="deafest", type=QUICK, recycle=another)
        with pytest.raises(DeadlineExceeded):
            await core.execute(ANA, agent)
        assert await core.execute(ANA, agent) == "at last"
        assert [len(body.calls) for body in bodies] == [1, 1]
        assert view_of(core, "deafest").recycled == 1
        bodies[0].is_free = True
        await until(lambda: view_of(core, "deafest").strays == 0, "the old one ends")


class TestThreads:
    async def test_a_function_that_never_returns_costs_its_thread_alone(self, core: AgentExecutionCore) -> None:
        stuck, troubles = Stuck(), []
        core._supervision._on_trouble = troubles.append
        with pytest.raises(DeadlineExceeded, match=r"thread-stuck, in Stuck\.run"):
            await core.execute(ANA, Agent(stuck, name="stuck", type=QUICK))
        (trouble,) = troubles
        assert isinstance(trouble, Trouble)
        assert (trouble.agent, trouble.state) == ("stuck", "thread-stuck")
        assert "Stuck.run (bodies.py:" in trouble.where
        assert view_of(core, "stuck").state == "thread-stuck"
        assert await core.execute(ANA, Agent(lambda text: text, name="other"), "hi") == "hi"
        (call,) = stuck.calls
        with pytest.raises(Fenced):
            call.progress("late")
        stuck.go.set()
        await until(lambda: view_of(core, "stuck").strays == 0, "the thread comes back")
        assert view_of(core, "stuck").late == 1

    async def test_one_that_asks_hears_that_its_end_is_wanted(self, core: AgentExecutionCore) -> None:
        """A loop in a thread cannot be cancelled; one that checks ends within its grace."""

        def works_on(_: Any, call: AgentCall) -> None:
            while True:
                call.check()

        with pytest.raises(DeadlineExceeded) as caught:
            await core.execute(ANA, Agent(works_on, type=QUICK))
        assert (caught.value.state, view_of(core, "works_on").strays) == ("slow", 0)

    async def test_it_tells_from_its_thread_in_order(self, core: AgentExecutionCore) -> None:
        def tells(_: Any, call: AgentCall) -> str:
            for number in range(100):
                call.progress(number=number)
            return "done"

        seen = Seen()
        assert await core.execute(ANA, Agent(tells), emit=seen) == "done"
        assert seen.kinds() == ["started", *["progress"] * 100, "finished"]
        assert [event.number for event in seen.events] == list(range(1, 103))
        assert [event.facts["number"] for event in seen.events[1:-1]] == list(range(100))

    def test_stuck_threads_are_replaced(self) -> None:
        """Two threads, both stuck and written off: two more do the work; those that come back do not add up."""
        threads, go = DaemonThreads("holdfast-test", threads_max=2), threading.Event()
        stuck = [threads.submit(go.wait, LIMIT_S) for _ in range(2)]
        waiting = threads.submit(lambda: "done")
        assert not waiting.done()
        threads.write_off()
        assert waiting.result(LIMIT_S) == "done"
        threads.write_off()
        go.set()
        assert all(each.result(LIMIT_S) for each in stuck)
        for _ in stuck:
            threads.take_back()
        assert [threads.submit(lambda: "done").result(LIMIT_S) for _ in range(10)] == ["done"] * 10
        assert len(threads) <= 2
        threads.shutdown()
        with pytest.raises(RuntimeError, match="shut down"):
            threads.submit(lambda: "done")


class TestBlockedLoop:
    async def test_who_blocks_the_loop_is_named_while_he_does(self) -> None:
        """From the watchdog's thread, by agent, function and line: the loop could not tell."""
        troubles: list[tuple[Trouble, int]] = []

        def note(trouble: Trouble) -> None:
            troubles.append((trouble, threading.get_ident()))

        async with AgentExecutionCore(beat_s=0.02, lag_max_s=0.1, block_max_s=60.0, on_trouble=note) as core:
            assert await core.execute(ANA, Agent(blocks(0.5), name="blocker")) == "done"
            view = view_of(core, "blocker")
        (trouble, thread), *others = [each for each in troubles if each[0].agent]
        assert others == []
        assert thread != threading.get_ident()
        assert (trouble.agent, trouble.state) == ("blocker", "loop-blocked")
        assert "a_call_that_blocks (bodies.py:" in trouble.where
        assert "hold_the_loop" in trouble.stack
        assert view.blocks == 1

    async def test_who_blocks_it_for_too_long_is_fenced_off_and_the_others_are_not(
        self, core: AgentExecutionCore
    ) -> None:
        """While one blocks the loop for a second, others, whose leases and timeouts would have ended meanwhile, get
        their time back."""

        async def works(_: Any) -> str:
            for _ in range(4):  # it has still much to do when the loop goes on
                await asyncio.sleep(0.05)
            return "well"

        hurried = AgentType(name="hurried", timeout_s=0.5, lease_ttl_s=0.5)
        victims = [Agent(works, name=f"victim-{n}", type=hurried) for n in range(10)]
        blocker = Agent(blocks(1.0), name="blocker", type=PATIENT)
        results = await asyncio.gather(
            *(core.execute(ANA, each) for each in (*victims[:5], blocker, *victims[5:])), return_exceptions=True
        )
        dead = results.pop(5)
        assert results == ["well"] * 10
        assert isinstance(dead, AgentDead)
        assert (dead.state, dead.why) == ("loop-blocked", "blocked")
        assert "a_call_that_blocks" in dead.where
        assert view_of(core, "blocker").dead == 1

    async def test_a_core_at_rest_does_not_look(self) -> None:
        """No heartbeat, and a watchdog that sleeps: an idle process costs nothing, and blocks nobody's sleep."""
        async with AgentExecutionCore(beat_s=0.02, lag_max_s=0.1, block_max_s=0.4) as core:
            await core.execute(ANA, Agent(answer), question())
            watchdog = core._supervision._watchdog
            assert watchdog is not None
            await until(lambda: "beats=False" in repr(watchdog), "the heartbeat stops")
            await core.execute(ANA, Agent(answer), question())
            assert "beats=True" in repr(watchdog)


class TestPlaces:
    def test_a_thread_that_is_gone_has_no_place(self) -> None:
        assert place_of_thread(0) == ("", "")

    async def test_a_coroutine_is_found_where_it_waits(self) -> None:
        async def outer() -> None:
            await inner()

        async def inner() -> None:
            await asyncio.get_running_loop().create_future()

        work = outer()
        work.send(None)
        place = place_of_coroutine(work)
        assert "inner (test_death.py:" in place.where
        assert place.stack.index("inner") < place.stack.index("outer")
        work.close()
        assert place_of_coroutine(work) == ("", "")


def test_a_program_ends_although_an_agent_never_will(tmp_path: Path) -> None:
    """`asyncio.run` waits for all tasks, and the interpreter for its threads: neither waits for what was left
    behind."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import asyncio, threading
from holdfast import Agent, AgentExecutionCore, AgentType, DeadlineExceeded, UserExecutionContext

async def deafest(_):
    while True:
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            pass

def stuck(_):
    threading.Event().wait()

async def main():
    quick = AgentType(name="quick", timeout_s=0.05, grace_s=0.05)
    async with AgentExecutionCore() as core:
        for body in (deafest, stuck):
            try:
                await core.execute(UserExecutionContext(user="ana"), Agent(body, type=quick))
            except DeadlineExceeded:
                print(body.__name__)

asyncio.run(main())
print("ended")
"""
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stdout.split()) == (0, ["deafest", "stuck", "ended"]), done.stderr


async def _nothing() -> None:
    """A write of nothing."""
