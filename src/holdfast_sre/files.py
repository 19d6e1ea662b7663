"""Files that several processes share and that a crash must not tear: read, replace whole, lock.

All blocking calls run in the loop's executor. A file is replaced by renaming a synced sibling over it, so a reader sees
the old or the new text and never a part; a lock belongs to the open file, so the kernel releases it with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from holdfast import InvalidInput, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_LOCK_POLL_S = 0.01


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking `work` in the running loop's executor."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))


def read_text(path: Path, *, bytes_max: int) -> str:
    """The text of a file. Raises InvalidInput past `bytes_max` or where it is not UTF-8; FileNotFoundError."""
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise InvalidInput(f"{path}: expected at most {bytes_max} bytes, found more", path=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: expected UTF-8 text, found {error.reason}", path=str(path)) from error


def read_source(path: Path, *, bytes_max: int) -> str:
    """The same for sources of manifests, of which some are no text (a packed chart): bytes that are no UTF-8 are kept
    as lone surrogates, and `replace_text` writes them as they were."""
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise InvalidInput(f"{path}: expected at most {bytes_max} bytes, found more", path=str(path))
    return data.decode(errors="surrogateescape")


def replace_text(path: Path, text: str) -> None:
    """Give `path` a new text, whole or not at all, and durable when this returns. Makes the folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            os.fchmod(handle, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable: without this the new name may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def exclusively(lock: Path, work: Callable[[], T], *, wait_s_max: float = 10.0) -> T:
    """Run blocking `work` in a thread while holding the lock file, alone among processes and tasks.

    Raises Unavailable where the lock is not free within `wait_s_max` seconds. Work that has begun ends, and keeps the
    lock until then, even when the caller is cancelled: a thread cannot be stopped half-way.
    """
    handle = await _acquire(lock, wait_s_max)
    ended = asyncio.get_running_loop().run_in_executor(None, _work_and_release, handle, work)
    ended.add_done_callback(_retrieve)
    return await asyncio.shield(ended)


async def _acquire(lock: Path, wait_s_max: float) -> int:
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for _ in range(max(1, round(wait_s_max / _LOCK_POLL_S))):
            if _is_taken(handle):
                return handle
            await asyncio.sleep(_LOCK_POLL_S)
        raise Unavailable(f"{lock}: still held by another process after {wait_s_max} s", path=str(lock))
    except BaseException:
        os.close(handle)
        raise


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _work_and_release(handle: int, work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        os.close(handle)


def _retrieve(ended: asyncio.Future[T]) -> None:
    # A caller that was cancelled does not look any more; asyncio would complain of an error nobody saw.
    if not ended.cancelled():
        ended.exception()
