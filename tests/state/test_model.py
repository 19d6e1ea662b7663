"""Random commands of two users on the memory store, against a model of plain dicts: values, versions, staleness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast import HoldfastError, StateManager, StateTransaction, UserExecutionContext
from holdfast.store.memory import MemoryStore

USERS = {name: UserExecutionContext(user=name, tenant="acme") for name in ("ana", "bob")}
PATHS = ("a", "b", "c/1", "c/2", "d")
T = TypeVar("T")

users = st.sampled_from(sorted(USERS))
paths = st.sampled_from(PATHS)
values = st.integers(0, 5)
sources = st.lists(paths, max_size=2, unique=True)
steps = st.lists(
    st.tuples(st.sampled_from(["set", "add", "delete", "derive"]), paths, values, sources), min_size=1, max_size=5
)


class Thing(NamedTuple):
    value: int
    version: int
    uses: dict[str, int]


class Theirs:
    """What one user has, as the model knows it."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.last: dict[str, int] = {}
        """The last version of each path, over its deletion."""
        self.kept: dict[str, dict[str, Thing]] = {}

    def copy(self) -> Theirs:
        other = Theirs()
        other.things, other.last, other.kept = dict(self.things), dict(self.last), self.kept
        return other

    def is_stale(self, path: str) -> bool:
        return any(
            name not in self.things or self.things[name].version != version or self.is_stale(name)
            for name, version in self.things[path].uses.items()
        )

    def above(self, path: str) -> set[str]:
        """All that `path` was made from, however far up, also what is gone."""
        found: set[str] = set()
        waiting = [path]
        while waiting:
            there = self.things.get(waiting.pop())
            new = set(there.uses if there else ()) - found
            found |= new
            waiting += new
        return found

    def may_derive(self, path: str, from_: list[str]) -> bool:
        return all(name in self.things and name != path and path not in self.above(name) for name in from_)


class StateMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = MemoryStore()
        self.state = StateManager(self.store, sweep_every=None)
        self.run(self.state.__aenter__())
        self.model = {name: Theirs() for name in USERS}

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def teardown(self) -> None:
        assert self.run(self.store.verify()).is_clean
        self.run(self.state.__aexit__(None, None, None))
        self.run(self.store.close())
        self.runner.close()

    @rule(user=users, path=paths, value=values)
    def set(self, user: str, path: str, value: int) -> None:
        made = self.run(self.state.set(USERS[user], path, value))
        theirs = self.model[user]
        put(theirs, path, value, None, made.version)
        assert made.version == theirs.last[path]

    @rule(user=users, path=paths, amounts=st.lists(values, min_size=1, max_size=4))
    def update_by_many(self, user: str, path: str, amounts: list[int]) -> None:
        async def work() -> list[Any]:
            updates = (
                self.state.update(USERS[user], path, lambda value, by=amount: value + by, initial=0)
                for amount in amounts
            )
            return await asyncio.gather(*updates)

        made = self.run(work())
        theirs = self.model[user]
        for each, amount in zip(made, amounts, strict=True):
            value = theirs.things[path].value if path in theirs.things else 0
            put(theirs, path, value + amount, None, each.version)
            assert (each.value, each.version) == (theirs.things[path].value, theirs.last[path])

    @rule(user=users, steps=steps, ends_badly=st.booleans())
    def transact(self, user: str, steps: list[Any], ends_badly: bool) -> None:
        """All of it as the model has it, or nothing: after an error of its own, or a refusal of one of its steps."""
        theirs = self.model[user].copy()
        outcome: list[str] = []

        async def work(t: StateTransaction) -> None:
            for what, path, value, from_ in steps:
                refused = await tried(lambda w=what, p=path, v=value, f=from_: step(t, w, p, v, f))  # type: ignore[misc]
                expected = model_step(theirs, what, path, value, from_)
                assert refused == (not expected), (what, path, from_)
                there = await t.find(path)
                assert (there.value if there else None) == (
                    theirs.things[path].value if path in theirs.things else None
                )
                for prefix in ("", "c"):
                    assert [(each.path, each.value) async for each in t.scan(prefix)] == [
                        (path, theirs.things[path].value)
                        for path in sorted(theirs.things)
                        if path.startswith(f"{prefix}/" if prefix else "")
                    ]
            if ends_badly:
                raise ZeroDivisionError
            outcome.append("whole")

        try:
            self.run(self.state.transact(USERS[user], work))
        except ZeroDivisionError:
            assert ends_badly
        else:
            found = self.run(self.everything(user))
            assert {path: (each.value, set(each.uses)) for path, each in found.items()} == {
                path: (each.value, set(each.uses)) for path, each in theirs.things.items()
            }
            self.model[user] = theirs
            self.learn(user)

    @rule(user=users, path=paths)
    def delete(self, user: str, path: str) -> None:
        theirs = self.model[user]
        refused = self.run(tried(lambda: self.state.delete(USERS[user], path)))
        assert refused == (path not in theirs.things)
        if not refused:
            del theirs.things[path]
            theirs.last[path] += 1

    @rule(user=users, name=st.sampled_from(["one", "two"]))
    def checkpoint(self, user: str, name: str) -> None:
        theirs = self.model[user]
        kept = self.run(self.state.checkpoint(USERS[user], name))
        theirs.kept = {**theirs.kept, name: dict(theirs.things)}
        assert kept.objects == len(theirs.things)

    @rule(user=users, name=st.sampled_from(["one", "two"]))
    def restore(self, user: str, name: str) -> None:
        theirs = self.model[user]
        refused = self.run(tried(lambda: self.state.restore(USERS[user], name)))
        assert refused == (name not in theirs.kept)
        if not refused:
            kept = Theirs()
            kept.things = theirs.kept[name]
            was_fresh = {path for path in kept.things if not kept.is_stale(path)}
            self.learn(user)
            now = self.model[user]
            assert {path: each.value for path, each in now.things.items()} == {
                path: each.value for path, each in kept.things.items()
            }
            assert all(not now.is_stale(path) for path in was_fresh)

    @rule(user=users, path=paths)
    def propagate(self, user: str, path: str) -> None:
        theirs = self.model[user]
        expected = {each for each in theirs.things if path in theirs.above(each) and theirs.is_stale(each)}
        made = self.run(
            self.state.propagate(USERS[user], path, lambda _, given: sum(each.value for each in given.values()))
        )
        assert len(made) == len(set(made)), "each once"
        assert expected >= set(made)
        self.learn(user)

    @invariant()
    def all_is_as_the_model_has_it(self) -> None:
        for user, theirs in self.model.items():
            found = self.run(self.everything(user))
            assert {path: (each.value, each.version) for path, each in found.items()} == {
                path: (each.value, each.version) for path, each in theirs.things.items()
            }
            assert {path for path, each in found.items() if each.stale} == {
                path for path in theirs.things if theirs.is_stale(path)
            }

    async def everything(self, user: str) -> dict[str, Any]:
        return {each.path: each async for each in self.state.scan(USERS[user])}

    def learn(self, user: str) -> None:
        """Versions and sources as they are: values must be what the model says, or come of a restoring."""
        theirs = self.model[user]
        found = self.run(self.everything(user))
        for path in PATHS:
            rows = self.run(self.history(user, path))
            theirs.last[path] = rows[-1].version if rows else 0
        theirs.things = {path: Thing(each.value, each.version, dict(each.uses)) for path, each in found.items()}

    async def history(self, user: str, path: str) -> list[Any]:
        return [change async for change in self.state.history(USERS[user], path)]


async def tried(work: Callable[[], Awaitable[object]]) -> bool:
    """Whether it was refused."""
    try:
        await work()
    except HoldfastError:
        return True
    return False


async def step(t: StateTransaction, what: str, path: str, value: int, from_: list[str]) -> None:
    match what:
        case "set":
            await t.set(path, value)
        case "add":
            await t.update(path, lambda before: before + value)
        case "delete":
            await t.delete(path)
        case _:
            await t.set(path, value, depends_on=from_)


def model_step(theirs: Theirs, what: str, path: str, value: int, from_: list[str]) -> bool:
    """Do to the model what a step does; False where it is refused."""
    there = theirs.things.get(path)
    if what in ("add", "delete") and there is None:
        return False
    if what == "derive" and not theirs.may_derive(path, from_):
        return False
    if what == "delete":
        del theirs.things[path]
        return True
    if what == "add" and there is not None:
        value += there.value
    uses = {name: theirs.things[name].version for name in from_} if what == "derive" else None
    put(theirs, path, value, uses, (there.version if there else 0) + 1)
    return True


def put(theirs: Theirs, path: str, value: int, uses: dict[str, int] | None, version: int) -> None:
    before = theirs.things.get(path)
    theirs.last[path] = theirs.last.get(path, 0) + 1
    theirs.things[path] = Thing(value, version, uses if uses is not None else before.uses if before else {})


TestState = StateMachine.TestCase
TestState.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
