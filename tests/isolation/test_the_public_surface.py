"""Bob tries every public verb with Ana's ids wherever an id can stand, in a world with her and in one without.

What he is told is the same in both, to the letter: so nothing of hers was read, listed, counted or waited for. And what
is stored under her keys, journals and streams included, is the same before and after. The verbs are found: a new one is
covered by itself, or fails here until it is told what Bob gives for its parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import (
    Client,
    Engine,
    RunHandle,
    StateManager,
    ToolDispatcher,
    UserExecutionContext,
    WorkflowStateManager,
    open_store,
)
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Key, Position, Scope
from holdfast.workflow.decisions import occurrences
from tests.isolation.worlds import MARKER, World, everything_of, place, told, world

DOORS: dict[type, Callable[[World], Any]] = {
    Client: lambda world: world.client,
    Engine: lambda world: world.engine,
    RunHandle: lambda world: world.handle,
    StateManager: lambda world: world.state,
    ToolDispatcher: lambda world: world.tools,
    WorkflowStateManager: lambda world: world.manager,
}
ELSEWHERE = {
    "AgentExecutionCore": "keeps nothing but what runs: tests/agents",
    "AgentLifecycleManager": "tests/users/test_two_users.py",
    "AgentNetwork": "keeps nothing: tests/agents",
    "AgentRegistry": "tests/users/test_two_users.py",
    "Bulkhead": "keeps nothing but who waits: tests/resilience",
    "ExecutionEngine": "tests/users/test_two_users.py",
    "Guard": "keeps nothing: tests/resilience",
    "Limit": "a definition",
    "SyncEngine": "Engine, from another thread",
    "SyncManager": "tests/store/mirror/test_sync.py",
    "UserAgentSession": "tests/users/test_two_users.py",
    "UserStreams": "tests/users/test_two_users.py",
    "Workflow": "a definition",
}
"""Public classes with verbs for users that are shown to keep them apart in another test."""
FOR_OPERATORS = {
    (Engine, "close"), (Engine, "drain"), (Engine, "operator"), (Engine, "recover_active_workflows"),
    (Engine, "take_up"), (Engine, "unclaimed"), (Engine, "worked_on"), (ToolDispatcher, "add"),
    (ToolDispatcher, "close"), (ToolDispatcher, "stuck"), (StateManager, "weakness"),
    (Client, "load"), (Client, "look"),
    (WorkflowStateManager, "recover_active_workflows"),
}  # fmt: skip
"""Verbs of whoever runs the process, or of other rooms, which no user is handed."""
OF_THE_TENANT = {
    (Engine, "lock"), (Engine, "locks"), (WorkflowStateManager, "acquire_resource_lock"), (Client, "place"),
    (Engine, "client"),
}  # fmt: skip
"""Locks and limits are the tenant's: whoever asks second waits. What they tell is tested in their rooms."""


async def _look(t: Any) -> Any:
    found = await t.find("plan")
    return None if found is None else found.value


GIVEN: dict[str, Callable[[World], list[Any]]] = {
    "about": lambda world: ["0"],
    "after": lambda world: ["1:0", "1:3"],
    "agent_id": lambda world: ["ana"],
    "arguments": lambda world: [{"text": "bob's"}],
    "base": lambda world: [1],
    "by": lambda world: ["ana"],
    "calls": lambda world: [[]],
    "change": lambda world: [lambda value: {**(value or {}), "by": "bob"}],
    "checkpoint": lambda world: ["before"],
    "context": lambda world: [world.bob],
    "data": lambda world: [{"user": "ana"}],
    "error": lambda world: [
        holdfast.WorkflowError("away", error_type=holdfast.ErrorType.TRANSIENT, workflow_id=world.anas_run)
    ],
    "id": lambda world: ["INC-1", world.anas_run],
    "initial_context": lambda world: [{"user": "ana", "tenant": "acme"}],
    "input": lambda world: [{"text": "bobs-own"}, {"user": "ana", "text": "another"}],
    "key": lambda world: ["once", "twice"],
    "labels": lambda world: [{"team": "a"}, {"user": "ana"}],
    "name": lambda world: ["approve", "before", "repeat"],
    "occurrence": lambda world: [occurrences.Paused(agent="bob")],
    "path": lambda world: ["plan", "plan/step", "ana/plan", "../ana/plan"],
    "paths": lambda world: [["plan", "plan/step"]],
    "prefix": lambda world: ["", "plan"],
    "ref": lambda world: [world.anas_run, "INC-1"],
    "remake": lambda world: [lambda dependent, sources: {"text": "made anew"}],
    "run": lambda world: [world.anas_run, "run-ana"],
    "run_id": lambda world: [world.anas_run],
    "state": lambda world: ["review"],
    "states": lambda world: [("review",), ("done",)],
    "ticket_id": lambda world: ["INC-1", "INC-2"],
    "timeout_s": lambda world: [0.05],
    "user": lambda world: [world.bob.user],
    "value": lambda world: [{"text": "bob's"}],
    "visit": lambda world: [1],
    "values": lambda world: [{"plan": {"text": "bob's"}}],
    "version": lambda world: [1],
    "work": lambda world: [_look],
    "workflow": lambda world: ["incident"],
    "workflow_id": lambda world: [world.anas_run],
    "new_main_state": lambda world: ["done"],
}
"""What Bob gives, by the name of the parameter: Ana's ids, or names that both have, one after the other."""
OTHERWISE: dict[tuple[type, str, str], Callable[[World], list[Any]]] = {
    (StateManager, "watch", "after"): lambda world: ["1:0"],
    (StateManager, "get", "version"): lambda world: [1],
    (Client, "start", "version"): lambda world: [None],
    (Client, "fork", "id"): lambda world: ["INC-9"],
    (Client, "fork", "version"): lambda world: [None],
    (ToolDispatcher, "calls", "after"): lambda world: [None],
    (Client, "runs", "after"): lambda world: [None],
    (Client, "follow", "after"): lambda world: [Position(1, 0), None],
    (RunHandle, "get_blob", "ref"): lambda world: [{"blob": "x", "run": world.anas_run}],
}


def verbs() -> list[tuple[type, str]]:
    """Every public verb of the doors that somebody who is not an operator is handed."""
    return [
        (door, name)
        for door in DOORS
        for name, method in inspect.getmembers(door, inspect.isfunction)
        if not name.startswith("_") and (door, name) not in FOR_OPERATORS | OF_THE_TENANT
    ]


def attempts(door: type, verb: str, world: World) -> list[dict[str, Any]]:
    """The arguments of each try: the first value of each parameter, and then each further one by itself."""
    parameters = list(inspect.signature(getattr(door, verb)).parameters.values())[1:]
    choices: dict[str, list[Any]] = {}
    for parameter in parameters:
        give = OTHERWISE.get((door, verb, parameter.name)) or GIVEN.get(parameter.name)
        if give is not None and parameter.kind is not parameter.VAR_KEYWORD:
            choices[parameter.name] = give(world)
        else:
            assert parameter.default is not parameter.empty or parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            ), f"{door.__name__}.{verb}: tell what Bob gives for {parameter.name!r}"
    first = {name: values[0] for name, values in choices.items()}
    return [first] + [first | {name: value} for name, values in choices.items() for value in values[1:]]


async def tried(world: World, door: type, verb: str, number: int) -> str:
    """What Bob is told at his try `number`."""
    given = attempts(door, verb, world)[number]
    parameters = inspect.signature(getattr(door, verb)).parameters.values()
    args = [value for each in parameters if each.kind is each.VAR_POSITIONAL for value in given.pop(each.name, ())]
    try:
        outcome = getattr(DOORS[door](world), verb)(*args, **given)
    except (holdfast.HoldfastError, ValueError, TypeError, LookupError, TimeoutError) as error:
        return await told(_raised(error))
    return await told(outcome)


async def _raised(error: Exception) -> None:
    raise error


@asynccontextmanager
async def fresh_store(kind: str, folder: Path) -> AsyncIterator[OpenStore]:
    store = open_store("memory:" if kind == "memory" else f"sqlite:///{folder}/{len(list(folder.iterdir()))}.db")
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize(("door", "verb"), verbs(), ids=lambda each: each if isinstance(each, str) else each.__name__)
async def test_bob_is_told_the_same_whether_ana_is_there_or_not(
    door: type, verb: str, kind: str, tmp_path: Path
) -> None:
    number, count = 0, 1
    while number < count:
        async with fresh_store(kind, tmp_path) as store, world(store, has_ana=False) as alone:
            expected = await tried(alone, door, verb, number)
        async with fresh_store(kind, tmp_path) as store, world(store, has_ana=True) as shared:
            before = await everything_of(store, "ana")
            count = len(attempts(door, verb, shared))
            seen = await tried(shared, door, verb, number)
            assert MARKER not in seen
            assert seen == expected
            assert await everything_of(store, "ana") == before
        number += 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgres", "mirror"])
async def test_no_verb_gives_away_or_changes_anything_of_anas_on_a_server(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """All verbs in one database, each tried by another Bob."""
    url: str = request.getfixturevalue("database")
    if kind == "mirror":
        url = f"hybrid+{url}?cache={request.getfixturevalue('valkey_server').url}"
    store = open_store(url)
    try:
        async with place(store, has_ana=True) as enter:
            before = await everything_of(store, "ana")
            for each, (door, verb) in enumerate(verbs()):
                shared = await enter(UserExecutionContext(user=f"bob-{each}", tenant="acme"))
                for number in range(len(attempts(door, verb, shared))):
                    assert MARKER not in await tried(shared, door, verb, number), f"{door.__name__}.{verb}"
            assert await everything_of(store, "ana") == before
    finally:
        await store.close()


def test_no_public_class_with_verbs_for_users_is_left_out() -> None:
    doors = {door.__name__ for door in DOORS}
    found = {
        name
        for name in holdfast.__all__
        if inspect.isclass(getattr(holdfast, name))
        for verb, method in inspect.getmembers(getattr(holdfast, name), inspect.isfunction)
        if not verb.startswith("_") and {"user", "context"} & set(inspect.signature(method).parameters)
    }
    assert found - doors == set(ELSEWHERE), "say where the test of its isolation is, or make it a door here"


async def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    """The test of the test: a door whose lookup forgets the user is told apart."""
    async with fresh_store("memory", tmp_path) as store, world(store, has_ana=True) as shared:
        key = Key("acme", "ana", "run", shared.anas_run)
        assert MARKER in await told(store.read(Scope.of_tenant("acme"), [key]))
        assert MARKER not in await told(store.read(Scope.of_user("acme", "bob"), [key]))
