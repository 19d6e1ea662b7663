"""Sends messages from a thread of its own: a broker that is slow or away holds nobody up.

What cannot be sent is kept and tried again, each run once. What is lost all the same is found in the store.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from celery import Celery
from kombu.exceptions import OperationalError

from holdfast import UnclaimedRun

PENDING_MAX = 10_000
"""Runs whose messages wait for the broker; further ones are left to the reaper."""
BATCH = 100
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Between attempts while the broker is away."""

log = logging.getLogger("holdfast.celery")

Send = Callable[[Sequence[UnclaimedRun], object], None]


class Publisher:
    """Messages of one Celery app. `send` sends one for each of some runs through a producer. Usable from any thread;
    after a fork the child has nothing to send and a thread of its own."""

    def __init__(self, app: Celery, send: Send, *, pending_max: int = PENDING_MAX) -> None:
        self._app = app
        self._send = send
        self._pending_max = pending_max
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._pending: dict[str, UnclaimedRun] = {}
        self._sending = 0
        self._thread: threading.Thread | None = None

    def offer(self, run: UnclaimedRun) -> None:
        """Send a message about `run` soon. Never blocks and never fails: a message is a hint."""
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            if len(self._pending) >= self._pending_max:
                log.warning("message left to the reaper: %s wait for the broker already", len(self._pending))
                return
            self._pending[run.id] = run
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="holdfast-publisher", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, *, wait_max_s: float) -> bool:
        """Wait at most `wait_max_s` seconds until all is sent; whether it is."""
        if self._pid != os.getpid():
            return True
        with self._changed:
            is_done = self._changed.wait_for(lambda: not self._pending and not self._sending, wait_max_s)
            if not is_done:
                log.warning("%s messages are left to the reaper: the broker takes none", len(self._pending))
            return is_done

    def _work(self) -> None:
        failures = 0
        while True:
            batch = self._next_batch()
            try:
                with self._app.producer_pool.acquire(block=True) as producer:
                    self._send(batch, producer)
            except (OperationalError, OSError, *self._app.connection_for_write().connection_errors) as error:
                log.warning("broker takes no message, trying again: %s", error)
                self._keep(batch)
                with self._changed:
                    self._changed.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                failures += 1
                continue
            except Exception as error:  # the thread's boundary: what would come again is not tried again
                log.error("%s messages could not be sent: %r", len(batch), error)
            failures = 0
            with self._changed:
                self._sending = 0
                self._changed.notify_all()

    def _next_batch(self) -> list[UnclaimedRun]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending))
            batch = [self._pending.pop(run_id) for run_id in list(self._pending)[:BATCH]]
            self._sending = len(batch)
            return batch

    def _keep(self, batch: list[UnclaimedRun]) -> None:
        """What was not sent goes first the next time; some of it may be sent twice, which does no harm."""
        with self._changed:
            self._pending = {run.id: run for run in batch} | self._pending
            self._sending = 0

    def __repr__(self) -> str:
        return f"Publisher({len(self._pending)} pending)"
