"""Work on a server that is cancelled at any await of its loop: no connection is left behind, half open or whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.store import recent
from holdfast.store.open import OpenStore, open_store
from holdfast.store.postgres.notices import LOOK_EVERY_S
from holdfast.testing.conformance.samples import ANA, change, event, key, put
from tests.store.cuts import Cut, cuts
from tests.store.places import Places, handed_out

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


async def close(store: OpenStore) -> object:
    """With connections in the pools."""
    await commit(store)
    return await store.close()


async def read_recent(store: OpenStore) -> object:
    """By the cache of a store that has one."""
    return await recent.read_recent(store, ANA, [key("a")])


def url_of(places: Places, kind: str) -> str:
    if kind != "mirror":
        return places.url(kind)
    return f"hybrid+{places.url('postgres')}?cache={places.url('redis').partition('?')[0]}"


OTHERS = (read, commit, close)
"""Each of them takes a sweep over a hundred and more awaits; a wait is where a connection was once left behind."""


# A mirror's background tasks that its last commit starts while the loop ends are still cut off with an open connection:
# only its reads are swept until that is mended (see `Background.start`).
@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("postgres", wait),
        pytest.param("redis", wait, marks=pytest.mark.long),
        *(pytest.param(kind, work, marks=pytest.mark.long) for kind in ("postgres", "redis") for work in OTHERS),
        *(pytest.param("mirror", work, marks=pytest.mark.long) for work in (read, read_recent)),
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

    async def prepare() -> None:
        store = open_store(url)
        await store.migrate()
        await store.close()

    asyncio.run(prepare())
    assert cuts(begin) == []
