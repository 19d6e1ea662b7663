"""The `git` program as a function: list arguments, no shell, nobody's configuration but the repository's own.

Everything above speaks plumbing (`commit-tree`, `update-ref`), whose output and hashes are the same on every machine.
Objects are written first and a reference is moved last, by compare-and-swap: a process that dies in between leaves
unreachable objects, never half a change.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from holdfast import InvalidInput, Unavailable

T = TypeVar("T")

DEADLINE_S = 60.0
ERROR_CHARS_MAX = 500
LATEST_S = 253_402_300_799
"""The last second that a calendar has (year 9999): a commit may claim a later one."""
_PART_BYTES = 1 << 16

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "gc.auto=0",
    "protocol.allow=never",
    "log.showSignature=false",
)
"""No program that a repository's own configuration names is started: not even to show whether a commit is signed."""


@dataclass(frozen=True)
class Identity:
    """Who signs commits. Raises InvalidInput for names that git would mangle."""

    name: str
    email: str

    def __post_init__(self) -> None:
        for field, value in (("name", self.name), ("email", self.email)):
            if not value.strip() or any(sign in value for sign in "<>\n\r\0"):
                raise InvalidInput(f"git identity: expected a {field} without <, > or line breaks, saw {value!r}")

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class GitFailed(Unavailable):
    """A git command ended with an exit status above zero: facts `status` and `complaint`."""


class Git:
    """Runs git in one repository."""

    def __init__(self, path: Path, *, identity: Identity) -> None:
        self.path = path
        self.identity = identity

    async def run(
        self, *args: str, data: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> bytes:
        """What `git ARGS` prints, given `data` on its input.

        Raises GitFailed for an exit status above zero, InvalidInput where there is no repository, Unavailable without
        git or past the deadline.
        """
        process = await self._start(args, env, cwd)
        output, complaint = await _finish(process, process.communicate(data), args)
        if process.returncode:
            raise self._failed(process.returncode, complaint, args)
        return output

    async def head_of(self, *args: str, bytes_max: int, env: Mapping[str, str] | None = None) -> tuple[bytes, bool]:
        """The first `bytes_max` bytes of what `git ARGS` prints, and whether there was more; git is ended there.

        Raises what `run` raises.
        """
        process = await self._start(args, env, None)
        (output, complaint), is_cut = await _finish(process, _read(process, bytes_max), args)
        if process.returncode and not is_cut:
            raise self._failed(process.returncode, complaint, args)
        return output, is_cut

    async def _start(
        self, args: tuple[str, ...], env: Mapping[str, str] | None, cwd: Path | None
    ) -> asyncio.subprocess.Process:
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        try:
            return await asyncio.create_subprocess_exec(
                "git",
                *settings,
                *args,
                cwd=cwd or self.path,
                env={**_environment(self.path), **self._signature(), **(env or {})},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise _not_started(cwd or self.path) from error

    def _failed(self, status: int, complaint: bytes, args: tuple[str, ...]) -> Exception:
        if b"not a git repository" in complaint:
            return InvalidInput(f"{self.path}: expected a git repository, found none", path=str(self.path))
        said = complaint.decode(errors="replace").strip()[:ERROR_CHARS_MAX]
        return GitFailed(f"git {args[0]}: exit status {status}: {said or 'no message'}", status=status, complaint=said)

    async def text(self, *args: str, data: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """What git prints, as text without the line's end."""
        return (await self.run(*args, data=data, env=env)).decode(errors="replace").rstrip("\n")

    def _signature(self) -> dict[str, str]:
        who = self.identity
        return {
            "GIT_AUTHOR_NAME": who.name,
            "GIT_AUTHOR_EMAIL": who.email,
            "GIT_COMMITTER_NAME": who.name,
            "GIT_COMMITTER_EMAIL": who.email,
        }

    def __repr__(self) -> str:
        return f"Git({str(self.path)!r})"


def _environment(path: Path) -> dict[str, str]:
    # No HOME and no global configuration: a user's signing, aliases and filters would change what the bot commits.
    # The ceiling keeps git from taking a repository further up for the one that was named.
    return {
        "GIT_CEILING_DIRECTORIES": str(path.resolve().parent),
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _not_started(folder: Path) -> Exception:
    if not folder.is_dir():
        return InvalidInput(f"{folder}: expected the folder of a git repository, found none", path=str(folder))
    return Unavailable("git: expected the program on PATH, found none; install git")


async def _read(process: asyncio.subprocess.Process, bytes_max: int) -> tuple[tuple[bytes, bytes], bool]:
    """What it prints and its complaint; where it prints more than `bytes_max`, it is ended there."""
    assert process.stdin
    assert process.stderr
    process.stdin.close()
    async with asyncio.TaskGroup() as group:  # both at once: a full pipe stops it
        complaint = group.create_task(process.stderr.read())
        output = bytearray()
        while len(output) <= bytes_max and (part := await _part(process)):
            output += part
        if is_cut := len(output) > bytes_max:
            process.kill()
        await process.wait()
    return (bytes(output[:bytes_max]), complaint.result()), is_cut


async def _part(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout
    return await process.stdout.read(_PART_BYTES)


async def _finish(process: asyncio.subprocess.Process, work: Coroutine[Any, Any, T], args: tuple[str, ...]) -> T:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await work
    except TimeoutError as error:
        raise Unavailable(f"git {args[0]}: expected an end within {DEADLINE_S} s, still running") from error
    finally:
        # Also on cancellation: nobody but us would end it.
        if process.returncode is None:
            process.kill()
            await process.wait()
