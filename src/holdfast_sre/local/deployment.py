"""GitOps in a folder: what is live is a copy of one revision's manifests, switched whole.

    FOLDER/REVISION/...      the manifests of a revision, written once
    FOLDER/current.json      which one is live, how the last sync went, and the keys of the latest syncs

Replacing `current.json` is the switch. A crash before it leaves a folder that the repetition overwrites.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from holdfast import InvalidInput, Rejected, Unavailable
from holdfast_sre.files import exclusively, in_thread, read_source, read_text, replace_text
from holdfast_sre.local.cluster import Condition
from holdfast_sre.local.git_messages import check_key
from holdfast_sre.local.git_trees import check_path
from holdfast_sre.ports import Deployment, RepositoryPort, Revision, SyncPhase
from holdfast_sre.repair.built.layouts import declared_in
from holdfast_sre.repair.tree.roots import Renderer

REVISIONS_KEPT = 20
RECORD_BYTES_MAX = 1 << 20
FILE_BYTES_MAX = 16 << 20


class Sync(msgspec.Struct, frozen=True):
    """One sync that was asked for, by its key."""

    key: str
    revision: Revision


class Live(msgspec.Struct, frozen=True):
    """What `current.json` holds. `revision` runs; `phase` and `message` tell of the latest sync."""

    revision: Revision | None = None
    phase: SyncPhase = "none"
    message: str = ""
    syncs: tuple[Sync, ...] = ()


class LiveFolder:
    """The manifests that are live, for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def files(self) -> dict[str, str] | None:
        """Path to text of what is live; None before the first deployment."""
        return await in_thread(self._files)

    def record(self) -> Live:
        """What `current.json` says; blocking. Raises InvalidInput where it is damaged."""
        path = self.folder / "current.json"
        try:
            return msgspec.json.decode(read_text(path, bytes_max=RECORD_BYTES_MAX), type=Live)
        except FileNotFoundError:
            return Live()
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{path}: expected the record of a deployment: {error}", path=str(path)) from error

    def _files(self) -> dict[str, str] | None:
        revision = self.record().revision
        if revision is None:
            return None
        root = self.folder / revision
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {
            PurePosixPath(path.relative_to(root)).as_posix(): read_source(path, bytes_max=FILE_BYTES_MAX)
            for path in paths
        }

    def __repr__(self) -> str:
        return f"LiveFolder({str(self.folder)!r})"


class Watched(Protocol):
    """Something that tells how the cluster does."""

    async def condition(self) -> Condition: ...


class GitOpsFolder:
    """Deploys revisions of a repository into a live folder. Implements `DeploymentPort`."""

    def __init__(
        self,
        live: LiveFolder,
        repository: RepositoryPort,
        cluster: Watched,
        *,
        namespace: str,
        renderer: Renderer | None = None,
    ) -> None:
        self._live = live
        self._repository = repository
        self._cluster = cluster
        self._namespace = namespace
        self._renderer = renderer

    async def sync(self, revision: Revision, *, key: str) -> Deployment:
        """Apply a revision, once per key. One whose manifests do not parse or build fails and leaves what ran before.

        Raises NotFound for an unknown revision.
        """
        files = await self._repository.files(revision)
        work = partial(self._apply, revision, files, check_key(key))
        await exclusively(self._live.folder / ".lock", work)
        return await self.status()

    async def status(self) -> Deployment:
        """What is live, how the latest sync went and how the cluster is since."""
        record = await in_thread(self._live.record)
        condition = await self._cluster.condition()
        message = "; ".join(part for part in (record.message, condition.message) if part)
        return Deployment(record.revision, record.phase, condition.health, message, condition.changed)

    def __repr__(self) -> str:
        return f"GitOpsFolder({str(self._live.folder)!r})"

    def _apply(self, revision: Revision, files: Mapping[str, str], key: str) -> None:
        record = self._live.record()
        if any(sync.key == key for sync in record.syncs):
            return
        syncs = (*record.syncs, Sync(key, revision))[-REVISIONS_KEPT:]
        try:
            for path in files:
                check_path(path)
            is_empty = not declared_in(files, self._namespace, self._renderer)
        except (InvalidInput, Rejected, Unavailable) as error:
            self._switch(Live(record.revision, "failed", error.message, syncs))
            return
        if is_empty:
            message = f"{revision[:12]}: expected manifests of namespace {self._namespace}, found none"
            self._switch(Live(record.revision, "failed", message, syncs))
            return
        for path, text in files.items():
            replace_text(self._live.folder / revision / path, text)
        self._switch(Live(revision, "synced", "", syncs))
        self._drop_old(revision, syncs)

    def _switch(self, record: Live) -> None:
        text = msgspec.json.format(msgspec.json.encode(record)).decode()
        replace_text(self._live.folder / "current.json", text + "\n")

    def _drop_old(self, live: Revision, syncs: tuple[Sync, ...]) -> None:
        kept = {live, *(sync.revision for sync in syncs)}
        for folder in self._live.folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder)
