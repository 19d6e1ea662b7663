"""A truth in memory that several mirrors share, as processes share a database, and a cache whose way can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from holdfast.errors import HoldfastError, Unavailable
from holdfast.store.contract.records import ABSENT, Change, Claim, Commit, Key, Put, Record, Scope
from holdfast.store.contract.witness import CommitWitness
from holdfast.store.decisions import gate
from holdfast.store.decisions.rules import judge, row_of
from holdfast.store.memory import MemoryStore
from holdfast.store.mirror.cache import Cache
from holdfast.store.mirror.rules import Promise
from holdfast.store.mirror.store import MirrorStore
from holdfast.testing.servers import ValkeyServer

SYSTEM = Scope.system()
CacheT = TypeVar("CacheT", bound=Cache)
_numbers = itertools.count(1)


def run_key(id_: str = "a") -> Key:
    return Key("acme", "ana", "run", id_)


class Database:
    """What all processes share. `pause` is awaited at the places where somebody else may come in between."""

    def __init__(self) -> None:
        self.contents = MemoryStore()
        self.generation = 1
        self.is_away = False
        self.reads = 0

        async def no_pause(where: str) -> None:
            await asyncio.sleep(0)

        self.pause: Callable[[str], Any] = no_pause

    def check(self) -> None:
        if self.is_away:
            raise Unavailable("the database is away")


class MemoryTruth(MemoryStore):
    """One process's connection to a `Database`."""

    def __init__(self, database: Database, witness: CommitWitness) -> None:
        super().__init__()
        self._database = database
        self._witness = witness
        self._contents = database.contents._contents
        self._lock = database.contents._lock

    async def read(self, scope: Scope, keys: Any) -> list[Record | None]:
        self._database.check()
        self._database.reads += 1
        found = await super().read(scope, keys)
        await self._database.pause("read")
        return found

    async def commit(self, scope: Scope, change: Change) -> Commit:
        self._database.check()
        gate.check_change(scope, change)
        await self._database.pause("begin")
        must_raise = self._witness.must_raise()
        with self._lock:
            judgement = judge(
                [change],
                self._contents.rows,
                self._contents.streams,
                at=self._clock.time_s(),
                incarnation=self._contents.incarnation,
            )
            self._contents.apply(judgement)
            self._database.generation += must_raise
        await self._database.pause("committed")
        self._witness.written(judgement.rows, judgement.removed)
        (answer,) = judgement.answers
        if isinstance(answer, HoldfastError):
            raise answer
        self._wakeup.advance()
        return answer

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        must_raise = self._witness.must_raise()
        taken = await super().claim(scope, claim)
        self._database.generation += must_raise
        self._witness.written({record.key: row_of(record) for record in taken}, ())
        return taken

    async def generation(self) -> int:
        self._database.check()
        generation = self._database.generation
        await self._database.pause("generation")
        return generation

    async def raise_generation(self) -> int:
        self._database.check()
        self._database.generation += 1
        return self._database.generation


def cache_at(
    url: str,
    namespace: str,
    *,
    budget_s: float = 2.0,
    kind: Callable[..., CacheT] = Cache,  # type: ignore[assignment]
) -> CacheT:
    """A cache with a budget that a crowded machine does not exceed, unless the test is about it."""
    return kind(url, namespace=namespace, budget_s=budget_s)


def mirror_of(database: Database, cache: Cache, **promise: float) -> MirrorStore:
    """One more process."""
    return MirrorStore.of(lambda witness: MemoryTruth(database, witness), cache, promise=Promise(**promise))  # type: ignore[arg-type]


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 60) -> None:
    """Returns once `holds`; looks every few milliseconds."""
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.005)


async def usable(store: MirrorStore) -> MirrorStore:
    """`store`, once it uses its cache and calls itself well."""

    async def is_usable() -> bool:
        store._link.tend()
        return store._link.is_usable and store.weakness() is None

    await until(is_usable)
    return store


async def unused(store: MirrorStore) -> None:
    """Returns once `store` has noticed that its cache is away."""

    async def is_weak() -> bool:
        await store.read_recent(SYSTEM, [run_key("looking")])
        return store.weakness() is not None

    await until(is_weak)


async def sees(store: MirrorStore, key: Key, version: int) -> None:
    """Returns once who looks sees this version."""

    async def is_seen() -> bool:
        return await version_of(store, key) == version

    await until(is_seen)


@contextlib.asynccontextmanager
async def closing(*stores: MirrorStore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for store in stores:
            await store.close()


async def put(store: MirrorStore, key: Key, number: int, *, expect: int | None = None) -> int:
    """Write one more version; its number."""
    change = Change(
        change_id=f"change-{next(_numbers)}", writes=(Put(key=key, body=b'{"n":%d}' % number, expect=expect),)
    )
    return (await store.commit(SYSTEM, change)).versions[0]


async def version_of(store: MirrorStore, key: Key, *, least: int = 0) -> int:
    """What a reader who only looks sees."""
    (record,) = await store.read_recent(SYSTEM, [key], least_versions=[least])
    return ABSENT if record is None else record.version


class Proxy:
    """A way to a server that can be cut and mended."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Proxy:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, there_writer}
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def snapshot_of(server: ValkeyServer) -> bytes:
    """The server's state on disk, as it would be after a crash now."""
    assert "OK" in server.command("SAVE")
    return (server.folder / "dump.rdb").read_bytes()
