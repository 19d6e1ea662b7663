"""Whose turn it is to write a file that several processes share: a file lock, first come first served, with a name.

SQLite's own busy handler polls, so that a busy writer can starve the others. Here everybody passes a turnstile: who
waits for the lock holds it, so that the last holder queues up behind. A holder leaves its name in the file, and whoever
waits too long can say whom it waited for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

from holdfast.errors import Unavailable

NAME_BYTES_MAX = 120


class Turn:
    """The lock files `<path>.lock` and `<path>.lock.next`. One thread at a time may use it."""

    def __init__(self, path: Path, *, name: str, timeout_s: float) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._name = name.encode()[:NAME_BYTES_MAX].ljust(NAME_BYTES_MAX)
        self._timeout_s = timeout_s
        self._lock = _open(self._path)
        self._turnstile = _open(self._path.with_name(self._path.name + ".next"))
        self._queued: _Queued | None = None

    def acquire(self) -> None:
        """Returns when it is our turn. Raises Unavailable that names the holder after `timeout_s` seconds."""
        if self._queued is not None or not self._try():
            self._wait()
        os.pwrite(self._lock, self._name, 0)

    def release(self) -> None:
        """Let the next one write."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Who holds the lock, or held it last."""
        return os.pread(self._lock, NAME_BYTES_MAX, 0).decode(errors="replace").strip() or "an unnamed process"

    def close(self) -> None:
        """Let go of the files. Where a thread still waits for a turn, it closes them when that comes."""
        if self._queued is None or not self._queued.leave_to_close():
            os.close(self._lock)
            os.close(self._turnstile)

    def __repr__(self) -> str:
        return f"Turn({str(self._path)!r}, waits={self._queued is not None})"

    def _try(self) -> bool:
        """Take the lock if nobody has it or waits for it."""
        if not _lock_at_once(self._turnstile):
            return False
        try:
            return _lock_at_once(self._lock)
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def _wait(self) -> None:
        if self._queued is None or not self._queued.want_again():
            self._queued = _Queued(self._turnstile, self._lock)
        if not self._queued.wait(self._timeout_s):
            holder = self.holder()
            raise Unavailable(
                f"{self._path}: the turn to write did not come in {self._timeout_s:g} s, held by {holder};"
                " is that process stopped? Let it go on, or end it",
                holder=holder,
            )
        self._queued = None


class _Queued:
    """A thread that waits for the lock, for flock knows no timeout.

    When the caller has given up, the thread stays in the queue, and lets the lock go at once unless somebody wants it
    again by then: a lock that nobody uses must not keep the peers out.
    """

    def __init__(self, turnstile: int, lock: int) -> None:
        self._turnstile = turnstile
        self._lock = lock
        self._mutex = threading.Lock()
        self._came = threading.Event()
        self._is_wanted = True
        self._is_over = False
        self._closes = False
        threading.Thread(target=self._queue_up, name="holdfast-turn", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether the lock is ours; if not within `timeout_s`, it is not wanted any more."""
        if self._came.wait(timeout_s):
            return True
        with self._mutex:
            self._is_wanted = self._came.is_set()
            return self._is_wanted

    def want_again(self) -> bool:
        """Go on waiting with the same thread; False if it has gone."""
        with self._mutex:
            self._is_wanted = not self._is_over
            return self._is_wanted

    def leave_to_close(self) -> bool:
        """Have the thread close the files when it ends; False if it has ended."""
        with self._mutex:
            self._closes = not self._is_over
            return self._closes

    def _queue_up(self) -> None:
        fcntl.flock(self._turnstile, fcntl.LOCK_EX)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fcntl.flock(self._turnstile, fcntl.LOCK_UN)
        with self._mutex:
            self._is_over = True
            if self._is_wanted:
                self._came.set()
            else:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            if self._closes:
                os.close(self._lock)
                os.close(self._turnstile)


def _lock_at_once(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Unavailable(f"{path}: expected a lock file that may be written ({error}); check the folder") from error
