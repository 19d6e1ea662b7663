"""Threads for bodies that are not async, of which one that never returns costs one thread and nothing else.

Python cannot end a thread. So these do not keep the program from ending, and one that is stuck is written off: another
takes its place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Job = Callable[[], None]


class DaemonThreads(Executor):
    """At most `threads_max` that are of use, beside those that are written off. Usable from any thread."""

    def __init__(self, name: str, *, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._ready = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._idle = 0
        self._count = 0
        self._written_off = 0
        self._is_closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of `fn(*args, **kwargs)` in one of the threads. Raises RuntimeError once it is shut down."""
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)

        with self._ready:
            if self._is_closed:
                raise RuntimeError(f"threads of {self._name}: they were shut down")
            self._jobs.append(job)
            self._see_to_it()
        return future

    def write_off(self) -> None:
        """One of them is stuck: it does not count any more."""
        with self._ready:
            self._written_off += 1
            self._see_to_it()

    def take_back(self) -> None:
        """One that was written off has come back; one too many ends when it has nothing to do."""
        with self._ready:
            self._written_off -= 1
            self._ready.notify_all()

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End those that have nothing to do. Never waits for the others: they may never end."""
        with self._ready:
            self._is_closed = True
            self._jobs.clear()
            self._ready.notify_all()

    def __len__(self) -> int:
        return self._count

    def _see_to_it(self) -> None:
        """Somebody for the jobs that wait. Under the lock."""
        if self._idle >= len(self._jobs):
            self._ready.notify()
        elif self._count < self._threads_max + self._written_off:
            self._count += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # or it would hold its arguments until the next one comes

    def _next(self) -> Job | None:
        with self._ready:
            self._idle += 1
            try:
                while not self._jobs:
                    if self._is_closed or self._count > self._threads_max + self._written_off:
                        self._count -= 1
                        return None
                    self._ready.wait()
                return self._jobs.popleft()
            finally:
                self._idle -= 1

    def __repr__(self) -> str:
        return f"DaemonThreads({self._name!r}, {self._count} of {self._threads_max}, written off={self._written_off})"


def named_thread(tell: Callable[[int | None], Any], function: Callable[[], T]) -> Callable[[], T]:
    """`function`, which tells in which thread it runs, and None when it does not any more."""

    def run() -> T:
        tell(threading.get_ident())
        try:
            return function()
        finally:
            tell(None)

    return run
