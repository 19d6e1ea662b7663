"""Which releases a tree's charts have: those that somebody names, those of Applications, those that a cluster tells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from holdfast import InvalidInput
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.built.applications import releases_in
from holdfast_sre.repair.tree.roots import (
    Files,
    Root,
    chart_name,
    charts_of,
    dependencies_of,
    folder_of,
    is_yaml,
    kustomizations_of,
    resolved,
)

RELEASE_FORM = "CHART=[NAMESPACE/]NAME[:VALUES[,VALUES]]"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,51}[a-z0-9])?")
"""What helm takes for a release's name, and a cluster for a namespace's."""
_VALUE_FILE = re.compile(r"values[-._][\w.-]+\.ya?ml|[\w.-]+[-._]values\.ya?ml")
_OBJECT = re.compile(r"(?m)^kind:")
_RELEASE_NAME, _RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_CHART_LABEL = "helm.sh/chart"


def roots_of(files: Files, releases: Sequence[Root] = ()) -> tuple[Root, ...]:
    """All that a program builds: the releases of charts, those that were named first, and kustomizations."""
    charts = charts_of(files)
    found: dict[tuple[str, str, str], Root] = {}
    for root in (*releases, *releases_in(files, charts)):
        if root.folder in charts:
            found.setdefault((root.folder, root.namespace, root.release), root)
    return (*found.values(), *kustomizations_of(files))


def unreleased(files: Files, releases: Sequence[Root] = ()) -> tuple[str, ...]:
    """The charts of which no release is known, but for those that others take in."""
    charts = charts_of(files)
    known = {root.folder for root in roots_of(files, releases) if root.tool == "helm"}
    known |= {each.folder for chart in charts for each in dependencies_of(files, chart)}
    return tuple(chart for chart in charts if chart not in known)


def no_release(chart: str) -> str:
    """What to say of a chart whose releases nobody named."""
    at = chart or "."
    return (
        f"{at}: no release of this chart is known, so it was not built; name it by --release "
        f"{at}=NAMESPACE/NAME[:VALUES], or keep its Argo CD Application in the tree"
    )


def other_value_files(files: Files, folder: str, roots: Iterable[Root]) -> tuple[str, ...]:
    """Files that look like values of releases of a chart which nobody named: by their names beside the chart, or as
    they lie beside values that are used (`envs/test.yaml`, `envs/test/values.yaml`)."""
    known = list(roots)
    used = {path for root in known for path in root.values}
    mine = {path for root in known if root.folder == folder for path in root.values if folder_of(path) != folder}
    beside = {folder_of(path) for path in mine}
    alike = {(folder_of(folder_of(path)), PurePosixPath(path).name) for path in mine if folder_of(path)}

    def is_like(path: str) -> bool:
        name, at = PurePosixPath(path).name, folder_of(path)
        if at == folder:
            return _VALUE_FILE.fullmatch(name) is not None
        return at in beside or (bool(at) and (folder_of(at), name) in alike)

    return tuple(
        path
        for path in sorted(files)
        if is_yaml(path) and path not in used and is_like(path) and not _OBJECT.search(files[path])
    )


def parse_release(text: str, files: Files) -> Root:
    """The release that `CHART=[NAMESPACE/]NAME[:VALUES[,VALUES]]` names. Paths begin at the top of the tree; a value
    file that is not there is looked for beside the chart. Raises InvalidInput."""
    chart, equals, rest = text.partition("=")
    folder = resolved("", chart)
    charts = charts_of(files)
    where, colon, listed = rest.partition(":")
    namespace, _, name = where.rpartition("/")
    if not equals or not _is_name(name) or (namespace and not _is_name(namespace)) or (colon and not listed):
        raise InvalidInput(f"--release: expected {RELEASE_FORM}, saw {text!r}", seen=text)
    if folder is None or folder not in charts:
        known = ", ".join(each or "." for each in charts[:8]) or "none"
        raise InvalidInput(f"--release: expected a chart of the manifests ({known}), saw {chart!r}", seen=text)
    values = tuple(_value_file(each, folder, files) for each in listed.split(",") if each)
    return Root("helm", folder, name, namespace, values)


def _value_file(entry: str, folder: str, files: Files) -> str:
    places = (resolved("", entry), resolved(folder, entry))
    found = next((path for path in places if path is not None and path in files), None)
    if found is None:
        raise InvalidInput(
            f"--release: expected the value file {entry!r} in the manifests or beside the chart, saw none", seen=entry
        )
    return found


def is_release(root: Root) -> bool:
    """Whether names are such as helm takes: they become arguments of a program, and stand in files of anybody."""
    return _is_name(root.release) and (not root.namespace or _is_name(root.namespace))


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def told_by_cluster(
    files: Files, live: Mapping[Ref, Manifest], namespace: str, releases: Sequence[Root] = ()
) -> tuple[Root, ...]:
    """The releases of charts without any known one, where helm wrote one single name on the objects that run.

    Value files are not written there: a chart with files that look like such is left out.
    """
    found = []
    for chart in unreleased(files, releases):
        label = re.compile(rf"{re.escape(chart_name(files, chart))}-v?\d.*")
        named = {
            (str(notes[_RELEASE_NAMESPACE]) if _RELEASE_NAMESPACE in notes else namespace, str(notes[_RELEASE_NAME]))
            for labels, notes in map(_labels_and_notes, live.values())
            if _RELEASE_NAME in notes and label.fullmatch(str(labels.get(_CHART_LABEL, "")))
        }
        roots = [Root("helm", chart, name, space) for space, name in named]
        if len(roots) == 1 and is_release(roots[0]) and not other_value_files(files, chart, ()):
            found += roots
    return tuple(found)


def _labels_and_notes(item: Manifest) -> tuple[Mapping[str, object], Mapping[str, object]]:
    metadata = item.get("metadata")
    tables = (metadata.get(key) if isinstance(metadata, Mapping) else None for key in ("labels", "annotations"))
    labels, notes = (table if isinstance(table, Mapping) else {} for table in tables)
    return labels, notes
