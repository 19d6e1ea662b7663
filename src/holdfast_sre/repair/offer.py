"""A proposal made ready to be read and merged: the files that it changes, and the diff of these and of its tests."""

from __future__ import annotations

import difflib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from ruamel.yaml import YAML

from holdfast_sre.diagnosis.manifest_paths import copied
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot
from holdfast_sre.repair.built.layouts import changed_files, is_built
from holdfast_sre.repair.propose import Proposal
from holdfast_sre.repair.tree.manifests import Files, apply
from holdfast_sre.repair.tree.roots import Renderer, Root
from holdfast_sre.repair.tree.secret_values import hidden_values

CONTEXT_LINES = 3
_NO_LINE_END = "\\ No newline at end of file"


class Offer(msgspec.Struct, frozen=True):
    """A proposal with the files that it changes (None for one that goes), and the diff of these and of its tests
    against what there is. `shown` is the diff for eyes: values of secrets are numbered in place of being there."""

    proposal: Proposal
    files: Mapping[str, str | None] = {}
    diff: str = ""
    shown: str = ""


def offer(
    snapshot: Snapshot,
    proposal: Proposal,
    *,
    files: Files | None = None,
    renderer: Renderer | None = None,
    releases: Sequence[Root] = (),
) -> Offer:
    """The proposal in the files of a repository; without files in one per object, as the manifests were recorded.

    Where a program builds the object its tests are left out, as they would not find it in the files. Raises what
    `changed_files` raises where it cannot be written.
    """
    if proposal.action != "patch" or proposal.finding is None:
        return Offer(proposal)
    if files is None:
        files = as_files(snapshot, {change.object for change in proposal.changes})
        changed = apply(files, proposal.changes, namespace=snapshot.namespace)
    else:
        if is_built(files, proposal.changes, namespace=snapshot.namespace, releases=releases):
            proposal = msgspec.structs.replace(proposal, tests={})  # they read files as they stand
        changed = changed_files(
            files, proposal.changes, namespace=snapshot.namespace, renderer=renderer, releases=releases
        )
    new = {path: text for path, text in proposal.tests.items() if files.get(path) != text}
    after = {**changed, **new}
    return Offer(proposal, changed, diff_of(files, after), _shown(files, after, proposal))


def as_files(snapshot: Snapshot, names: Collection[str] | None = None) -> dict[str, str]:
    """The manifests in one file for each object, those of the given names (`Kind/name`) or all."""
    return {
        _path(ref): _as_text(item)
        for ref, item in sorted(snapshot.declared.items())
        if names is None or str(ref) in names
    }


def _shown(before: Files, after: Mapping[str, str | None], proposal: Proposal) -> str:
    hidden = hidden_values(proposal.changes)
    touched = {path: text for path, text in before.items() if path in after}
    masked = {path: hidden.masked(text) for path, text in touched.items()}
    return diff_of(masked, {path: None if text is None else hidden.masked(text) for path, text in after.items()})


def diff_of(before: Mapping[str, str], after: Mapping[str, str | None]) -> str:
    """A unified diff of files, by path; a file that comes or goes is /dev/null on the other side."""
    parts: list[str] = []
    for path in sorted(after):
        old, new = before.get(path), after[path]
        lines = difflib.unified_diff(
            (old or "").splitlines(keepends=True),
            (new or "").splitlines(keepends=True),
            "/dev/null" if old is None else f"a/{path}",
            "/dev/null" if new is None else f"b/{path}",
            n=CONTEXT_LINES,
        )
        parts.extend(line if line.endswith("\n") else f"{line}\n{_NO_LINE_END}\n" for line in lines)
    return "".join(parts)


def _path(ref: Ref) -> str:
    plain = "".join(sign if sign.isalnum() or sign in "-." else "_" for sign in ref.name)
    return f"{plain}-{ref.kind.lower()}.yaml"


def _as_text(manifest: Manifest) -> str:
    """An object as YAML, for a diff to be read where no file of it is known."""
    yaml: Any = YAML(typ="rt", pure=True)
    yaml.width = 1 << 20
    stream = io.StringIO()
    yaml.dump(copied(manifest), stream)
    return stream.getvalue()
