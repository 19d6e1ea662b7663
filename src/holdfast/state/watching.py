"""Hearing of changes: a watch reads the journal from a place on, and is woken by the store's hints.

A slow watcher costs a place in the journal and no memory, and one that was away goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holdfast.clock import utc
from holdfast.state.names import OBJECT
from holdfast.state.objects import StateChange, told
from holdfast.state.rules import is_beneath
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import SHARED, Position, Scope

PAGE = 500
POLL_S = 1.0
"""How often a watch looks without a hint."""
GAP = "gap"


async def head(shelf: Shelf, scope: Scope, owner: tuple[str, str]) -> Position:
    """The last place in a stream: found by steps that double and then halve, a read of one row each."""
    low = Position(0, 0)
    step = 1
    while True:  # the last row of each look lies further on; a new incarnation begins anew
        ahead = Position(low.incarnation, low.seq + step - 1)
        found = await shelf.store.events(scope, stream=owner, after=ahead, limit=1)
        if found:
            step = 1 if found[0].position.incarnation > low.incarnation else step * 2
            low = found[0].position
        elif step > 1:
            step = max(1, step // 2)
        else:
            return low


async def watch(
    shelf: Shelf, scope: Scope, owner: tuple[str, str], prefix: str, path: str, *, after: Position
) -> AsyncIterator[StateChange]:
    """Each change of `path`, or of an object beneath `prefix`, behind a place in the stream, in order, without end."""
    cursor, tick = after, 0
    while True:
        page = await shelf.store.events(scope, stream=owner, after=cursor, limit=PAGE)
        for event in page:
            if _is_gap(cursor, event.position):
                yield _gap(shelf, owner, event.position, prefix or path)
            cursor = event.position
            if event.key.kind == OBJECT and (event.key.id == path or is_beneath(event.key, owner, prefix)):
                yield told(event)
        if not page:
            tick = await _hint(shelf, tick)


async def _hint(shelf: Shelf, tick: int) -> int:
    """Until something was committed, or POLL_S passed."""
    try:
        async with asyncio.timeout(POLL_S):
            return await shelf.store.wait(tick)
    except TimeoutError:
        return tick


def _is_gap(cursor: Position, following: Position) -> bool:
    """Whether rows between the two are not kept any more. A place of 0 is before everything, kept or not."""
    if cursor.seq == 0:
        return False
    return following.incarnation != cursor.incarnation or following.seq > cursor.seq + 1


def _gap(shelf: Shelf, owner: tuple[str, str], position: Position, path: str) -> StateChange:
    return StateChange(
        path=path,
        version=0,
        what=GAP,
        who="",
        when=utc(shelf.now_s()),
        why="what happened before is not kept any more; look at everything anew",
        position=str(position),
        shared=owner[1] == SHARED,
    )
