"""Sends again what nobody claimed: a message that was lost, a broker that was emptied, an owner that died.

One worker process at a time reaps, by a lock in the store. There is no beat and no ETA: timers are the store's, and
a run whose time has come is one that nobody works on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from holdfast import Engine, HoldfastError, InvalidInput, SystemClock, UnclaimedRun
from holdfast.integrations.celery.rules import Sent, select

LOCK = "celery-reaper"
USER = "celery-reaper"

log = logging.getLogger("holdfast.celery")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperOptions:
    """`look_s`: how often to look, so how late a timer may be. `patience_s`: how long a new run may lie before its
    message counts as lost; `patience_max_s`: the longest pause between two messages about one run."""

    look_s: float = 1.0
    patience_s: float = 5.0
    patience_max_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.look_s <= self.patience_s <= self.patience_max_s:
            raise InvalidInput(
                "reaper: expected 0 < look_s <= patience_s <= patience_max_s, "
                f"saw {self.look_s:g}, {self.patience_s:g} and {self.patience_max_s:g}"
            )


async def reap(
    engine: Engine, publish: Callable[[UnclaimedRun], None], options: ReaperOptions, *, lock_ttl_s: float
) -> None:
    """For ever: wait in line to be the one who reaps for these workflows, then look and publish. Whoever dies while he
    reaps is followed after `lock_ttl_s` seconds."""
    clock = SystemClock()
    known = hashlib.sha256("\n".join(sorted(engine.workflows)).encode()).hexdigest()[:16]
    while True:
        try:
            async with engine.lock(LOCK, known, user=USER, ttl_s=lock_ttl_s) as lease:
                sent: dict[str, Sent] | None = None
                while not lease.lost.is_set():
                    sent = await _look(engine, publish, options, sent)
                    await clock.sleep(options.look_s)
        except HoldfastError as error:
            log.warning("reaper could not look, trying again: %s", error)
            await clock.sleep(options.look_s)


async def _look(
    engine: Engine, publish: Callable[[UnclaimedRun], None], options: ReaperOptions, sent: dict[str, Sent] | None
) -> dict[str, Sent]:
    found = [run async for run in engine.unclaimed(is_thorough=sent is None)]
    chosen, after = select(
        found,
        sent or {},
        now=engine.store.now_s(),
        patience_s=options.patience_s,
        patience_max_s=options.patience_max_s,
    )
    for run in chosen:
        publish(run)
    return after


async def reap_until(
    stopping: asyncio.Event,
    engine: Engine,
    publish: Callable[[UnclaimedRun], None],
    options: ReaperOptions,
    *,
    lock_ttl_s: float,
) -> None:
    """`reap` until `stopping` is set."""
    async with asyncio.TaskGroup() as group:
        reaper = group.create_task(reap(engine, publish, options, lock_ttl_s=lock_ttl_s))
        await stopping.wait()
        reaper.cancel()
