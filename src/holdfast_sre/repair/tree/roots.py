"""What a program builds in a tree of manifests: kustomizations that no other takes in, and releases of charts.

A chart says nothing of where it is installed. Its releases are named by whoever asks, or by the Argo CD Applications
that stand in the tree; a chart without any is not built.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, Protocol

import yaml

Files = Mapping[str, str]
Tool = Literal["kustomize", "helm"]

KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
CHART = "Chart.yaml"
DEPTH_MAX = 8
"""How deep charts lie in charts."""
_LISTING_ONLY = frozenset({"apiVersion", "kind", "metadata", "resources", "bases", "namespace"})
_KEY = re.compile(r"(?m)^([A-Za-z]+):")
_PACKED = re.compile(r"-v?\d+\.[^/]*\.tgz$")
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)


class Said(NamedTuple):
    """Where an Argo CD Application names a release: its file, its name, and the path of the source in it."""

    file: str
    name: str
    source: str


@dataclass(frozen=True)
class Root:
    """A folder that a program builds manifests from; for helm one release of the chart there.

    `namespace` is the release's, "" for the one that is asked about. Of the value files `values` the later ones win.
    """

    tool: Tool
    folder: str
    release: str = ""
    namespace: str = ""
    values: tuple[str, ...] = ()
    said: Said | None = None

    def __str__(self) -> str:
        at = self.folder or "."
        return f"{at} (release {self.namespace}{'/' if self.namespace else ''}{self.release})" if self.release else at


class Renderer(Protocol):
    """Builds the manifests of a root. Raises Unavailable without the program, Rejected where it fails."""

    def render(self, files: Files, root: Root, *, again: bool = False) -> str:
        """The YAML that the program prints. With `again` it is asked anew, as charts may draw values by chance."""
        ...


class Dependency(NamedTuple):
    """A chart in a chart: where it stands in the tree (its folder, or its file where it is packed), by which key its
    values are given, and whether it is a copy of what others publish, which the next update would write over."""

    folder: str
    key: str
    is_copy: bool


def kustomizations_of(files: Files) -> tuple[Root, ...]:
    """The kustomizations that no other one takes in. Those that only list files that stand in the tree are plain."""
    known = {folder_of(path): files[path] for path in sorted(files) if PurePosixPath(path).name in KUSTOMIZATION}
    taken_in = Counter(below for folder, text in known.items() for below in _taken_in(folder, text, known))
    shaping = [folder for folder, text in known.items() if set(_KEY.findall(text)) - _LISTING_ONLY]
    if not shaping and max(taken_in.values(), default=0) < 2:  # a base of several overlays is not to be touched blindly
        return ()
    return tuple(Root("kustomize", folder) for folder in known if folder not in taken_in)


def charts_of(files: Files) -> tuple[str, ...]:
    """The folders of the charts that can be installed: no libraries, and none that lies in another one's `charts/`."""
    folders = sorted(folder_of(path) for path in files if PurePosixPath(path).name == CHART)
    inner = [f"{folder}/charts/".removeprefix("/") for folder in folders]
    return tuple(
        folder
        for folder in folders
        if not folder.startswith(tuple(inner)) and _about(files, folder).get("type") != "library"
    )


def chart_name(files: Files, folder: str) -> str:
    """What a chart calls itself."""
    return str(_about(files, folder).get("name") or PurePosixPath(folder).name)


def in_namespace(roots: Sequence[Root], namespace: str) -> tuple[Root, ...]:
    """The roots, with the releases of no namespace of their own in the one that is asked about."""
    return tuple(
        replace(root, namespace=namespace) if root.tool == "helm" and not root.namespace else root for root in roots
    )


def dependencies_of(files: Files, folder: str) -> Iterator[Dependency]:
    """The charts in a chart that stand in the tree: in its `charts/`, or where `file://` leads."""
    at = f"{folder}/charts/".removeprefix("/")
    listed = _about(files, folder).get("dependencies")
    named = {str(each.get("name")): each for each in (listed if isinstance(listed, list) else ()) if _is_table(each)}
    inside = {path[len(at) :].partition("/")[0] for path in files if path.startswith(at) and path.endswith(f"/{CHART}")}
    for name in sorted(inside):
        entry = named.pop(chart_name(files, at + name), {})
        address = str(entry.get("repository") or "")
        is_copy = bool(address) and not address.startswith("file://")
        yield Dependency(at + name, str(entry.get("alias") or chart_name(files, at + name)), is_copy)
    packed = [path for path in files if path.startswith(at) and path.endswith(".tgz")]
    for path in sorted(packed):
        name = _PACKED.sub("", path[len(at) :])
        yield Dependency(path, str(named.pop(name, {}).get("alias") or name), True)
    for name, entry in named.items():
        address = str(entry.get("repository") or "")
        target = resolved(folder, address.removeprefix("file://")) if address.startswith("file://") else None
        if target is not None and _join(target, CHART) in files:
            yield Dependency(target, str(entry.get("alias") or name), False)


def inputs_of(files: Files, root: Root) -> dict[str, str]:
    """The files that a root is built from, by the path at which its program shall find them.

    Charts that a chart names by `file://` are put into its `charts/`, as `helm dependency build` would.
    """
    if root.tool == "kustomize":
        return dict(files)
    found = dict(_chart_files(files, root.folder, root.folder))
    others = (*root.values, *((root.said.file,) if root.said else ()))
    return found | {path: files[path] for path in others if path in files}


def _chart_files(files: Files, folder: str, at: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    start = f"{folder}/" if folder else ""
    for path, text in files.items():
        if path.startswith(start):
            yield _join(at, path[len(start) :]), text
    for each in dependencies_of(files, folder) if depth < DEPTH_MAX else ():
        if not each.folder.startswith(f"{start}charts/"):
            below = _join(at, f"charts/{PurePosixPath(each.folder).name}")
            yield from _chart_files(files, each.folder, below, depth + 1)


def folder_of(path: str) -> str:
    """The folder of a path, "" for the top."""
    folder = PurePosixPath(path).parent.as_posix()
    return "" if folder == "." else folder


def resolved(folder: str, entry: str) -> str | None:
    """Where a relative path leads from a folder, None where it leads out of the tree."""
    parts = PurePosixPath(folder).parts
    for step in PurePosixPath(entry).parts:
        if step == "..":
            if not parts:
                return None
            parts = parts[:-1]
        elif step not in (".", "/"):
            parts = (*parts, step)
    return "/".join(parts)


def is_yaml(path: str) -> bool:
    """Whether a file is YAML by its name."""
    return path.endswith((".yaml", ".yml"))


def sources_among(paths: Collection[str]) -> list[str]:
    """The manifests among files by their names, then what programs may build some from: all that lies with a chart or
    a kustomization."""
    built = {folder_of(path) for path in paths if PurePosixPath(path).name in (CHART, *KUSTOMIZATION)}
    starts = tuple(f"{folder}/" if folder else "" for folder in sorted(built))
    manifests = [path for path in paths if is_yaml(path)]
    return manifests + [path for path in paths if not is_yaml(path) and path.startswith(starts)]


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path


def _taken_in(folder: str, text: str, known: Mapping[str, str]) -> Iterator[str]:
    for entry in re.findall(r"(?m)^\s*-\s*['\"]?(?:path:\s*)?([\w./-]+)", text):
        target = resolved(folder, entry)
        if target is not None and target in known:
            yield target


def _about(files: Files, folder: str) -> Mapping[str, Any]:
    return _table(files.get(_join(folder, CHART), ""))


@lru_cache(maxsize=512)
def _table(text: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except _NO_YAML:
        return {}
    return found if _is_table(found) else {}


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)
