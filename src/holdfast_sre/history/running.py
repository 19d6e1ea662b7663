"""Which commit of its source a workload runs, where its image or labels name one. Pure.

A name counts only where the repository has it as a tag or a commit: without one it is said that nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig
from holdfast_sre.ports import Revision
from holdfast_sre.repair.last_good.changelog import Edit

LABELS = ("org.opencontainers.image.revision", "app.kubernetes.io/version")
"""Labels or annotations, of the workload or its pods, that name what runs."""
NAMES_MAX = 20
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMMIT = re.compile(r"(?:.*[-_.]g?)?([0-9a-f]{7,64})")
_IMAGE = re.compile(r"spec\.template\.spec\.(?:initC|c)ontainers\[[^\]]+\]\.image")


class RunningName(msgspec.Struct, frozen=True):
    """What something says that it runs, and where it says so."""

    text: str
    where: str


def running_names(snapshot: Snapshot, workload: Ref) -> tuple[RunningName, ...]:
    """The names for what a workload runs now: its labels first, then its images' tags."""
    return _names(snapshot.live.get(workload) or snapshot.manifest(workload))


def earlier_names(
    snapshot: Snapshot, workload: Ref, edits: Sequence[Edit] = (), *, healthy_at_s: float | None = None
) -> tuple[RunningName, ...]:
    """The names for what it ran before: the images before the edits of its manifest since all was well (else before
    the newest one), else those of its replica set before the current one. `edits` are newest first."""
    found: dict[str, RunningName] = {}
    for edit in edits:
        if healthy_at_s is not None and edit.commit.at_s <= healthy_at_s:
            break
        for change in edit.changes:
            if change.object != str(workload) or not _IMAGE.fullmatch(change.path):
                continue
            if (tag := _tag(change.before or "")) and (healthy_at_s is not None or change.path not in found):
                found[change.path] = RunningName(tag, f"image before {edit.commit.revision[:10]}")
    if found or edits or healthy_at_s is not None:
        return tuple(found.values())
    return _before_the_current(snapshot, workload)


def _before_the_current(snapshot: Snapshot, workload: Ref) -> tuple[RunningName, ...]:
    sets = []
    for ref, item in snapshot.live.items():
        number = (dig(item, "metadata.annotations") or {}).get("deployment.kubernetes.io/revision", "")
        if ref.kind == "ReplicaSet" and str(number).isdigit() and snapshot.owner_of(ref) == workload:
            sets.append((int(number), ref, item))
    now = {name.text for name in running_names(snapshot, workload)}
    for _, ref, item in sorted(sets, key=lambda each: each[:2], reverse=True)[1:]:
        if names := tuple(name for name in _names(item) if name.text not in now):
            return tuple(RunningName(name.text, f"{name.where} of {ref}") for name in names)
    return ()


def _names(manifest: Manifest) -> tuple[RunningName, ...]:
    found: dict[str, RunningName] = {}
    for place in ("metadata", "spec.template.metadata"):
        for notes in ("labels", "annotations"):
            table = dig(manifest, f"{place}.{notes}")
            for label in LABELS if isinstance(table, Mapping) else ():
                if _PLAIN.fullmatch(text := str(table.get(label) or "")):
                    found.setdefault(text, RunningName(text, f"label {label}"))
    for container in containers_of(manifest):
        if tag := _tag(str(container.get("image") or "")):
            found.setdefault(tag, RunningName(tag, f"image of container {container.get('name')}"))
    return tuple(found.values())[:NAMES_MAX]


def _tag(image: str) -> str:
    """The tag of an image; "" without one, and for `latest`, which names whatever came last."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return tag if tag != "latest" and _PLAIN.fullmatch(tag) else ""


def tags_for(name: str, service: str) -> tuple[str, ...]:
    """How a repository may call the tag that an image or a label calls `name`: itself, with or without a `v`, and with
    the service before it, where one repository holds several."""
    bare = name[1:] if re.match(r"v[0-9]", name) else name
    plain = dict.fromkeys((name, f"v{bare}", bare))
    return (*plain, *(f"{service}{joint}{tag}" for joint in "/-@" for tag in plain))


def commit_in(name: str) -> str:
    """The commit's id, or its beginning, that a name such as `3f2a9c1` or `v1.2-4-g3f2a9c1` ends with; "" for none."""
    match = _COMMIT.fullmatch(name)
    return match[1] if match else ""


class Running(msgspec.Struct, frozen=True):
    """The commit that runs, None where it is not known, and its name; `told` says how it is known, or why not."""

    revision: Revision | None
    told: str
    name: str = ""


def running(names: Sequence[RunningName], resolved: Mapping[str, Revision]) -> Running:
    """Which commit the names agree on. `resolved` has what the repository knows of them."""
    known = [(name, resolved[name.text]) for name in names if name.text in resolved]
    revisions = list(dict.fromkeys(revision for _, revision in known))
    if not revisions:
        said = ", ".join(name.text for name in names[:3])
        return Running(None, f"no tag or commit called {said}" if names else "no image tag or label names a commit")
    if len(revisions) > 1:
        told = ", ".join(f"{revision[:10]} by {name.where}" for name, revision in known[:3])
        return Running(None, f"several commits are named: {told}")
    name, revision = known[0]
    return Running(revision, f"{revision[:10]}, {name.text} by {name.where}", name.text)
