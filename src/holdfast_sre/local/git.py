"""The `git` program as a function: list arguments, no shell, nobody's configuration but the repository's own.

Everything above speaks plumbing (`commit-tree`, `update-ref`), whose output and hashes are the same on every machine.
Objects are written first and a reference is moved last, by compare-and-swap: a process that dies in between leaves
unreachable objects, never half a change.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast import InvalidInput, Unavailable

DEADLINE_S = 60.0
ERROR_CHARS_MAX = 500

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
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        try:
            process = await asyncio.create_subprocess_exec(
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
        output, complaint = await _finish(process, data, args)
        if process.returncode:
            if b"not a git repository" in complaint:
                raise InvalidInput(f"{self.path}: expected a git repository, found none", path=str(self.path))
            said = complaint.decode(errors="replace").strip()[:ERROR_CHARS_MAX]
            raise GitFailed(
                f"git {args[0]}: exit status {process.returncode}: {said or 'no message'}",
                status=process.returncode,
                complaint=said,
            )
        return output

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


async def _finish(process: asyncio.subprocess.Process, data: bytes, args: tuple[str, ...]) -> tuple[bytes, bytes]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await process.communicate(data)
    except TimeoutError as error:
        raise Unavailable(f"git {args[0]}: expected an end within {DEADLINE_S} s, still running") from error
    finally:
        # Also on cancellation: nobody but us would end it.
        if process.returncode is None:
            process.kill()
            await process.wait()
