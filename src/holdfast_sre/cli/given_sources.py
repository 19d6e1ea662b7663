"""The sources that somebody names on the command line: of which workload, where, and how git is asked about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from holdfast import HoldfastError, InvalidInput
from holdfast_sre.cli.examine import complain, fail_input
from holdfast_sre.cli.given_manifests import READER, root_of
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.history.sources import names_in
from holdfast_sre.local.git import Git
from holdfast_sre.local.source_repository import SourceRepository

FOLDERS_MAX = 1_000
NAMES_TOLD_MAX = 12
_NAMED = re.compile(r"([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)=(.+)", re.DOTALL)

SourcesAt = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME=PATH",
        help="The git repository of a service's source, or a folder in one. Without NAME=, a folder whose subfolders "
        "are named like the services. May be repeated.",
    ),
]


@dataclass
class GivenSources:
    """`by_name` are all sources; `named` those whose name somebody wrote, `folders` those that were looked into.

    `met` collects the names of every incident that was looked at, for `finish` to judge.
    """

    by_name: Mapping[str, SourceRepository]
    named: tuple[str, ...]
    folders: Mapping[Path, tuple[str, ...]]
    met: set[str] = field(default_factory=set)

    def meet(self, snapshot: Snapshot) -> None:
        """Remember who is there in an incident."""
        self.met |= names_in(snapshot)

    def finish(self) -> None:
        """End the command with exit code 2 where a name is that of nobody in any incident."""
        faults = [f"--source {name}: expected the name of a workload or service" for name in self.named]
        faults = [fault for fault, name in zip(faults, self.named, strict=True) if name not in self.met]
        faults += [
            f"--source {path}: expected folders named like a workload or service"
            for path, names in self.folders.items()
            if not self.met.intersection(names)
        ]
        there = ", ".join(sorted(self.met)[:NAMES_TOLD_MAX]) or "none"
        for fault in faults if self.met else ():
            complain(InvalidInput(f"{fault}, saw none in the incident; there are: {there}"))
        if faults and self.met:
            raise typer.Exit(2)


def open_sources(texts: Iterable[str] | None) -> GivenSources | None:
    """The sources that were named, None where none were. Ends the command where one is no source."""
    if not texts:
        return None
    named: dict[str, SourceRepository] = {}
    found: dict[str, SourceRepository] = {}
    folders: dict[Path, tuple[str, ...]] = {}
    try:
        for text in texts:
            match = _NAMED.fullmatch(text)
            if match is None or Path(text).is_dir():
                inside = _below(Path(text))
                folders[Path(text)] = tuple(inside)
                found |= inside
            elif match[1] in named:
                raise InvalidInput(f"--source {match[1]}: expected one source for each name, saw two")
            else:
                named[match[1]] = _named(match[1], Path(match[2]))
    except HoldfastError as error:
        fail_input(InvalidInput(error.message))
    return GivenSources({**found, **named}, tuple(named), folders)


def _named(name: str, path: Path) -> SourceRepository:
    if not path.is_dir():
        raise InvalidInput(f"--source {name}: expected a folder, saw {'a file' if path.exists() else 'none'} at {path}")
    source = _source_at(path)
    if source is None:
        raise InvalidInput(f"--source {name}: expected a git repository or a folder in one, saw neither at {path}")
    asyncio.run(source.head())
    return source


def _below(path: Path) -> dict[str, SourceRepository]:
    """The sources that are named by their folders: the subfolders, and the folder itself."""
    if not path.is_dir():
        raise InvalidInput(
            f"--source {path}: expected NAME=PATH such as shop=../shop, or a folder of sources, saw "
            f"{'a file' if path.exists() else 'neither'}"
        )
    itself = _source_at(path.resolve())
    found = {} if itself is None else {_name_of(path.resolve()): itself}
    found |= sources_below(path)
    if not found:
        raise InvalidInput(f"--source {path}: expected git repositories or folders in one, saw none")
    return found


def sources_below(path: Path) -> dict[str, SourceRepository]:
    """The subfolders that git keeps, as sources of what is called like them; at most FOLDERS_MAX."""
    inside = sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    there = ((folder, _source_at(folder)) for folder in inside[:FOLDERS_MAX])
    return {_name_of(folder): source for folder, source in there if source is not None}


def _name_of(folder: Path) -> str:
    return folder.name.removesuffix(".git")


def _source_at(path: Path) -> SourceRepository | None:
    root = root_of(path)
    if root is None:
        return None
    folder = path.resolve().relative_to(root.resolve()).as_posix()
    return SourceRepository(Git(root, identity=READER), "" if folder == "." else folder)
