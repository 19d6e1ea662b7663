"""What somebody hands over, as named pieces of bytes: a file, a folder, a tar or zip archive, standard input.

Everything is bounded, and what a bound leaves out is told in `notes`. Nothing outside of what was given is read: no
links, no archives inside archives. Of a text (a log) only the end is kept, which is where trouble is told.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from holdfast import InvalidInput

FILES_MAX = 20_000
OBJECT_FILE_BYTES_MAX = 64 << 20
"""The largest file of objects that is read, in bytes."""
TEXT_TAIL_BYTES_MAX = 1 << 20
"""How much of the end of a log is kept, in bytes."""
TOTAL_BYTES_MAX = 256 << 20
"""How much is kept of everything together, in bytes."""
UNPACKED_BYTES_MAX = 1 << 30
"""How much an archive may unpack to, in bytes, skipped parts included: more is taken for a bomb."""
NOTES_MAX = 50
NOTE_CHARS_MAX = 400

OBJECT_SUFFIXES = (".json", ".yaml", ".yml", ".jsonl", ".ndjson")
TEXT_SUFFIXES = (".txt", ".log", ".out", "")
_CHUNK = 1 << 16
_BROKEN = (
    *(OSError, EOFError, ValueError, LookupError, NotImplementedError, RuntimeError, struct.error),
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
)
"""What unpackers raise for broken archives: not all of it is their own."""


@dataclass(frozen=True)
class Piece:
    """One file: its path inside what was given, its bytes, and whether its beginning was left out."""

    name: str
    data: bytes
    is_tail: bool = False


class Notes:
    """What was left out and why, bounded."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._more = 0

    def add(self, text: str) -> None:
        """One more, bounded and without signs that nobody can see; the same again is passed over."""
        text = "".join(sign if sign.isprintable() else "?" for sign in text[:NOTE_CHARS_MAX])
        if text in self._said:
            return
        if len(self._said) < NOTES_MAX:
            self._said.append(text)
        else:
            self._more += 1

    @property
    def said(self) -> tuple[str, ...]:
        """All of them, in order; how many more there were where they were too many."""
        return (*self._said, *([f"{self._more} more of the kind"] if self._more else []))


class _TooMuch(Exception):
    """An archive unpacks to more than is allowed."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Counted(io.RawIOBase):
    """Reads from an unpacker and ends it once it gave too much."""

    def __init__(self, source: _Readable, bytes_max: int) -> None:
        self._source = source
        self._left = bytes_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), _CHUNK))
        self._left -= len(data)
        if self._left < 0:
            raise _TooMuch
        buffer[: len(data)] = data
        return len(data)


def pieces_of(path: Path, notes: Notes) -> Iterator[Piece]:
    """The files in a folder, an archive, or the one file. Raises InvalidInput where there is none or it is broken."""
    if path.is_dir():
        yield from _bounded(_in_folder(path, notes), notes)
    elif path.is_file():
        with path.open("rb") as file:
            yield from pieces_in(file, path.name, notes)
    else:
        raise InvalidInput(
            f"{path}: expected a folder, a file or an archive of Kubernetes objects, saw nothing", path=str(path)
        )


def pieces_in(
    stream: IO[bytes], name: str, notes: Notes, *, unpacked_bytes_max: int = UNPACKED_BYTES_MAX
) -> Iterator[Piece]:
    """The files in a stream: an archive's, or the one that it is. Raises InvalidInput for a broken archive."""
    try:
        yield from _bounded(_in_stream(stream, name, notes, unpacked_bytes_max), notes)
    except _TooMuch:
        notes.add(f"{name}: unpacks to more than {unpacked_bytes_max >> 20} MiB; the rest was left out")
    except InvalidInput:
        raise
    except _BROKEN as error:
        raise InvalidInput(
            f"{name}: expected a whole archive, saw: {str(error)[:200] or type(error).__name__}"
        ) from error


def _bounded(pieces: Iterator[Piece], notes: Notes) -> Iterator[Piece]:
    kept = 0
    for number, piece in enumerate(pieces):
        kept += len(piece.data)
        if number >= FILES_MAX or kept > TOTAL_BYTES_MAX:
            notes.add(
                f"more than {FILES_MAX} files or {TOTAL_BYTES_MAX >> 20} MiB; {piece.name} and what follows left out"
            )
            return
        yield piece


def _in_folder(root: Path, notes: Notes) -> Iterator[Piece]:
    for folder, folders, files in os.walk(root):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(files):
            path = Path(folder) / name
            shown = path.relative_to(root).as_posix()
            if path.is_symlink() or not path.is_file():
                notes.add(f"{shown}: a link or no regular file, left out")
                continue
            with path.open("rb") as file:
                piece = _piece(shown, file, path.stat().st_size, notes, seek=True)
            if piece is not None:
                yield piece


def _in_stream(stream: IO[bytes], name: str, notes: Notes, bytes_max: int) -> Iterator[Piece]:
    head, stream = _peek(stream, 512)
    if head.startswith(b"PK\x03\x04"):
        yield from _in_zip(stream, name, notes, bytes_max)
        return
    unpack = _unpacker(head)
    if unpack is not None:
        stream = io.BufferedReader(_Counted(unpack(stream), bytes_max), _CHUNK)
        head, stream = _peek(stream, 512)
        name = name.removesuffix(Path(name).suffix) if Path(name).suffix in (".gz", ".bz2", ".xz") else name
    if _is_tar(head):
        yield from _in_tar(stream, notes)
        return
    piece = _piece(name, stream, None, notes, is_only=True)
    if piece is not None:
        yield piece


def _peek(stream: IO[bytes], count: int) -> tuple[bytes, IO[bytes]]:
    head = b""
    while len(head) < count and (data := stream.read(count - len(head))):
        head += data
    return head, io.BufferedReader(_Again(head, stream), _CHUNK)


class _Again(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _unpacker(head: bytes) -> Callable[[IO[bytes]], _Readable] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda stream: gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return lambda stream: bz2.BZ2File(stream)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lambda stream: lzma.LZMAFile(stream)
    return None


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _in_tar(stream: IO[bytes], notes: Notes) -> Iterator[Piece]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for number, member in enumerate(archive):
            if number >= FILES_MAX:
                notes.add(f"more than {FILES_MAX} files in the archive; the rest was left out")
                return
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                piece = _piece(member.name, file, member.size, notes)
                if piece is not None:
                    yield piece
            elif not member.isdir():
                notes.add(f"{member.name}: a link or no regular file, left out")


def _in_zip(stream: IO[bytes], name: str, notes: Notes, bytes_max: int) -> Iterator[Piece]:
    data = stream.read(TOTAL_BYTES_MAX + 1)
    if len(data) > TOTAL_BYTES_MAX:
        raise InvalidInput(f"{name}: expected an archive of at most {TOTAL_BYTES_MAX >> 20} MiB, saw more")
    left = bytes_max
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist()[:FILES_MAX]:
            if member.is_dir():
                continue
            if member.flag_bits & 1:
                notes.add(f"{member.filename}: encrypted, left out")
                continue
            with archive.open(member) as file:
                # The size that the archive states may be a lie: what is read is counted.
                counted = io.BufferedReader(_Counted(file, left), _CHUNK)
                piece = _piece(member.filename, counted, None, notes)
            if piece is not None:
                left -= len(piece.data)
                yield piece


def _piece(
    name: str, file: IO[bytes], size: int | None, notes: Notes, *, seek: bool = False, is_only: bool = False
) -> Piece | None:
    """The file's bytes, or None where nobody would read them."""
    suffix = Path(name).suffix.lower()
    if suffix in OBJECT_SUFFIXES or is_only:
        if size is not None and size > OBJECT_FILE_BYTES_MAX:
            notes.add(f"{name}: more than {OBJECT_FILE_BYTES_MAX >> 20} MiB, left out")
            return None
        data = file.read(OBJECT_FILE_BYTES_MAX + 1)
        if len(data) > OBJECT_FILE_BYTES_MAX:
            notes.add(f"{name}: more than {OBJECT_FILE_BYTES_MAX >> 20} MiB, the rest was left out")
            return Piece(name, data[:OBJECT_FILE_BYTES_MAX])
        return Piece(name, data)
    if suffix not in TEXT_SUFFIXES:
        notes.add(f"{name}: neither JSON, YAML nor text, left out")
        return None
    if seek and size is not None and size > TEXT_TAIL_BYTES_MAX:
        file.seek(size - TEXT_TAIL_BYTES_MAX)
        return _tail(name, file.read(TEXT_TAIL_BYTES_MAX), True, notes)
    last: deque[bytes] = deque(maxlen=TEXT_TAIL_BYTES_MAX // _CHUNK + 1)
    count = 0
    while chunk := file.read(_CHUNK):
        count += len(chunk)
        last.append(chunk)
    data = b"".join(last)
    return _tail(name, data[-TEXT_TAIL_BYTES_MAX:], count > TEXT_TAIL_BYTES_MAX, notes)


def _tail(name: str, data: bytes, is_tail: bool, notes: Notes) -> Piece:
    if is_tail:
        notes.add(f"{name}: of a long text only the last {TEXT_TAIL_BYTES_MAX >> 10} KiB were read")
    return Piece(name, data, is_tail)


def decoded(data: bytes) -> str:
    """Bytes as text: UTF-8, or UTF-16 where a byte order mark says so (a redirect in PowerShell); other bytes become
    the sign for what cannot be read."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")
