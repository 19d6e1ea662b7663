"""What changed in the manifests lately, leaf by leaf: who brought the value that a finding blames, and what was before.

The revision before that change is the last known good, as far as history can know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast_sre.diagnosis.findings import Change, Field
from holdfast_sre.diagnosis.manifest_paths import differences, is_under
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.ports import Commit, RepositoryPort, Revision
from holdfast_sre.repair.manifests import declared

COMMITS_MAX = 50


class Edit(msgspec.Struct, frozen=True):
    """One commit and the leaves that it changed, in the namespace that was asked for."""

    commit: Commit
    changes: tuple[Change, ...]


async def recent_edits(
    repository: RepositoryPort, revision: Revision, *, namespace: str, commits_max: int = COMMITS_MAX
) -> tuple[Edit, ...]:
    """The edits up to `revision`, newest first; commits that changed no leaf and the first commit are left out."""
    commits = await repository.history(revision, commits_max=commits_max)
    found = []
    for commit in commits:
        if commit.parents:
            old = await _touched(repository, commit.parents[0], commit.paths, namespace)
            new = await _touched(repository, commit.revision, commit.paths, namespace)
            everything = [Field(ref, "") for ref in sorted({*old, *new})]
            if changes := differences(old, new, everything):
                found.append(Edit(commit, changes))
    return tuple(found)


async def _touched(
    repository: RepositoryPort, revision: Revision, paths: Iterable[str], namespace: str
) -> dict[Ref, Manifest]:
    files = await repository.files(revision)
    return declared({path: files[path] for path in paths if path in files}, namespace)


def culprit(edits: Sequence[Edit], blames: Iterable[Field]) -> Edit | None:
    """The newest edit that touched a blamed field, with the changes that did; None where history has none."""
    fields = tuple(blames)
    for edit in edits:
        changes = tuple(change for change in edit.changes if _is_blamed(change, fields))
        if changes:
            return Edit(edit.commit, changes)
    return None


def _is_blamed(change: Change, fields: Iterable[Field]) -> bool:
    return any(str(field.object) == change.object and is_under(change.path, field.path) for field in fields)


async def last_good(repository: RepositoryPort, edit: Edit, *, namespace: str) -> Mapping[Ref, Manifest]:
    """The manifests as they were before an edit."""
    return declared(await repository.files(edit.commit.parents[0]), namespace)
