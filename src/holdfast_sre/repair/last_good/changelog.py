"""What changed in the manifests lately, leaf by leaf: who brought the value that a finding blames, and what was before.

The revision before that change is the last known good, as far as history can know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from holdfast import InvalidInput, Rejected
from holdfast_sre.diagnosis.findings import ANY_ABSENT, Change, Field
from holdfast_sre.diagnosis.manifest_paths import differences, is_under
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.files import in_thread
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.tree.manifests import declared
from holdfast_sre.repair.tree.roots import is_yaml

COMMITS_MAX = 50
COMMITS_BUILT_MAX = 15
"""How many commits are looked at where each has to be built twice."""
BURST_S = 3_600.0
"""Edits of one field within so many seconds of each other are tries at one thing: the last known good is what was
before the first of them."""


Declare = Callable[[Mapping[str, str], str], Mapping[Ref, Manifest]]
"""What a tree of files declares in a namespace."""


class HistoryPort(Protocol):
    """The part of a repository that looking back needs."""

    async def files(self, revision: Revision) -> dict[str, str]:
        """The YAML files of a revision, and those that lie with a chart or a kustomization: path to text."""
        ...

    async def history(
        self, revision: Revision, *, paths: tuple[str, ...] = (), commits_max: int = 50
    ) -> tuple[Commit, ...]:
        """Commits up to `revision`, newest first, that touched one of `paths` (all where none is given)."""
        ...


class Edit(msgspec.Struct, frozen=True):
    """One commit and the leaves that it changed, in the namespace that was asked for."""

    commit: Commit
    changes: tuple[Change, ...]


async def recent_edits(
    repository: HistoryPort,
    revision: Revision,
    *,
    namespace: str,
    commits_max: int = COMMITS_MAX,
    declare: Declare | None = None,
) -> tuple[Edit, ...]:
    """The edits up to `revision`, newest first; commits that changed no leaf and the first commit are left out.

    `declare` says what a whole tree declares, where that is not what its files say one by one; history that it cannot
    read ends the look.
    """
    commits = await repository.history(revision, commits_max=commits_max)
    found = []
    for commit in commits:
        if commit.parents:
            try:
                old = await _touched(repository, commit.parents[0], commit.paths, namespace, declare)
                new = await _touched(repository, commit.revision, commit.paths, namespace, declare)
            except (InvalidInput, Rejected):
                break  # what came before cannot be read, so nothing older can be called good
            everything = [Field(ref, "") for ref in sorted({*old, *new})]
            if changes := differences(old, new, everything):
                found.append(Edit(commit, changes))
    return tuple(found)


async def _touched(
    repository: HistoryPort, revision: Revision, paths: Iterable[str], namespace: str, declare: Declare | None
) -> Mapping[Ref, Manifest]:
    files = await repository.files(revision)
    if declare is not None:
        return await in_thread(declare, files, namespace)
    return declared({path: files[path] for path in paths if path in files and is_yaml(path)}, namespace)


def culprit(edits: Sequence[Edit], blames: Iterable[Field], *, healthy_at_s: float | None = None) -> Edit | None:
    """The edit that brought what is blamed, with the changes that did; None where history has none.

    It is the newest one that touched a blamed field, or the first of a burst of them. Where it is known when all was
    well, it is the first one after that moment. `edits` are newest first, as `recent_edits` gives them.
    """
    fields = tuple(blames)
    found: list[Edit] = []
    for edit in edits:
        if healthy_at_s is not None and edit.commit.at_s <= healthy_at_s:
            break
        changes = tuple(change for change in edit.changes if is_blamed(change, fields))
        if not changes:
            continue
        if found and healthy_at_s is None and found[-1].commit.at_s - edit.commit.at_s > BURST_S:
            break
        found.append(Edit(edit.commit, changes))
    return found[-1] if found else None


def since(edits: Iterable[Edit], healthy_at_s: float) -> tuple[Edit, ...]:
    """The edits after a moment at which all was well, newest first."""
    return tuple(edit for edit in edits if edit.commit.at_s > healthy_at_s)


def is_blamed(change: Change, fields: Iterable[Field]) -> bool:
    """Whether a change is of one of the fields."""
    return any(_is_about(field, change) and is_under(change.path, field.path) for field in fields)


def _is_about(field: Field, change: Change) -> bool:
    kind, _, name = change.object.partition("/")
    if field.object.name == ANY_ABSENT:
        return kind == field.object.kind and change.after is None  # what was taken away is what is absent now
    return field.object == Ref(kind, name)


async def last_good(
    repository: HistoryPort, edit: Edit, *, namespace: str, declare: Declare | None = None
) -> Mapping[Ref, Manifest]:
    """The manifests as they were before an edit."""
    files = await repository.files(edit.commit.parents[0])
    if declare is not None:
        return await in_thread(declare, files, namespace)
    return declared({path: text for path, text in files.items() if is_yaml(path)}, namespace)
