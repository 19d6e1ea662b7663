"""Whether a process of this host lives, proven by a file lock that the kernel lets go when it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

from holdfast.clock import system_randomness
from holdfast.errors import InvalidInput, Unavailable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Life:
    """The proof that one process lives. Held until `release`, or until the process ends in any way at all."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file: int | None = file

    def release(self) -> None:
        """From now on the process counts as dead. Doing it twice does no harm."""
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self._file)
            self._file = None

    def __repr__(self) -> str:
        return f"Life({self._path.stem!r}, held={self._file is not None})"


class FileLiveness:
    """Lives in `folder`, one locked file each. Process ids are random and never used again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self) -> str:
        """What tells this folder from every other of its name: another container has another one. Made when first asked
        for. Only processes that name the same identity can prove each other's death."""
        path = self._folder / "identity"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                try:
                    os.write(file, f"{system_randomness().getrandbits(128):032x}".encode())
                finally:
                    os.close(file)
            while not (text := path.read_text()):
                continue  # a peer has made it just now, and writes it next
        except OSError as error:
            raise Unavailable(f"{path}: expected a folder that may be written ({error}); check it") from error
        return text

    def hold(self, process_id: str) -> Life:
        """Prove from now on that `process_id` lives. Raises Unavailable if somebody holds that id already."""
        path = self._path(process_id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                if not _lock(file):
                    os.close(file)
                    raise Unavailable(
                        f"process {process_id}: expected an id of its own, saw it held by another process of this "
                        "host; a machine or process was cloned, or engines share a `randomness` that repeats: start "
                        "this one anew with its own"
                    )
                if _is_at(file, path):
                    return Life(path, file)
                os.close(file)  # a peer took it for dead between our making and locking it
        except OSError as error:
            raise Unavailable(f"{path}: expected a file that may be locked ({error}); check the folder") from error

    def is_alive(self, process_id: str) -> bool:
        """Whether `process_id` is held now. What a dead process left behind is cleaned up."""
        path = self._path(process_id)
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Unavailable(f"{path}: expected a lock file that can be opened ({error})") from error
        try:
            if not _lock(file):
                return True
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return False
        finally:
            os.close(file)

    def __repr__(self) -> str:
        return f"FileLiveness({str(self._folder)!r})"

    def _path(self, process_id: str) -> Path:
        if not _NAME.fullmatch(process_id):
            raise InvalidInput(f"process id: expected letters, digits, dot, dash, underline, saw {process_id!r:.80}")
        return self._folder / f"{process_id}.alive"


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether the locked file is still the one that its name leads to."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
