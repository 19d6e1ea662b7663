"""How a tree of manifests is built: plain YAML, Kustomize overlays, Helm charts; what it declares, and changes to it.

Plain files are changed where the object stands. Where a program builds the manifests from sources, one place of the
sources is changed, everything is built again, and it counts only if the result differs in the wanted leaf and in
nothing else, in any overlay. Without the program, or without such a place, a person makes the change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal, Protocol

from holdfast import HoldfastError, InvalidInput, Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.manifests import Files, apply, declared
from holdfast_sre.repair.yaml_nodes import document_nodes, end, scalars, start
from holdfast_sre.repair.yaml_scalars import rendered

TRIALS_MAX = 40
"""How many places are tried for one leaf: each trial builds everything again."""
KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_CHART = "Chart.yaml"
_LISTING_ONLY = frozenset({"apiVersion", "kind", "metadata", "resources", "bases", "namespace"})
_KEY = re.compile(r"(?m)^([A-Za-z]+):")
Tool = Literal["kustomize", "helm"]


@dataclass(frozen=True)
class Root:
    """A folder that a program builds manifests from."""

    tool: Tool
    folder: str


class Renderer(Protocol):
    """Builds the manifests of a root. Raises Unavailable without the program, Rejected where it fails."""

    def render(self, files: Files, root: Root) -> str:
        """The YAML that the program prints."""
        ...


def roots_of(files: Files) -> tuple[Root, ...]:
    """What a program builds: charts, and kustomizations that no other one takes in. Those that only list files that
    stand in the tree are plain."""
    charts = [Root("helm", _folder(path)) for path in sorted(files) if PurePosixPath(path).name == _CHART]
    kustomizations = {_folder(path): files[path] for path in sorted(files) if PurePosixPath(path).name in KUSTOMIZATION}
    taken_in = Counter(
        below for folder, text in kustomizations.items() for below in _taken_in(folder, text, kustomizations)
    )
    shaping = [folder for folder, text in kustomizations.items() if set(_KEY.findall(text)) - _LISTING_ONLY]
    if not shaping and max(taken_in.values(), default=0) < 2:  # a base of several overlays is not to be touched blindly
        return tuple(charts)
    return (*charts, *(Root("kustomize", folder) for folder in kustomizations if folder not in taken_in))


def _folder(path: str) -> str:
    folder = PurePosixPath(path).parent.as_posix()
    return "" if folder == "." else folder


def _taken_in(folder: str, text: str, known: Mapping[str, str]) -> Iterator[str]:
    for entry in re.findall(r"(?m)^\s*-\s*['\"]?(?:path:\s*)?([\w./-]+)", text):
        target = _resolved(folder, entry)
        if target is not None and target in known:
            yield target


def _resolved(folder: str, entry: str) -> str | None:
    parts = PurePosixPath(folder).parts
    for step in PurePosixPath(entry).parts:
        if step == "..":
            if not parts:
                return None
            parts = parts[:-1]
        elif step != ".":
            parts = (*parts, step)
    return "/".join(parts)


def _plain(files: Files) -> dict[str, str]:
    """The YAML files that no program reads."""
    built = [_folder(path) for path in files if PurePosixPath(path).name in (*KUSTOMIZATION, _CHART)]
    is_built = bool(roots_of(files))
    return {
        path: text
        for path, text in files.items()
        if _is_yaml(path) and not (is_built and any(not folder or path.startswith(f"{folder}/") for folder in built))
    }


def declared_in(files: Files, namespace: str, renderer: Renderer | None = None) -> dict[Ref, Manifest]:
    """What the tree declares in a namespace: as built where a program builds it, else as it stands.

    Raises Rejected or Unavailable where it must be built and cannot be.
    """
    found = declared(_plain(files), namespace)
    for root in roots_of(files):
        if renderer is None:
            raise _must_be_built(root)
        for ref, manifest in declared(
            {f"{root.folder or '.'} (built)": renderer.render(files, root)}, namespace
        ).items():
            found.setdefault(ref, manifest)
    return found


def changed_files(
    files: Files, changes: Iterable[Change], *, namespace: str, renderer: Renderer | None = None
) -> dict[str, str | None]:
    """The files that the changes touch with their new text, as `apply` gives them, in whatever way the tree is built.

    Raises what `apply` raises; Rejected where no single place in the sources brings the change and nothing else.
    """
    roots, plain = roots_of(files), _plain(files)
    here = {str(ref) for ref in declared(plain, namespace)}
    asked = list(changes)
    if not roots or all(change.object in here for change in asked):
        return apply(plain, asked, namespace=namespace)
    if renderer is None:
        raise _must_be_built(roots[0])
    now = dict(files)
    for change in asked:
        now = _with_change(now, change, roots, namespace, renderer)
    return {path: now.get(path) for path in sorted({*files, *now}) if files.get(path) != now.get(path)}


def _is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _must_be_built(root: Root) -> Rejected:
    return Rejected(
        f"{root.folder or '.'}: these manifests are built by {root.tool}, which is not there to build them; "
        "install it, or make the change by hand",
        tool=root.tool,
    )


Key = tuple[str | None, Ref]
Built = dict[Root, dict[Key, dict[str, str]]]


def _built(files: Files, roots: Iterable[Root], renderer: Renderer) -> Built:
    """Every leaf of everything that is built, in all namespaces: a base may serve several."""
    found: Built = {}
    for root in roots:
        items = load_manifests(renderer.render(files, root), source=f"{root.folder or '.'} (built)")
        found[root] = {(item["metadata"].get("namespace"), ref): leaves(item) for ref, item in items}
    return found


def _with_change(
    files: dict[str, str], change: Change, roots: tuple[Root, ...], namespace: str, renderer: Renderer
) -> dict[str, str]:
    kind, _, name = change.object.partition("/")
    ref = Ref(kind, name)
    before = _built(files, roots, renderer)
    homes = [
        (root, key)
        for root in roots
        for key, values in before[root].items()
        if key in ((None, ref), (namespace, ref)) and values.get(change.path) == change.before
    ]
    if len(homes) != 1:
        raise Rejected(
            f"{change.object} {change.path}: expected one overlay or chart that builds it in {namespace} with "
            f"{change.before!r}, found {len(homes)}; a person makes the change"
        )
    home, key = homes[0]
    values = {path: text for path, text in before[home][key].items() if path != change.path}
    if change.after is not None:
        values[change.path] = change.after
    wanted = {**before, home: {**before[home], key: values}}
    for trial in islice(_trials(files, ref, change, home, namespace), TRIALS_MAX):
        with suppress(Rejected, InvalidInput):  # a place whose change breaks the build is not the one
            if _built(trial, roots, renderer) == wanted:
                return trial
    raise Rejected(
        f"{change.object} {change.path}: no single place in the sources of {home.folder or '.'} brings "
        f"{change.after!r} and nothing else; a person makes the change"
    )


def _trials(files: dict[str, str], ref: Ref, change: Change, home: Root, namespace: str) -> Iterator[dict[str, str]]:
    """The sources with the change made in one place: where the object or a patch of it stands, else where the value
    does. Places in the overlay's own folder come first."""
    near = sorted(files, key=lambda path: (not _is_inside(path, home), path))
    for path in near:
        if not _is_yaml(path) or ref.name not in files[path]:
            continue
        try:
            touched = apply({path: files[path]}, [change], namespace=namespace)
        except HoldfastError:
            continue
        text = touched.get(path)
        if text is not None:
            yield {**files, path: text}
    for path in near:
        if _is_yaml(path) and change.before is not None and change.after is not None:
            for text in _swapped(path, files[path], change.before, change.after):
                yield {**files, path: text}


def _is_inside(path: str, root: Root) -> bool:
    return not root.folder or path.startswith(f"{root.folder}/")


def _swapped(path: str, text: str, before: str, after: str) -> Iterator[str]:
    """The text with one scalar that has the old value, or the part of it that differs (an image's tag), changed."""
    pairs = [(before, after)]
    name, colon, tag = before.rpartition(":")
    other, _, new_tag = after.rpartition(":")
    if colon and name == other:
        pairs.append((tag, new_tag))
    elif colon and tag == new_tag:
        pairs.append((name, other))
    try:
        nodes = [node for document in document_nodes(text, source=path) for node in scalars(document)]
    except InvalidInput:
        return  # a template of a chart; its values stand elsewhere
    for node in nodes:
        for old, new in pairs:
            if str(node.value) == old:
                source = text[start(node) : end(node)]
                yield text[: start(node)] + rendered("", new, old=source) + text[end(node) :]
