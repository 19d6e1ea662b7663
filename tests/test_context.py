"""A user's context: frozen, narrowing, cleaned up once, and the only thing that stands for a user."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from holdfast import Budget, ContextClosed, InvalidInput, Rejected, UserExecutionContext, WrongContext
from holdfast.cleanups import CLEANUPS_MAX, CleanupFailure
from holdfast.context import require_context

T = TypeVar("T")


def at_once(threads: int, call: Callable[[int], T]) -> list[T]:
    """The answers of `call(0)`, `call(1)`, ... in as many OS threads, begun together."""
    barrier = threading.Barrier(threads)

    def one(number: int) -> T:
        barrier.wait(10)
        return call(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def ana() -> UserExecutionContext:
    return UserExecutionContext(user="ana", tenant="acme", scopes=frozenset({"read", "write"}))


class TestIdentity:
    def test_it_stands_under_concurrent_attempts_to_change_it(self) -> None:
        context = ana()

        def change(number: int) -> str:
            name = ("user", "tenant", "scopes", "deadline_s", "budget")[number % 5]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(context, name, "bob")
            with pytest.raises((AttributeError, TypeError)):
                context.role = "admin"  # type: ignore[attr-defined]
            return context.user

        assert set(at_once(15, change)) == {"ana"}
        assert context == ana()

    @pytest.mark.parametrize("value", ["", " ", "default", "Test", "NONE", "null", "placeholder", "registry"])
    @pytest.mark.parametrize("name", ["user", "tenant"])
    def test_placeholders_are_refused(self, name: str, value: str) -> None:
        with pytest.raises(InvalidInput, match=name):
            UserExecutionContext(**{"user": "ana", name: value})

    def test_fifteen_threads_validate_at_once(self) -> None:
        def validate(number: int) -> str:
            if number % 3 == 0:
                with pytest.raises(InvalidInput):
                    UserExecutionContext(user="none")
            return UserExecutionContext(user=f"user-{number}", request=f"r-{number}").user

        assert at_once(15, validate) == [f"user-{number}" for number in range(15)]

    def test_twenty_users_with_a_hundred_contexts_stay_unmixed(self) -> None:
        def contexts(number: int) -> list[UserExecutionContext]:
            mine = UserExecutionContext(user=f"u{number}", tenant=f"t{number % 3}")
            return [mine.child(request=f"u{number}-{serial}") for serial in range(100)]

        for number, made in enumerate(at_once(20, contexts)):
            assert {(context.user, context.tenant) for context in made} == {(f"u{number}", f"t{number % 3}")}
            assert [context.request for context in made] == [f"u{number}-{serial}" for serial in range(100)]

    @pytest.mark.parametrize("value", [None, "ana", {"user": "ana"}, 7, object()])
    def test_anything_else_in_its_place_is_a_typed_error(self, value: object) -> None:
        with pytest.raises(WrongContext, match="must be UserExecutionContext"):
            require_context(value)

    def test_a_copy_in_another_process_has_no_clean_ups(self) -> None:
        context = ana()
        context.on_cleanup(lambda: None)
        assert pickle.loads(pickle.dumps(context)) == context
        assert copy.deepcopy(context) == context


class TestChildren:
    def test_a_child_can_only_narrow(self) -> None:
        parent = dataclasses.replace(ana(), deadline_s=100.0)
        assert parent.child(deadline_s=200.0).deadline_s == 100.0
        assert parent.child(deadline_s=50.0).deadline_s == 50.0
        assert parent.child().scopes == parent.scopes
        with pytest.raises(InvalidInput, match="admin"):
            parent.child(scopes=frozenset({"read", "admin"}))

    def test_ten_threads_make_children_at_once(self) -> None:
        parent = ana()

        def children(number: int) -> set[str]:
            return {parent.child(request=f"{number}-{serial}").request for serial in range(200)}

        made = at_once(10, children)
        assert sum(len(names) for names in made) == len(set().union(*made)) == 2000

    def test_a_childs_budget_is_part_of_its_parents(self) -> None:
        parent = dataclasses.replace(ana(), budget=Budget(tokens=100))
        child = parent.child(budget=Budget(tokens=1_000))
        assert parent.budget is not None
        assert child.budget is not None
        child.budget.spend(tokens=80)
        assert parent.budget.spent.tokens == 80
        with pytest.raises(Rejected, match="tokens"):
            child.budget.spend(tokens=30)
        assert parent.child().budget is parent.budget


class TestCleanUp:
    async def test_the_last_registered_runs_first(self) -> None:
        context, seen = ana(), list[str]()

        async def close(name: str) -> None:
            await asyncio.sleep(0)
            seen.append(name)

        context.on_cleanup(lambda: close("database"))
        context.on_cleanup(lambda: seen.append("file"))
        context.on_cleanup(lambda: close("stream"))
        assert await context.cleanup() == ()
        assert seen == ["stream", "file", "database"]

    async def test_one_that_raises_or_hangs_costs_the_others_nothing(self) -> None:
        context, seen = ana(), list[str]()
        never = asyncio.Event()

        async def stubborn() -> None:
            while not never.is_set():
                try:
                    await never.wait()
                except asyncio.CancelledError:
                    continue

        async def broken() -> None:
            raise OSError("the disk is gone")

        context.on_cleanup(lambda: seen.append("last"), name="last")
        context.on_cleanup(never.wait, name="hangs", timeout_s=0.01)
        context.on_cleanup(broken)
        context.on_cleanup(stubborn, timeout_s=0.01)
        failures = await context.cleanup()
        assert seen == ["last"]
        assert [failure.name for failure in failures] == ["stubborn", "broken", "hangs"]
        assert "left behind" in failures[0].reason
        assert failures[1] == CleanupFailure("broken", "OSError: the disk is gone")
        assert failures[2].reason == "took longer than its 0.01 s"
        never.set()
        await asyncio.sleep(0)

    async def test_it_runs_once_for_all_who_ask_at_once(self) -> None:
        context, runs, began, go = ana(), list[int](), asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            runs.append(1)
            began.set()
            await go.wait()
            raise ValueError("told to everybody")

        context.on_cleanup(slow)
        askers = [asyncio.ensure_future(context.cleanup()) for _ in range(50)]
        await began.wait()
        go.set()
        answers = await asyncio.gather(*askers)
        assert runs == [1]
        assert set(answers) == {(CleanupFailure("slow", "ValueError: told to everybody"),)}
        assert await context.cleanup() == answers[0]

    def test_it_runs_once_for_threads_with_loops_of_their_own(self) -> None:
        context, runs = ana(), list[int]()
        for number in range(20):
            context.on_cleanup(lambda number=number: runs.append(number))  # type: ignore[misc]
        answers = at_once(10, lambda _: asyncio.run(context.cleanup()))
        assert answers == [()] * 10
        assert runs == list(range(19, -1, -1))

    async def test_who_is_cancelled_while_waiting_does_not_cut_it_short(self) -> None:
        context, go, done = ana(), asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            await go.wait()
            done.set()

        context.on_cleanup(slow)
        asker = asyncio.ensure_future(context.cleanup())
        await asyncio.sleep(0)
        asker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asker
        go.set()
        assert await context.cleanup() == ()
        assert done.is_set()

    def test_a_loop_that_ends_leaves_nobody_waiting(self) -> None:
        context = ana()

        async def leave() -> None:
            began = asyncio.Event()

            async def for_ever() -> None:
                began.set()
                await asyncio.Event().wait()

            context.on_cleanup(lambda: None, name="after it")
            context.on_cleanup(for_ever, timeout_s=60)
            asker = asyncio.ensure_future(context.cleanup())
            await began.wait()
            asker.cancel()

        asyncio.run(leave())
        assert [failure.name for failure in asyncio.run(context.cleanup())] == ["for_ever", "after it"]

    async def test_a_closed_context_is_refused_everywhere(self) -> None:
        context = ana()
        child = context.child(request="r-1")
        await context.cleanup()
        for closed in (context, child):
            with pytest.raises(ContextClosed, match="ana"):
                require_context(closed)
            with pytest.raises(ContextClosed):
                closed.on_cleanup(lambda: None)
            with pytest.raises(ContextClosed):
                closed.child()

    async def test_children_are_cleaned_up_before_their_parent(self) -> None:
        context, seen = ana(), list[str]()
        grandchild = context.child(request="child").child(request="grandchild")
        context.on_cleanup(lambda: seen.append("parent"))
        grandchild.on_cleanup(lambda: seen.append("grandchild"))
        await context.cleanup()
        assert seen == ["grandchild", "parent"]
        assert grandchild.is_closed

    async def test_a_child_that_was_cleaned_up_is_forgotten(self) -> None:
        context = ana()
        for number in range(3 * CLEANUPS_MAX):
            child = context.child(request=f"r-{number}").child()
            child.on_cleanup(lambda: None)
            await child.cleanup()
        last = weakref.ref(child)
        del child
        gc.collect()
        assert last() is None

    def test_clean_ups_are_bounded(self) -> None:
        context = ana()
        for _ in range(CLEANUPS_MAX):
            context.on_cleanup(lambda: None)
        with pytest.raises(Rejected, match="1000"):
            context.on_cleanup(lambda: None)

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
    def test_a_time_that_is_none_is_refused(self, timeout_s: float) -> None:
        with pytest.raises(InvalidInput, match="timeout_s"):
            ana().on_cleanup(lambda: None, timeout_s=timeout_s)
