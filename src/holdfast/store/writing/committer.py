"""The one writer of a process for stores behind a socket: it commits, in one go, whatever queued up meanwhile.

There is no thread and no artificial delay: whoever commits while nothing is being written starts a drain on his own
loop, which writes batch after batch until nothing waits. Loops of other threads only queue, and are answered on theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future

from holdfast.errors import CommitUnknown, HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.records import Change, Commit
from holdfast.store.writing.delivery import Answer, Waiter, copy_of, deliver, waiter
from holdfast.store.writing.intake import Entry, Intake, Sender
from holdfast.tasks import Supervisor

CANCELS_MAX = 3
"""How often a loop that ends may interrupt one batch before it is left to whoever commits next."""
HALF_LEAST = 24
"""Changes that go in one batch in any case: what a batch costs by itself is then shared by enough."""
HOST_CHECK_S = 0.5
"""How often a loop looks whether the other loop that writes for it still runs."""

Outcome = Commit | HoldfastError
Batch = Sequence[Entry[Waiter]]
log = get_logger(__name__)


class Poison(Exception):
    """Raised by a store's write: some value of the batch cannot be stored. `refusal` is what its sender is told."""

    def __init__(self, refusal: HoldfastError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Host:
    """The loop on which a drain runs, what it is writing at the moment, and what it writes next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.batch: Batch = ()
        self.next: deque[Batch] = deque()
        self.ended: Future[None] = Future()

    @property
    def is_lost(self) -> bool:
        """Whether it will not come to write anything for others."""
        return self.loop.is_closed() or not self.loop.is_running()


class Committer:
    """Queues changes and hands them to `write` in batches. `place` names the store in errors.

    `write` commits a batch and gives an outcome per change, in order. It raises `Unavailable` where nothing was done,
    `CommitUnknown` where nobody knows, `Poison` where one of several values cannot be stored (then halves are tried),
    and lets a cancellation through only where nothing was committed. `split` cuts a batch into those that must not be
    written together.
    """

    def __init__(
        self,
        write: Callable[[Batch], Awaitable[Sequence[Outcome]]],
        *,
        place: str,
        on_committed: Callable[[], None],
        split: Callable[[Batch], Sequence[Batch]] = lambda batch: (batch,),
        intake: Intake[Waiter] | None = None,
    ) -> None:
        self._write = write
        self._split = split
        self._place = place
        self._on_committed = on_committed
        self._new_intake: Callable[[], Intake[Waiter]] = Intake
        self._intake: Intake[Waiter] = Intake() if intake is None else intake
        self._lock = threading.Lock()
        self._host: _Host | None = None
        self._pid = os.getpid()
        self._is_closed = False
        self._trouble: str | None = None

    def ailment(self) -> str | None:
        """Why nothing can be committed at present: what the last batch met, until one succeeds."""
        return "the store is closed" if self._is_closed else self._trouble

    async def commit(self, sender: Sender, change: Change, payload_bytes: int) -> Commit:
        """The answer to `change`, which passed the gate, once it is committed."""
        if self._pid != os.getpid():
            self._start_anew()
        mine = waiter()
        with self._lock:
            self._check_open()
            self._intake.put(sender, Entry(change, mine, payload_bytes=payload_bytes))
        while not mine.future.done():
            host = self._ensure_host()
            if host is None or host.loop is mine.loop:
                break
            await asyncio.wait([mine.future], timeout=HOST_CHECK_S)
        answer: Commit = await mine.future
        return answer

    async def close(self) -> None:
        """Take nothing more, and commit what is queued; where that is cancelled, only what is being written."""
        with self._lock:
            self._is_closed = True
        try:
            await self._idle()
        except asyncio.CancelledError:
            self._refuse_queued()
            await self._idle()
            raise

    def succeeded(self) -> None:
        """The store was reached: what was wrong is over."""
        self._trouble = None

    def failed(self, error: HoldfastError) -> None:
        """The store could not be reached."""
        self._trouble = error.message

    def __repr__(self) -> str:
        return f"Committer({self._place}, queued={len(self._intake)}, ailment={self.ailment()!r})"

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._place}: the store is closed; open another")

    async def _idle(self) -> None:
        """Returns when nothing is queued or being written."""
        while (host := self._ensure_host(unless_idle=True)) is not None:
            await asyncio.wait([asyncio.wrap_future(host.ended)], timeout=HOST_CHECK_S)

    def _refuse_queued(self) -> None:
        with self._lock:
            entries = self._intake.take_all()
            if self._host is not None:
                entries += [entry for part in self._host.next for entry in part]
                self._host.next.clear()
        words = f"{self._place}: the store was closed before this was written"
        deliver([Answer(entry.waiter, None, Unavailable(words)) for entry in entries])

    def _ensure_host(self, *, unless_idle: bool = False) -> _Host | None:
        """Whoever writes now; the running loop, if nobody did. None if `unless_idle` and there is nothing to write."""
        loop = asyncio.get_running_loop()
        with self._lock:
            host = self._host
            if host is not None and not (host.is_lost and host.loop is not loop):
                return host
            if unless_idle and not len(self._intake) and not (host and host.next):
                return None
            self._host = mine = _Host(loop)
            if host is not None and host.loop.is_closed():
                mine.next.extend(host.next)
        if host is not None and host.loop.is_closed():
            self._tell_of_lost(host)
        drain = Supervisor("holdfast", on_failure=self._drain_failed).start(self._drain(mine), name="writer")
        drain.add_done_callback(lambda _: self._ended(mine))
        return mine

    async def _drain(self, me: _Host) -> None:
        """Write until nothing waits, or somebody else took over."""
        while batch := self._next_batch(me):
            answers = await self._persistent(me, batch)
            if any(answer.error is None for answer in answers):
                self._on_committed()
            deliver(answers)

    def _ended(self, me: _Host) -> None:
        if self._host is me:  # cancelled before it began: whoever commits next begins another
            self._put_back(me, ())
        me.ended.set_result(None)

    def _next_batch(self, me: _Host) -> Batch:
        """What waits, for `me` to write; nothing where somebody else writes now."""
        with self._lock:
            if self._host is not me:
                return ()
            if not me.next:
                # Who was answered just now will be back. Were all in one batch, server and senders would take turns
                # to wait; in two halves, one half works while the other is written.
                half = (len(self._intake) + len(me.batch) + 1) // 2
                taken = self._intake.take(at_most=max(half, HALF_LEAST))
                me.next.extend(self._split(taken) if taken else ())
            me.batch = me.next.popleft() if me.next else ()
            if not me.batch:
                self._host = None
            return me.batch

    async def _persistent(self, me: _Host, batch: Batch) -> list[Answer]:
        """The answers to `batch`, also on a loop that ends: it cancels all tasks once, then waits for them."""
        for _ in range(CANCELS_MAX):
            with contextlib.suppress(asyncio.CancelledError):
                return await self._outcomes(batch)
        self._put_back(me, batch)
        raise asyncio.CancelledError

    async def _outcomes(self, batch: Batch) -> list[Answer]:
        """Commit `batch`; where some value in it cannot be stored, by halves, so that it hurts its sender alone."""
        try:
            outcomes = await self._write(batch)
        except Poison as poison:
            if len(batch) == 1:
                return [Answer(batch[0].waiter, None, poison.refusal)]
            middle = len(batch) // 2
            return await self._outcomes(batch[:middle]) + await self._outcomes(batch[middle:])
        except HoldfastError as error:
            self._trouble = error.message
            return [Answer(entry.waiter, None, copy_of(error)) for entry in batch]
        self._trouble = None
        return [
            Answer(entry.waiter, outcome, None) if isinstance(outcome, Commit) else Answer(entry.waiter, None, outcome)
            for entry, outcome in zip(batch, outcomes, strict=True)
        ]

    def _put_back(self, me: _Host, batch: Batch) -> None:
        with self._lock:
            self._intake.put_back([*batch, *(entry for part in me.next for entry in part)])
            if self._host is me:
                self._host = None

    def _drain_failed(self, name: str, error: BaseException) -> None:
        """Whatever a drain does not expect: everybody who waits is told, and the next commit starts another."""
        log.error("writer_failed", place=self._place, error=repr(error))
        words = f"{self._place}: its writer failed with {type(error).__name__}: {error}"
        with self._lock:
            host, self._host = self._host, None
            queued = [entry for part in host.next for entry in part] if host else []
            entries = [*(host.batch if host else ()), *queued, *self._intake.take_all()]
        self._trouble = words
        deliver([Answer(entry.waiter, None, CommitUnknown(words)) for entry in entries])

    def _tell_of_lost(self, host: _Host) -> None:
        words = f"{self._place}: the loop that was committing this was closed; look it up before you try again"
        deliver([Answer(entry.waiter, None, CommitUnknown(words)) for entry in host.batch])

    def _start_anew(self) -> None:
        """After a fork: what was queued is the parent's to write."""
        self._pid, self._lock, self._host = os.getpid(), threading.Lock(), None
        self._intake = self._new_intake()
