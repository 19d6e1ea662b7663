"""Another user's objects are neither read, changed, listed, watched nor counted: for every public verb, by itself.

The verbs come from the class. One that is new fails here until it is said how it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from holdfast import (
    HoldfastError,
    NotFound,
    StateManager,
    StateTransaction,
    UserExecutionContext,
    WrongContext,
)

Context = UserExecutionContext
PATHS = ("plan", "net/plan")
NOT_VERBS = {"store", "weakness"}
"""What takes no context: it tells of the store, and of nobody's objects."""


async def gathered(items: AsyncIterator[Any], *, at_most: int = 100) -> list[Any]:
    """What comes of itself; a watch is asked only for what there is already."""
    found = []
    async for item in items:
        found.append(item)
        if len(found) >= at_most:
            break
    return found


async def heard(state: StateManager, context: Any, path: str) -> list[Any]:
    """All that a watch from the beginning hears until a change of the watcher's own."""
    own: list[Any] = []
    async for change in state.watch(context, after="0:0"):
        own.append(change)
        if change.path == "mine":
            break
    return [change for change in own if change.path != "mine"]


async def touch(t: StateTransaction, path: str) -> Any:
    return await t.get(path)


Call = Callable[[StateManager, Any, str], Awaitable[Any]]
READS: dict[str, Call] = {
    "get": lambda state, context, path: state.get(context, path),
    "find": lambda state, context, path: state.find(context, path),
    "get_many": lambda state, context, path: state.get_many(context, [path]),
    "scan": lambda state, context, path: gathered(state.scan(context, path.rpartition("/")[0])),
    "count": lambda state, context, path: state.count(context, path.rpartition("/")[0]),
    "history": lambda state, context, path: gathered(state.history(context, path)),
    "watch": heard,
    "position": lambda state, context, path: state.position(context),
    "transact": lambda state, context, path: state.transact(context, lambda t: touch(t, path)),
    "transaction": lambda state, context, path: touch(state.transaction(context), path),
    "dependents": lambda state, context, path: state.dependents(context, path),
    "checkpoints": lambda state, context, path: state.checkpoints(context),
}
WRITES: dict[str, Call] = {
    "set": lambda state, context, path: state.set(context, path, "mine"),
    "set_many": lambda state, context, path: state.set_many(context, {path: "mine"}),
    "update": lambda state, context, path: state.update(context, path, lambda value: "mine"),
    "merge": lambda state, context, path: state.merge(context, path, "mine", base=1),
    "delete": lambda state, context, path: state.delete(context, path),
    "clear": lambda state, context, path: state.clear(context, path.rpartition("/")[0]),
    "propagate": lambda state, context, path: state.propagate(context, path, lambda *_: "mine"),
    "checkpoint": lambda state, context, path: state.checkpoint(context, "kept"),
    "restore": lambda state, context, path: state.restore(context, "kept"),
    "forget_checkpoint": lambda state, context, path: state.forget_checkpoint(context, "kept"),
    "sweep": lambda state, context, path: state.sweep(context),
}
VERBS = sorted(
    name
    for name, member in inspect.getmembers(StateManager)
    if not name.startswith("_") and (callable(member) or isinstance(member, property)) and name not in NOT_VERBS
)
EMPTY: dict[str, Any] = {"find": None, "get_many": {}, "count": 0, "position": "0:0", "clear": 0, "sweep": 0}


async def answered(work: Awaitable[Any]) -> Any:
    """What comes of it; an error as a value."""
    try:
        return await work
    except HoldfastError as error:
        return error


async def everything_of(state: StateManager, context: Context) -> Any:
    objects = await gathered(state.scan(context))
    histories = [await gathered(state.history(context, path)) for path in ("plan", "net/plan", "derived")]
    kept = await state.checkpoints(context)
    return objects, histories, kept, await state.dependents(context, "plan"), await state.position(context)


@pytest.fixture
async def furnished(state: StateManager, ana: Context) -> StateManager:
    """Ana has objects, one that depends on another, one that is over its time, and a checkpoint."""
    for path in PATHS:
        await state.set(ana, path, "secret", why="a reason of hers")
    await state.set(ana, "derived", "secret", depends_on=["plan"])
    await state.set(ana, "plan", "secret 2")
    await state.checkpoint(ana, "kept")
    return state


def test_every_verb_is_tried() -> None:
    assert sorted(READS | WRITES) == VERBS
    for name in VERBS:
        first = list(inspect.signature(getattr(StateManager, name)).parameters)[1]
        assert first == "context", f"{name} takes the context first"


@pytest.mark.parametrize("who", ["of the same tenant", "of the same name in another tenant"])
async def test_no_verb_reads_changes_or_counts_what_is_another_users(
    furnished: StateManager, ana: Context, bob: Context, who: str
) -> None:
    state = furnished
    stranger = bob if who == "of the same tenant" else Context(user="ana", tenant="other")
    before = await everything_of(state, ana)
    for name, call in (READS | WRITES).items():
        for path in PATHS:
            if name == "watch":
                continue
            answer = await answered(call(state, stranger, path))
            assert "secret" not in repr(answer), name
            assert "hers" not in repr(answer), name
            assert not isinstance(answer, HoldfastError) or "ana" not in str(answer), name
            if name in READS and not isinstance(answer, HoldfastError) and not await state.count(stranger):
                assert answer == EMPTY.get(name, []), name
        assert await everything_of(state, ana) == before, f"{name} changed something of hers"
        await state.clear(stranger, "")
        for path in PATHS:
            if await state.find(stranger, path):
                await state.delete(stranger, path)


async def test_a_watch_hears_nothing_of_another_user(furnished: StateManager, ana: Context, bob: Context) -> None:
    await furnished.set(bob, "mine", 1)
    await furnished.set(ana, "mine", "secret")
    assert await heard(furnished, bob, "") == []


@pytest.mark.parametrize("position", ["path", "depends_on", "why", "name"])
async def test_a_second_id_somewhere_else_opens_nothing(
    furnished: StateManager, ana: Context, bob: Context, position: str
) -> None:
    """Whatever is said of Ana in an argument, Bob's context decides."""
    before = await everything_of(furnished, ana)
    hers = await furnished.get(ana, "plan")
    for text in ("ana/plan", "acme/ana/plan", "../ana/plan", "shared:plan", "ana", "net/plan//kept"):
        match position:
            case "path":
                answer = await answered(furnished.get(bob, text))
            case "depends_on":
                answer = await answered(furnished.set(bob, "mine", 1, depends_on=[text]))
            case "why":
                answer = await answered(furnished.set(bob, "mine", 1, why=text, by="ana"))
            case _:
                answer = await answered(furnished.restore(bob, text))
        assert "secret" not in repr(answer)
        assert position == "why" or isinstance(answer, HoldfastError), "nothing is found"
    with pytest.raises(NotFound):  # an object of hers names a path, and his own is meant
        await furnished.set(bob, "mine", 1, depends_on=[hers])
    assert await everything_of(furnished, ana) == before


@pytest.mark.parametrize("name", VERBS)
async def test_nothing_works_without_a_context(state: StateManager, name: str) -> None:
    for wrong in (None, "ana", {"user": "ana"}):
        with pytest.raises(WrongContext, match="must be UserExecutionContext"):
            await (READS | WRITES)[name](state, wrong, "plan")


async def test_what_is_kept_in_mind_is_each_users_own(state: StateManager, ana: Context, bob: Context) -> None:
    """The last write of an object is kept for a moment: under the key that has its user in it."""
    await state.set(ana, "plan", {"secret": 1})
    made = await state.update(bob, "plan", lambda value: value, initial="empty")
    assert (made.value, made.version) == ("empty", 1)


async def test_what_is_shared_ends_at_the_tenant(state: StateManager, ana: Context, bob: Context) -> None:
    await state.set(ana, "plan", "for all", shared=True)
    assert (await state.get(bob, "plan", shared=True)).value == "for all"
    stranger = Context(user="ana", tenant="other")
    assert await state.find(stranger, "plan", shared=True) is None
    assert await state.find(bob, "plan") is None, "what is shared is asked for as such"
