"""The one writer of a process: it commits, in one transaction, whatever queued up while the last commit ran.

There is no artificial delay: the first change starts a drain in the executor, and what arrives meanwhile is the next
batch. Everybody is answered after COMMIT, on his own loop, by one call per loop. Who goes away does not stop the write.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

from holdfast import faults
from holdfast.clock import Clock
from holdfast.errors import CommitUnknown, HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.store.contract.records import Change, Commit
from holdfast.store.decisions.rules import judge
from holdfast.store.sqlite import tables
from holdfast.store.sqlite.errors import is_certainly_undone, is_payload_fault, translate
from holdfast.store.sqlite.schema import roll_back
from holdfast.store.sqlite.turn import Turn
from holdfast.store.writing.delivery import Answer, Waiter, copy_of, deliver, waiter
from holdfast.store.writing.intake import Entry, Intake, Sender
from holdfast.store.writing.wakeup import Wakeup

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
DRAIN_BATCHES_MAX = 64
"""Batches written before others who share the executor have their turn."""
log = get_logger(__name__)


class Writer:
    """Owns the connection that writes. `commit` and `run` may be called from any loop of any thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        path: Path,
        executor: Executor,
        turn: Turn,
        clock: Clock,
        wakeup: Wakeup,
        intake: Intake[Waiter] | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._executor = executor
        self._turn = turn
        self._clock = clock
        self._wakeup = wakeup
        self._lock = threading.Lock()
        self._intake: Intake[Waiter] = Intake() if intake is None else intake
        self._jobs: deque[tuple[Job[Any], Waiter]] = deque()
        self._is_draining = False
        self._writing = threading.Lock()
        self._is_closed = False
        self._end: str | None = None
        self._trouble: str | None = None
        self._seen_version = self._data_version()

    def ailment(self) -> str | None:
        """Why nothing can be committed at present: the writer has ended, or its last batch met the world's no."""
        return self._end or self._trouble

    async def commit(self, sender: Sender, change: Change, payload_bytes: int) -> Commit:
        """The answer to `change`, which passed the gate, once it is durable."""
        mine = waiter()
        with self._lock:
            self._check_alive()
            self._intake.put(sender, Entry(change, mine, payload_bytes=payload_bytes))
        self._start()
        answer: Commit = await mine.future
        return answer

    async def run(self, job: Job[T]) -> T:
        """What `job` returns, run alone in a transaction of its own."""
        mine = waiter()
        with self._lock:
            self._check_alive()
            self._jobs.append((job, mine))
        self._start()
        result: T = await mine.future
        return result

    def look(self) -> None:
        """Count one up if somebody else has committed since the last look. Blocks; for the executor."""
        if not self._writing.acquire(blocking=False):
            return  # our own commits wake everybody as it is
        try:
            version = self._seen_version if self._end is not None else self._data_version()
            is_news, self._seen_version = version != self._seen_version, version
        except sqlite3.OperationalError:
            is_news = False  # busy: looked at again soon
        finally:
            self._writing.release()
        if is_news:
            self._wakeup.advance()

    async def close(self) -> None:
        """Take nothing more, commit what is queued, let go of the file. Who is cancelled meanwhile does not stop it."""
        with self._lock:
            self._is_closed = True
            self._is_draining = True
        try:
            last = self._executor.submit(self._drain, batches_max=None)
        except RuntimeError as error:  # it was shut down before us
            self._die(error)
            self._let_go()
        else:
            last.add_done_callback(self._drained)
            last.add_done_callback(lambda _: self._let_go())  # in the thread: the loop does not wait for the file
            await asyncio.wait([asyncio.wrap_future(last)])

    def __repr__(self) -> str:
        return f"Writer({str(self._path)!r}, queued={len(self._intake)}, ailment={self.ailment()!r})"

    def _check_alive(self) -> None:
        if self._is_closed or self._end is not None:
            raise Unavailable(f"{self._path}: {self._end or 'the store is closed'}", path=str(self._path))

    def _start(self) -> None:
        with self._lock:
            if self._is_draining:
                return
            self._is_draining = True
        self._submit()

    def _submit(self) -> None:
        try:
            self._executor.submit(self._drain, batches_max=DRAIN_BATCHES_MAX).add_done_callback(self._drained)
        except RuntimeError as error:  # it was shut down
            self._die(error)

    def _drain(self, *, batches_max: int | None) -> bool:
        """Write until nothing waits, or for `batches_max` batches; whether something may be left."""
        with self._writing:
            for _ in itertools.count() if batches_max is None else range(batches_max):
                if not self._drain_once():
                    return False
                if self._end is not None:
                    self._fail_all()
            return True

    def _drained(self, drain: Future[bool]) -> None:
        """Go on if something is left. Whatever a drain does not expect ends the writer, and everybody is told."""
        if (error := drain.exception()) is None:
            if drain.result():
                self._submit()
        else:
            log.error("writer_died", path=str(self._path), error=repr(error))
            self._die(error)

    def _let_go(self) -> None:
        with self._writing:
            self._connection.close()
            self._turn.close()

    def _drain_once(self) -> bool:
        with self._lock:
            job = self._jobs.popleft() if self._jobs else None
            batch = self._intake.take()
            self._is_draining = bool(job or batch)
        if job:
            deliver([self._run_alone(*job)])
        if batch:
            try:
                answers = self._write(batch)
            except BaseException as error:
                deliver([Answer(entry.waiter, None, self._death(error)) for entry in batch])
                raise
            if any(answer.error is None for answer in answers):
                self._wakeup.advance()
            deliver(answers)
        return bool(job or batch)

    def _write(self, batch: Sequence[Entry[Waiter]]) -> list[Answer]:
        """Commit `batch`; where some value in it cannot be stored, by halves, so that it hurts its sender alone."""
        try:
            outcome = self._commit([entry.change for entry in batch])
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            if not is_payload_fault(error) or len(batch) == 1:
                return [Answer(entry.waiter, None, self._refusal(error)) for entry in batch]
            middle = len(batch) // 2
            return self._write(batch[:middle]) + self._write(batch[middle:])
        except HoldfastError as error:
            self._trouble = error.message
            return [Answer(entry.waiter, None, copy_of(error)) for entry in batch]
        self._trouble = None
        return [
            Answer(entry.waiter, answer, None) if isinstance(answer, Commit) else Answer(entry.waiter, None, answer)
            for entry, answer in zip(batch, outcome, strict=True)
        ]

    def _commit(self, changes: Sequence[Change]) -> Sequence[Commit | HoldfastError]:
        with self._transaction() as connection:
            known = tables.load(connection, changes)
            judgement = judge(
                changes, known.rows, known.streams, at=self._clock.time_s(), incarnation=known.incarnation
            )
            tables.store(connection, judgement)
        return judgement.answers

    def _run_alone(self, job: Job[Any], waiter: Waiter) -> Answer:
        before = self._connection.total_changes
        try:
            with self._transaction() as connection:
                result = job(connection)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            return Answer(waiter, None, self._refusal(error))
        except HoldfastError as error:
            if isinstance(error, Unavailable):
                self._trouble = error.message
            return Answer(waiter, None, error)
        except BaseException as error:
            deliver([Answer(waiter, None, self._death(error))])
            raise
        if self._connection.total_changes > before:  # a claim that took nothing is no news, and no proof of health
            self._trouble = None
            self._wakeup.advance()
        return Answer(waiter, result, None)

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._turn.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                faults.point("store-before-commit")
                self._end_transaction()
            finally:
                roll_back(self._connection)
        finally:
            self._turn.release()

    def _end_transaction(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if is_certainly_undone(error):
                raise
            # A sync that failed tells nothing about what is on the disk, nor would the next one: stop here.
            self._end = f"a commit's outcome is unknown ({error}); check the disk, then restart this process"
            raise CommitUnknown(f"{self._path}: {self._end}", path=str(self._path)) from error
        try:
            faults.point("store-after-commit")
        except Unavailable as error:
            raise CommitUnknown(f"{self._path}: the answer to a commit was lost", path=str(self._path)) from error

    def _refusal(self, error: BaseException) -> HoldfastError:
        """The store's error for what SQLite said; remembered as our ailment unless a payload is to blame."""
        database_error = error if isinstance(error, sqlite3.Error) else sqlite3.DataError(str(error))
        refusal = translate(database_error, self._path)
        refusal.__cause__ = error
        if not is_payload_fault(error):
            self._trouble = refusal.message
        return refusal

    def _die(self, error: BaseException) -> None:
        self._end = self._end or _words_of_death(error)
        self._fail_all()

    def _fail_all(self) -> None:
        """Tell everybody who waits that nothing will be written any more."""
        with self._lock:
            self._is_draining = False
            waiters = [entry.waiter for entry in self._intake.take_all()] + [waiter for _, waiter in self._jobs]
            self._jobs.clear()
        words = f"{self._path}: {self._end}"
        deliver([Answer(waiter, None, Unavailable(words, path=str(self._path))) for waiter in waiters])

    def _death(self, error: BaseException) -> Unavailable:
        death = Unavailable(f"{self._path}: {_words_of_death(error)}", path=str(self._path))
        death.__cause__ = error
        return death

    def _data_version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version


def _words_of_death(error: BaseException) -> str:
    return f"its writer died of {type(error).__name__}: {error}; restart this process"
