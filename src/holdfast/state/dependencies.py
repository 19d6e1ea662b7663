"""What depends on what: who is stale, who is below whom, and how a change goes down, each object once.

An object says which versions of others it was made from. Its staleness is looked up, never stored: it follows from the
versions as they are. Beside each dependency lies a record by which the way down is found.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, InvalidInput, Unavailable
from holdfast.state.names import BETWEEN, EDGE, OBJECT, SHARED_REF, checked_path, ref, source_key
from holdfast.state.objects import Held, StateObject, Stored, author, plain, shown
from holdfast.state.rules import UPDATED, Keep, Seen, next_body, order, sources, stale, written
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import SHARED, Key, Query, Scope

LAYERS_MAX = 200
"""How far up or down a walk goes."""
OBJECTS_MAX = 20_000
"""How many objects a walk meets."""
AT_ONCE = 16
ATTEMPTS_MAX = 50
PAGE = 1000

Remake = Callable[[StateObject[Any], Mapping[str, StateObject[Any]]], object | Awaitable[object]]
"""Makes a dependent's new value from itself as it is and its sources by name."""


def uses_of(
    context: UserExecutionContext, dependent: Key, depends_on: Iterable[StateObject[Any] | str]
) -> dict[Key, int | None]:
    """The sources that are meant, with the version of those that were handed over as they had been read."""
    found: dict[Key, int | None] = {}
    for each in depends_on:
        if isinstance(each, StateObject):
            user = SHARED if each.shared else context.user
            key, version = Key(dependent.tenant, user, OBJECT, checked_path(each.path)), each.version
        elif isinstance(each, str):
            checked_path(each.removeprefix(SHARED_REF))
            key, version = source_key(each, dependent=dependent), None
        else:
            raise InvalidInput(
                f"{dependent.id}: expected depends_on to hold paths or objects, saw {type(each).__name__}"
            )
        ref(key, dependent=dependent)
        found[key] = version
    return found


async def above(
    shelf: Shelf, scope: Scope, start: Mapping[Key, Held | None], known: Mapping[Key, Held | None]
) -> dict[Key, Held | None]:
    """`start` and all that it was made from, however far up; `known` is not read again."""
    found = dict(start)
    layer = _sources_of(found, found)
    for _ in range(LAYERS_MAX):
        if not layer:
            return found
        if len(found) + len(layer) > OBJECTS_MAX:
            break
        found |= {key: known[key] for key in layer if key in known}
        found |= await shelf.held(scope, [key for key in layer if key not in known])
        layer = _sources_of({key: found[key] for key in layer}, found)
    raise Unavailable(f"dependencies: expected at most {LAYERS_MAX} layers of {OBJECTS_MAX} objects, saw more")


async def staleness(shelf: Shelf, scope: Scope, start: Mapping[Key, Held]) -> dict[Key, tuple[str, ...]]:
    """Which sources of each of `start` have changed since. Costs a read for each layer above."""
    if not any(there.stored.uses for there in start.values()):
        return dict.fromkeys(start, ())
    found = stale(await above(shelf, scope, start, {}), now=shelf.now_s())
    return {key: found.get(key, ()) for key in start}


async def below(shelf: Shelf, scope: Scope, keys: Sequence[Key]) -> dict[Key, Held | None]:
    """All that depends on one of `keys`, however far down."""
    found: dict[Key, Held | None] = {}
    layer = list(keys)
    for _ in range(LAYERS_MAX):
        direct: dict[Key, list[Key]] = {}
        for some in (layer[start : start + AT_ONCE] for start in range(0, len(layer), AT_ONCE)):
            for edges in await asyncio.gather(*(_dependents(shelf, scope, each) for each in some)):
                for dependent, source in edges:
                    direct.setdefault(dependent, []).append(source)
        new = await shelf.held(scope, [dependent for dependent in direct if dependent not in found])
        layer = [each for each, there in new.items() if there and _depends(each, there.stored, direct[each])]
        found |= {each: new[each] for each in layer}
        if not layer:
            return found
        if len(found) > OBJECTS_MAX:
            break
    raise Unavailable(f"{keys[0].id}: expected at most {LAYERS_MAX} layers of {OBJECTS_MAX} dependents, saw more")


async def propagate(
    shelf: Shelf, context: UserExecutionContext, scope: Scope, keys: Sequence[Key], remake: Remake, *, by: str, why: str
) -> list[str]:
    """Make anew what is stale below `keys`, sources first, each once; their paths, in that order.

    What is fresh already is left alone, so it may be called again after a crash. Objects of one layer are made side by
    side. Raises what `remake` raises; what was made until then stays.
    """
    affected = await below(shelf, scope, keys)
    places = asyncio.Semaphore(AT_ONCE)
    done: list[str] = []

    async def one(dependent: Key) -> None:
        async with places:
            if await _remade(shelf, context, scope, dependent, remake, by=by, why=why):
                done.append(dependent.id)

    for layer in order(affected):
        results = await asyncio.gather(*(one(dependent) for dependent in layer), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
    return done


async def _remade(
    shelf: Shelf, context: UserExecutionContext, scope: Scope, key: Key, remake: Remake, *, by: str, why: str
) -> bool:
    for _ in range(ATTEMPTS_MAX):
        there = await shelf.one(scope, key)
        if there is None or not there.is_live(shelf.now_s()):
            return False
        named = sources(key, there.stored)
        found = await shelf.held(scope, list(named.values()))
        now = shelf.now_s()
        live = {
            name: held for name, source in named.items() if (held := found[source]) is not None and held.is_live(now)
        }
        if all(name in live and live[name].version == version for name, version in there.stored.uses.items()):
            return False
        given: dict[str, StateObject[Any]] = {name: shown(named[name], held, None) for name, held in live.items()}
        value = remake(shown(key, there, None), given)
        if inspect.isawaitable(value):
            value = await value
        made_by = author(context, by, why)
        uses = {name: held.version for name, held in live.items()}
        seen = Seen(there.version, there.stored)
        after = next_body(seen, plain(value, what=key.id), made_by, until=Keep.AS_BEFORE, uses=uses)
        part = written(key, there, after, UPDATED, made_by.audit)
        try:
            await shelf.commit(scope, writes=part.writes, events=part.events)
        except Conflict:
            continue
        return True
    raise Unavailable(f"{key.id}: lost {ATTEMPTS_MAX} races for it; try again later", path=key.id)


async def _dependents(shelf: Shelf, scope: Scope, source: Key) -> list[tuple[Key, Key]]:
    """Who depends on `source` directly, each with it."""
    names = {source.user: source.id}
    if source.user == SHARED and scope.user is not None:
        names[scope.user] = SHARED_REF + source.id
    found: list[tuple[Key, Key]] = []
    for user, name in names.items():
        after: str | None = None
        prefix = f"{name}{BETWEEN}"
        while True:
            page = await shelf.store.scan(scope, Query(kind=EDGE, prefix=prefix), after=after, limit=PAGE)
            keys = (record.key for record in page.records if record.key.user == user)
            found += [(Key(key.tenant, user, OBJECT, key.id.removeprefix(prefix)), source) for key in keys]
            if page.next is None:
                break
            after = page.next
    return found


def _depends(key: Key, stored: Stored, on: Iterable[Key]) -> bool:
    """Whether it says so itself: a record of a dependency may be left over."""
    mine = set(sources(key, stored).values())
    return any(source in mine for source in on)


def _sources_of(some: Mapping[Key, Held | None], known: Mapping[Key, Held | None]) -> list[Key]:
    wanted = (source for key, there in some.items() if there for source in sources(key, there.stored).values())
    return [source for source in dict.fromkeys(wanted) if source not in known]
