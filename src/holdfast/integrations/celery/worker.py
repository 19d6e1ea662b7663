"""What lives in each worker process: a thread with one event loop, and one engine in it.

Celery's own code stays in the pool process's main thread and asks this loop to take a run up. The run goes on in the
loop after the message is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from holdfast import CommitUnknown, Engine, HoldfastError, SystemClock, Unavailable, UnclaimedRun
from holdfast.integrations.celery.publisher import Publisher
from holdfast.integrations.celery.reaper import ReaperOptions, reap_until

REOPEN_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to open an engine that cannot be opened."""
RETRY_S = 0.25
"""Pause before a claim is tried again on a store that is away."""
MARGIN_S = 30.0
"""How much longer than it should take the loop is waited for before it counts as stuck."""
FLUSH_S = 5.0

log = logging.getLogger("holdfast.celery")


class WorkerLoop:
    """One engine for this process, from `start` to `stop`. `wait_max_s`: how long `take_up` waits for a place, or for
    the store; `drain_s`: how long `stop` waits for runs to be let go; `lock_ttl_s`: how long nobody reaps when the
    process that does so dies."""

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        publisher: Publisher,
        *,
        wait_max_s: float,
        drain_s: float,
        lock_ttl_s: float,
        reaper: ReaperOptions,
    ) -> None:
        self._make_engine = make_engine
        self._publisher = publisher
        self._wait_max_s = wait_max_s
        self._drain_s = drain_s
        self._lock_ttl_s = lock_ttl_s
        self._reaper = reaper
        self._opened: Future[tuple[asyncio.AbstractEventLoop, Engine]] = Future()
        self._asked = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="holdfast-celery", daemon=True)

    def start(self) -> None:
        """Begin to open the engine, in the loop's thread."""
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether its thread is gone, by an error that nobody foresaw if not by `stop`: another loop is to follow."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def take_up(self, run_id: str, *, user: str, tenant: str) -> str:
        """What `Engine.take_up` gives; "full" too where the engine or its store cannot be had in time. Blocks."""
        try:
            loop, engine = self._opened.result(timeout=self._wait_max_s)
        except FutureTimeoutError:
            return "full"
        work = self._take_up(engine, run_id, user, tenant)
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=self._wait_max_s + MARGIN_S)

    def stop(self) -> None:
        """Drain: take no more, wait for runs to be let go, give the rest back and tell others of them."""
        with self._lock:
            self._asked.set()
            loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
        self._thread.join(self._drain_s + MARGIN_S)
        if self._thread.is_alive():
            log.error("worker's loop did not end: its runs are taken over once its lease ends")
        self._publisher.flush(wait_max_s=FLUSH_S)

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop, self._stopping = loop, stopping
            if self._asked.is_set():
                return
        engine = await self._open(stopping)
        if engine is None:
            return
        left: list[UnclaimedRun] = []
        try:
            self._opened.set_result((loop, engine))
            await reap_until(stopping, engine, self._publisher.offer, self._reaper, lock_ttl_s=self._lock_ttl_s)
            left = engine.worked_on()
            await engine.drain(grace_s=self._drain_s)
        finally:
            await engine.close()
            for run in left:  # only now: while we own it, whoever hears of it takes it for ours
                self._publisher.offer(run)

    async def _open(self, stopping: asyncio.Event) -> Engine | None:
        """The engine once it opens; None where the worker is to stop first. Until then messages go back."""
        attempt = 0
        while not stopping.is_set():
            try:
                return await self._make_engine().__aenter__()
            except HoldfastError as error:
                log.critical("worker takes no runs: its engine cannot be opened: %s", error)
            try:
                async with asyncio.timeout(REOPEN_S[min(attempt, len(REOPEN_S) - 1)]):
                    await stopping.wait()
            except TimeoutError:
                attempt += 1
        return None

    async def _take_up(self, engine: Engine, run_id: str, user: str, tenant: str) -> str:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._wait_max_s
        while True:
            left_s = max(0.0, give_up_at - loop.time())
            try:
                return await engine.take_up(run_id, user=user, tenant=tenant, wait_max_s=left_s)
            except (Unavailable, CommitUnknown) as error:
                if left_s == 0.0:
                    log.warning("run %s goes back to its queue: %s", run_id, error)
                    return "full"
            await SystemClock().sleep(RETRY_S)

    def __repr__(self) -> str:
        return f"WorkerLoop(opened={self._opened.done()})"
