"""Work on a store that is cancelled at any await of its loop: no connection is left behind, half open or whole.

And closing it, which goes through to the end: no connection, file, task or thread stays, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.integrations.aes_gcm import AesGcm
from holdfast.store.contract import beyond
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.open import open_sealed, open_store
from holdfast.store.postgres.notices import LOOK_EVERY_S
from holdfast.testing.conformance.samples import ANA, change, event, key, put
from tests.store.cuts import Cut, cuts
from tests.store.places import Places, handed_out

PATIENCE_S = 10.0
LISTENS_S = 0.05
"""In which whoever waits has opened a connection of his own."""
Work = Callable[[OpenStore], Coroutine[Any, Any, object]]


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    with handed_out(request, tmp_path) as places:
        yield places


async def read(store: OpenStore) -> object:
    """On the first connection of the pool."""
    return await store.read(ANA, [key("a")])


async def commit(store: OpenStore) -> object:
    """By the writer, for whoever commits."""
    return await store.commit(ANA, change(put("a", expect=None), event("a")))


async def wait(store: OpenStore) -> None:
    """On a connection of its own, which listens; until it has looked by itself, too."""
    tick = await store.wait(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.5 * LOOK_EVERY_S):
            await store.wait(tick)


async def read_recent(store: OpenStore) -> object:
    """By the cache of a store that has one."""
    return await beyond.read_recent(store, ANA, [key("a")])


def url_of(places: Places, kind: str) -> str:
    if kind != "mirror":
        return places.url(kind)
    return f"hybrid+{places.url('postgres')}?cache={places.url('redis').partition('?')[0]}"


OTHERS = (read, commit)
"""Each of them takes a sweep over a hundred and more awaits; a wait is where a connection was once left behind."""


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("postgres", wait),
        pytest.param("redis", wait, marks=pytest.mark.long),
        *(pytest.param(kind, work, marks=pytest.mark.long) for kind in ("postgres", "redis") for work in OTHERS),
        *(pytest.param("mirror", work, marks=pytest.mark.long) for work in (*OTHERS, read_recent)),
    ],
)
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "left-to-its-loop"])
def test_what_is_cut_off_anywhere_leaves_nothing_open(places: Places, kind: str, work: Work, is_closed: bool) -> None:
    url = url_of(places, kind)

    async def begin(cut: Cut) -> None:
        store = open_store(url)
        await cut(work(store))
        if is_closed:
            await store.close()

    asyncio.run(prepared(url))
    assert cuts(begin, lets_go=is_closed) == []


async def prepared(url: str) -> None:
    store = open_store(url)
    await store.migrate()
    await store.close()


async def busy(store: OpenStore) -> list[asyncio.Task[object]]:
    """With connections in its pools, one that listens, something to be told to others, and people who wait."""
    await commit(store)
    await read_recent(store)
    waiting: list[asyncio.Task[object]] = [asyncio.ensure_future(store.wait(await store.wait(0)))]
    await asyncio.wait(waiting, timeout=LISTENS_S)
    waiting += [asyncio.ensure_future(commit(store)) for _ in range(9)]
    await asyncio.sleep(0)  # they begin
    return waiting


@pytest.mark.parametrize(
    "kind",
    ["sqlite", "sealed", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("postgres", "redis", "mirror"))],
)
@pytest.mark.parametrize("is_closed_again", [False, True], ids=["once", "again"])
def test_a_close_that_is_cut_off_anywhere_goes_through_to_the_end(
    places: Places, kind: str, is_closed_again: bool
) -> None:
    url = url_of(places, "sqlite" if kind == "sealed" else kind)

    async def begin(cut: Cut) -> None:
        store = open_sealed(url, AesGcm({"k": bytes(32)}, current="k")) if kind == "sealed" else open_store(url)
        waiting = await busy(store)
        await cut(store.close())
        if is_closed_again:
            await store.close()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(prepared(url))
    assert cuts(begin, lets_go=True) == []
