"""URLs: what opens which store, and what is said of those that open none."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from holdfast.errors import InvalidInput
from holdfast.store.memory import MemoryStore
from holdfast.store.open import StateStorage, open_store
from holdfast.store.sqlite.store import SqliteStore


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory:///"])
async def test_memory(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, MemoryStore)
    assert store.capabilities.durable is False
    await store.close()


async def test_sqlite_absolute_relative_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "od d").mkdir()
    for url, path in (
        (f"sqlite:///{tmp_path}/one.db", tmp_path / "one.db"),
        ("sqlite:///two.db", tmp_path / "two.db"),
        ("sqlite:///" + quote("od d/100%?.db"), tmp_path / "od d" / "100%?.db"),
    ):
        store = open_store(url)
        assert isinstance(store, SqliteStore)
        assert store.path == path
        assert path.exists()
        assert store.capabilities.lock_folder == f"{path}.processes"
        await store.close()


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("sqlite:///:memory:", '"memory:" is the store in memory'),
        ("sqlite://store.db", "three slashes"),
        ("sqlite:store.db", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///folder/", "three slashes"),
        ("sqlite:///x.db?mode=rw", "mode=ro"),
        ("sqlite:///x.db?cache=shared", "mode=ro"),
        ("memory:x", "memory takes no path"),
        ("", "known schemes: hybrid, memory, postgres, postgresql, redis"),
        ("mysql://host/db", "known schemes"),
        ("store.db", "known schemes"),
    ],
)
def test_what_is_no_store_is_refused_with_what_is_one(url: str, match: str) -> None:
    with pytest.raises(InvalidInput, match=match) as caught:
        open_store(url)
    assert "memory:" in str(caught.value) or "mode=ro" in str(caught.value)


def test_the_specs_names() -> None:
    assert [storage.name for storage in StateStorage] == ["MEMORY", "SQLITE", "REDIS", "POSTGRES", "HYBRID"]
