"""The manifests that somebody names on the command line: a folder of YAML files, and its history if git keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import InvalidInput, Rejected, Unavailable
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.evidence.manifest_files import FILE_BYTES_MAX, FILES_MAX
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot
from holdfast_sre.files import read_source
from holdfast_sre.local.git import Git, Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.source_repository import shallow_note
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.built.layouts import declared_in, reader_of
from holdfast_sre.repair.built.releases import no_release, parse_release, told_by_cluster, unreleased
from holdfast_sre.repair.last_good.changelog import (
    COMMITS_BUILT_MAX,
    COMMITS_MAX,
    Declare,
    Edit,
    HistoryPort,
    recent_edits,
)
from holdfast_sre.repair.last_good.history import LookBack, look_back
from holdfast_sre.repair.tree.roots import Renderer, Root, sources_among

READER = Identity("holdfast-sre", "holdfast-sre@localhost")
"""Git wants to know who asks; nothing is written in this name."""


_NO_REVISION = Revision("")


@dataclass
class GivenManifests:
    """The files below `folder` (path to text); `repository` is None where git does not keep them. `releases` are those
    of charts that somebody named, `told` those that a namespace's objects tell."""

    folder: Path
    files: Mapping[str, str]
    renderer: Renderer
    repository: HistoryPort | None = None
    revision: Revision = _NO_REVISION
    releases: tuple[Root, ...] = ()
    faults: list[str] = field(default_factory=list)
    _told: dict[str, tuple[Root, ...]] = field(default_factory=dict)
    _edits: dict[str, tuple[Edit, ...]] = field(default_factory=dict)

    def declared(self, snapshot: Snapshot) -> dict[Ref, Manifest]:
        """What they declare in a snapshot's namespace, without objects of another shape than the API's; `faults` names
        those, and charts of which no release is known."""
        found = {}
        namespace = snapshot.namespace
        self._told[namespace] = told_by_cluster(self.files, snapshot.live, namespace, self.releases)
        releases = self.releases_in(namespace)
        try:
            declared = declared_in(self.files, namespace, self.renderer, releases)
        except (Rejected, Unavailable) as error:
            raise InvalidInput(f"{self.folder}: expected manifests, saw: {error.message}") from error
        self.faults += map(no_release, unreleased(self.files, releases))
        for ref, manifest in declared.items():
            fault = shape_fault(ref, manifest)
            if fault:
                self.faults.append(fault)
            else:
                found[ref] = manifest
        return found

    def releases_in(self, namespace: str) -> tuple[Root, ...]:
        """The releases of charts that somebody named, and those that the namespace's objects told."""
        return (*self.releases, *self._told.get(namespace, ()))

    def look_back(self, finding: Finding, *, namespace: str, healthy_at_s: float | None) -> LookBack | None:
        """What history knows about a finding; None without a history."""
        if self.repository is None or not finding.blames:
            return None
        work = look_back(
            self.repository,
            self.revision,
            finding,
            namespace=namespace,
            healthy_at_s=healthy_at_s,
            commits_max=self._commits_max(namespace),
            declare=self._declare(namespace),
        )
        return asyncio.run(work)

    def edits(self, *, namespace: str) -> tuple[Edit, ...] | None:
        """The last edits, newest first; None without a history."""
        if self.repository is None:
            return None
        if namespace in self._edits:
            return self._edits[namespace]
        work = recent_edits(
            self.repository,
            self.revision,
            namespace=namespace,
            commits_max=self._commits_max(namespace),
            declare=self._declare(namespace),
        )
        self._edits[namespace] = asyncio.run(work)
        return self._edits[namespace]

    def shallow_note(self, since_s: float | None) -> str:
        """What a clone without its older history cannot tell since a moment; "" for nothing."""
        root = root_of(self.folder) if self.repository is not None else None
        return "" if root is None else asyncio.run(shallow_note(Git(root, identity=READER), self.revision, since_s))

    def _commits_max(self, namespace: str) -> int:
        return COMMITS_MAX if self._declare(namespace) is None else COMMITS_BUILT_MAX

    def _declare(self, namespace: str) -> Declare | None:
        return reader_of(self.files, self.renderer, self.releases_in(namespace))


def open_manifests(path: Path, renderer: Renderer, releases: Sequence[str] = ()) -> GivenManifests:
    """The manifests at a path: what its git repository has committed, or the files of a folder. `releases` are those of
    its charts, each in the form of `--release`.

    Raises InvalidInput where there are none, and for a release that is none.
    """
    given = _opened(path, renderer)
    given.releases = tuple(parse_release(text, given.files) for text in releases)
    return given


def _opened(path: Path, renderer: Renderer) -> GivenManifests:
    if not path.is_dir():
        raise InvalidInput(f"{path}: expected a folder or a git repository of manifests, saw none", path=str(path))
    root = root_of(path)
    if root is None:
        return GivenManifests(path, _files_below(path), renderer)
    prefix = path.resolve().relative_to(root.resolve()).as_posix()
    repository = Below(GitRepository(root, identity=READER), "" if prefix == "." else f"{prefix}/")
    revision, files = asyncio.run(_head(root, repository))
    if not files:
        raise InvalidInput(f"{path}: expected committed manifests (.yaml, .yml), saw none at {revision[:10]}")
    return GivenManifests(path, files, renderer, repository, revision)


def root_of(path: Path) -> Path | None:
    """The folder of the git repository that a path is in, or is as a bare one; None where it is in none."""
    if (path / "HEAD").is_file() and (path / "objects").is_dir():
        return path  # a bare repository
    here = path.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)


async def _head(root: Path, repository: HistoryPort) -> tuple[Revision, dict[str, str]]:
    revision = Revision(await Git(root, identity=READER).text("rev-parse", "--verify", "HEAD^{commit}"))
    return revision, await repository.files(revision)


def _files_below(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    wanted = sources_among([path.relative_to(folder).as_posix() for path in paths])[:FILES_MAX]
    files = {name: read_source(folder / name, bytes_max=FILE_BYTES_MAX) for name in wanted}
    if not files:
        raise InvalidInput(f"{folder}: expected manifests in .yaml files, saw none", path=str(folder))
    return files


class Below:
    """A repository of which only one folder is looked at; paths are as seen from there."""

    def __init__(self, repository: HistoryPort, prefix: str) -> None:
        self._repository = repository
        self._prefix = prefix

    async def files(self, revision: Revision) -> dict[str, str]:
        """The YAML files below the folder."""
        files = await self._repository.files(revision)
        return {self._inside(path): text for path, text in files.items() if path.startswith(self._prefix)}

    async def history(
        self, revision: Revision, *, paths: tuple[str, ...] = (), commits_max: int = 50
    ) -> tuple[Commit, ...]:
        """The commits that touched the folder."""
        wanted = tuple(self._prefix + path for path in paths) or ((self._prefix.rstrip("/"),) if self._prefix else ())
        found = await self._repository.history(revision, paths=wanted, commits_max=commits_max)
        return tuple(
            Commit(
                commit.revision,
                commit.parents,
                commit.author,
                commit.at_s,
                commit.subject,
                tuple(self._inside(path) for path in commit.paths if path.startswith(self._prefix)),
            )
            for commit in found
        )

    def _inside(self, path: str) -> str:
        return path.removeprefix(self._prefix)
