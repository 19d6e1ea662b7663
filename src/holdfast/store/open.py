"""A URL becomes a store, with a codec in front of it or without."""

from __future__ import annotations

import enum
import importlib
import urllib.parse
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from holdfast import codec
from holdfast.clock import Clock
from holdfast.errors import InvalidInput
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.fallback.address import falls_back
from holdfast.store.memory.store import MemoryStore
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.wrapping.seal import SEALED_BYTES_MAX, Codec
from holdfast.store.wrapping.sealed import SealedStore


class StateStorage(enum.Enum):
    """Where state lives. A value is the scheme of the URL that `open_store` takes."""

    MEMORY = "memory"
    SQLITE = "sqlite"
    REDIS = "redis"
    POSTGRES = "postgres"
    HYBRID = "hybrid"


_URLS = (
    'expected "memory:", "sqlite:///relative.db" or "sqlite:////absolute.db" (with "?mode=ro" to read only), '
    '"postgresql://user@host/database", "redis://host/0" (with "?fallback=memory" to go on while it is away), or '
    '"hybrid+postgresql://user@host/database?cache=redis://host"'
)
_SCHEMES = {
    "postgresql": StateStorage.POSTGRES,
    "rediss": StateStorage.REDIS,
    "redis+cluster": StateStorage.REDIS,
    "rediss+cluster": StateStorage.REDIS,
    "valkey": StateStorage.REDIS,
}
_EXTRAS = {
    StateStorage.POSTGRES: ("holdfast.store.postgres", "PostgresStore", "postgres"),
    StateStorage.REDIS: ("holdfast.store.redis", "RedisStore", "redis"),
    StateStorage.HYBRID: ("holdfast.store.mirror.store", "MirrorStore", "postgres,redis"),
}
"""Where the stores are that need a driver, and the extra that brings it: loaded only where a URL asks for one."""
_FALLBACK = ("holdfast.store.fallback.store", "FallbackStore", "redis")


def open_store(
    url: str,
    *,
    clock: Clock | None = None,
    executor: Executor | None = None,
    process: str = "",
    payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX,
) -> OpenStore:
    """The store that `url` names; a new SQLite file is made, an older one brought up to date.

    `clock` is the store's time, `executor` runs what blocks, `process` is how other processes name this one when they
    wait for it. Raises InvalidInput for a URL that names no store, and what opening the store raises.
    """
    storage, rest = _parsed(url)
    place = _FALLBACK if falls_back(url) else _EXTRAS.get(storage)
    match storage:
        case StateStorage.MEMORY:
            if rest.strip("/"):
                raise _no_store(url, _URLS, "memory takes no path")
            return MemoryStore(clock=clock, payload_bytes_max=payload_bytes_max)
        case StateStorage.SQLITE:
            path, read_only = _sqlite_path(url, rest)
            return SqliteStore(
                path,
                read_only=read_only,
                clock=clock,
                executor=executor,
                process=process,
                payload_bytes_max=payload_bytes_max,
            )
        case StateStorage.REDIS | StateStorage.POSTGRES | StateStorage.HYBRID:
            opened: OpenStore = _extra(place, url)(
                url, clock=clock, process=process, payload_bytes_max=payload_bytes_max
            )
            return opened


def open_sealed(
    url: str, codec: Codec, *, clock: Clock | None = None, executor: Executor | None = None, process: str = ""
) -> SealedStore:
    """As `open_store`, with a codec before what lies in it."""
    inner = open_store(url, clock=clock, executor=executor, process=process, payload_bytes_max=SEALED_BYTES_MAX)
    return SealedStore(inner, codec)


def _extra(place: tuple[str, str, str] | None, url: str) -> Any:
    """The class of a store that comes with an extra."""
    assert place is not None, "each storage with a driver has its place"
    module, name, extra = place
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("holdfast"):
            raise
        needed = f"expected {error.name} to be installed for it"
        raise _no_store(url, needed, f"pip install 'holdfast[{extra}]'") from error


def _parsed(url: str) -> tuple[StateStorage, str]:
    scheme, colon, rest = url.partition(":")
    known = {storage.value: storage for storage in StateStorage} | _SCHEMES
    scheme = scheme.lower()
    storage = known.get(scheme, known.get(scheme.partition("+")[0])) if colon else None
    if storage is None:
        raise _no_store(url, _URLS, f"known schemes: {', '.join(sorted(known))}")
    return storage, rest


def _no_store(url: str, expected: str, advice: str) -> InvalidInput:
    shown = without_secret(url)
    return InvalidInput(f"store URL: {expected}, saw {shown!r}; {advice}", url=shown)


def _sqlite_path(url: str, rest: str) -> tuple[Path, bool]:
    location, _, query = rest.partition("?")
    if location == "///:memory:":
        raise _no_store(url, "expected a file", '"memory:" is the store in memory')
    path = urllib.parse.unquote(location.removeprefix("///"))
    if not location.startswith("///") or not path or path.endswith("/"):
        raise _no_store(url, _URLS, "sqlite takes three slashes and then a path")
    options = urllib.parse.parse_qs(query, keep_blank_values=True)
    mode = options.pop("mode", ["rwc"])
    if options or mode not in (["ro"], ["rwc"]):
        raise InvalidInput(f'store URL: expected no options but "mode=ro", saw {query!r}', url=url)
    return Path(path), mode == ["ro"]
