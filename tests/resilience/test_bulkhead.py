"""Who gets a place, in which order, and that every place comes back."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from holdfast import Bulkhead, BulkheadFull, Deadline, DeadlineExceeded, InvalidInput
from holdfast.resilience.healing import Class
from tests.resilience.stage import Boom, Hands


class Callers:
    """Calls that hold their place until they are let go, and the order in which they got it."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.bulkhead = bulkhead
        self.placed: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(
        self, name: str, *, user: str = "", load: Class = "people", deadline: Deadline | None = None
    ) -> None:
        gate = self._gates[name] = asyncio.Event()

        async def call() -> None:
            async with self.bulkhead.place(user=user, load=load, deadline=deadline):
                self.placed.append(name)
                await gate.wait()

        self.tasks[name] = asyncio.ensure_future(call())
        await a_moment()

    async def let_go(self, name: str) -> None:
        self._gates[name].set()
        await a_moment()

    async def finish(self) -> None:
        for gate in self._gates.values():
            gate.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestPlaces:
    async def test_the_third_waits_and_the_fourth_is_refused_at_once(self) -> None:
        bulkhead = Bulkhead("model", places=2, queue_max=1)
        callers = Callers(bulkhead)
        for name in "abc":
            await callers.come(name)
        assert (callers.placed, bulkhead.look().waiting) == (["a", "b"], 1)
        with pytest.raises(BulkheadFull, match="2 of 2 places are taken") as refused:
            await bulkhead.enter()
        assert (refused.value.bulkhead, refused.value.reason) == ("model", "queue")
        await callers.let_go("a")
        assert callers.placed == ["a", "b", "c"]
        await callers.finish()
        assert bulkhead.look()[1:] == (2, 0, 0, 1, 0)

    async def test_a_thousand_cancelled_waiters_leave_it_as_it_was(self) -> None:
        bulkhead = Bulkhead("model", places=2, queue_max=10)
        callers = Callers(bulkhead)
        await callers.come("a")
        await callers.come("b")
        for number in range(1000):
            waiter = asyncio.ensure_future(bulkhead.enter())
            await asyncio.sleep(0)
            if number % 2:  # in half of the cases at the very moment at which he gets the place of "a"
                bulkhead.exit()
                waiter.cancel()
            else:
                waiter.cancel()
            with suppress(asyncio.CancelledError):
                await waiter
            if number % 2:
                await bulkhead.enter()
        assert bulkhead.look()[1:4] == (2, 2, 0)
        await callers.finish()
        assert bulkhead.look()[1:4] == (2, 0, 0)

    @pytest.mark.parametrize("ending", ["raise", "cancel", "timeout"])
    async def test_a_place_comes_back_once_however_its_block_ends(self, ending: str) -> None:
        bulkhead = Bulkhead("model", places=1)

        async def call() -> None:
            async with asyncio.timeout(0.01 if ending == "timeout" else None), bulkhead.place(user="ana"):
                if ending == "raise":
                    raise Boom
                await asyncio.Event().wait()

        task = asyncio.ensure_future(call())
        await a_moment()
        if ending == "cancel":
            task.cancel()
        with suppress(Boom, TimeoutError, asyncio.CancelledError):
            await task
        assert bulkhead.look().taken == 0
        async with bulkhead.place(user="ana"):
            assert bulkhead.look().taken == 1

    async def test_a_place_that_is_given_back_twice_is_our_mistake(self) -> None:
        bulkhead = Bulkhead("model", places=1)
        await bulkhead.enter()
        bulkhead.exit()
        with pytest.raises(AssertionError, match="given back twice"):
            bulkhead.exit()

    async def test_more_places_let_waiters_in_and_fewer_let_nobody_go(self) -> None:
        bulkhead = Bulkhead("model", places=1)
        callers = Callers(bulkhead)
        for name in "abcd":
            await callers.come(name)
        bulkhead.resize(3)
        await a_moment()
        assert callers.placed == ["a", "b", "c"]
        bulkhead.resize(1)
        await callers.let_go("a")
        await callers.let_go("b")
        assert callers.placed == ["a", "b", "c"]
        await callers.let_go("c")
        assert callers.placed == ["a", "b", "c", "d"]
        await callers.finish()

    @pytest.mark.parametrize(
        "options", [{"places": 0}, {"queue_max": -1}, {"users_share": 0.0}, {"users_share": 1.1}, {"wait_max_s": 0.0}]
    )
    def test_values_that_mean_nothing_are_refused(self, options: dict[str, float]) -> None:
        with pytest.raises(InvalidInput, match="bulkhead model: expected"):
            Bulkhead("model", **{"places": 1, **options})  # type: ignore[arg-type]

    async def test_an_unknown_class_of_load_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="expected a load of people, remediation, background, saw 'peopel'"):
            await Bulkhead("model", places=1).enter(load="peopel")  # type: ignore[arg-type]


class TestDeadlines:
    async def test_whoever_waits_past_his_deadline_is_dropped_before_he_runs(self) -> None:
        clock = Hands()
        bulkhead = Bulkhead("model", places=1, clock=clock)
        callers = Callers(bulkhead)
        await callers.come("a")
        await callers.come("late", deadline=Deadline(5.0, clock=clock))
        await callers.come("b")
        clock.pass_s(5)
        await callers.let_go("a")
        assert callers.placed == ["a", "b"]
        with pytest.raises(DeadlineExceeded, match="nothing was called"):
            await callers.tasks["late"]
        assert bulkhead.look().dropped == 1
        await callers.finish()

    async def test_he_is_told_at_his_deadline_though_no_place_is_free(self) -> None:
        bulkhead = Bulkhead("model", places=1)
        async with bulkhead.place():
            with pytest.raises(DeadlineExceeded):
                await bulkhead.enter(deadline=Deadline(0.01))
            assert bulkhead.look().waiting == 0

    async def test_a_deadline_that_is_over_gets_no_place(self) -> None:
        with pytest.raises(DeadlineExceeded, match="it was not begun"):
            await Bulkhead("model", places=1).enter(deadline=Deadline(-1.0))

    async def test_nobody_waits_for_ever(self) -> None:
        bulkhead = Bulkhead("model", places=1, wait_max_s=0.01)
        async with bulkhead.place():
            with pytest.raises(BulkheadFull, match=r"no place within 0\.01 s"):
                await bulkhead.enter()


class TestFairness:
    async def test_equals_go_first_come_first_served(self) -> None:
        callers = Callers(Bulkhead("model", places=1))
        for name in "abcdef":
            await callers.come(name, user=name)
        for name in "abcde":
            await callers.let_go(name)
        assert callers.placed == list("abcdef")
        await callers.finish()

    async def test_people_go_before_the_background_which_does_not_starve(self) -> None:
        callers = Callers(Bulkhead("model", places=1, queue_max=200))
        await callers.come("first")
        loads: tuple[Class, ...] = ("background", "remediation", "people")
        for load in loads:
            for number in range(100):
                await callers.come(f"{load} {number}", load=load)
        for number in range(63):
            await callers.let_go(callers.placed[number])
        got = [name.split()[0] for name in callers.placed[1:]]
        assert got[0] == "people"
        assert [got.count(load) for load in loads] == [3, 12, 48]
        await callers.finish()

    async def test_a_flood_of_one_user_leaves_places_and_turns_to_others(self) -> None:
        bulkhead = Bulkhead("model", places=4, queue_max=10)
        callers = Callers(bulkhead)
        for number in range(7):
            await callers.come(f"flood {number}", user="ana")
        assert (bulkhead.look().taken, bulkhead.look().waiting) == (2, 5)
        with pytest.raises(BulkheadFull, match="user ana has his share"):
            await bulkhead.enter("ana")
        await callers.come("b1", user="ben")
        await callers.come("c1", user="cem")
        assert callers.placed[2:] == ["b1", "c1"], "her flood left their places"
        await callers.come("b2", user="ben")
        await callers.let_go("flood 0")
        await callers.let_go("b1")
        assert callers.placed[4:] == ["flood 2", "b2"], "her queue stands behind itself"
        await callers.finish()
        assert bulkhead.look().taken == 0

    async def test_in_one_place_users_take_turns(self) -> None:
        callers = Callers(Bulkhead("model", places=1, queue_max=40))
        for number in range(10):
            await callers.come(f"a{number}", user="ana")
        await callers.come("b0", user="ben")
        await callers.let_go("a0")
        await callers.let_go("a1")
        assert callers.placed == ["a0", "a1", "b0"]
        await callers.finish()


class TestLoops:
    def test_two_loops_share_its_places(self) -> None:
        bulkhead = Bulkhead("model", places=3, queue_max=1000)
        most, at_once, guard = [0], [0], threading.Lock()

        async def call() -> None:
            async with bulkhead.place():
                with guard:
                    at_once[0] += 1
                    most[0] = max(most[0], at_once[0])
                await asyncio.sleep(0)
                with guard:
                    at_once[0] -= 1

        async def many() -> None:
            await asyncio.gather(*(call() for _ in range(300)))

        threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert most[0] == 3
        assert bulkhead.look()[1:4] == (3, 0, 0)

    def test_a_waiter_whose_loop_was_closed_takes_no_place(self) -> None:
        bulkhead = Bulkhead("model", places=1)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(bulkhead.enter())
        waiting = bulkhead.enter()
        task = loop.create_task(waiting)  # held: a task that is collected would leave by itself
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        bulkhead.exit()
        assert bulkhead.look()[1:4] == (1, 0, 0)
        waiting.close()
        assert bulkhead.look()[1:4] == (1, 0, 0), "it came back once"
        task._log_destroy_pending = False  # type: ignore[attr-defined]
