"""Places in the sources of a built tree where a change might be made, the likelier ones first.

Nothing here knows what the programs make of it: each place is tried by building. Of a chart the values that only the
release has come before those that it shares, and a key that its values do not mention may be added to them.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast import HoldfastError, InvalidInput
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.built.release_values import in_values
from holdfast_sre.repair.built.value_parts import in_quotes, pairs_of
from holdfast_sre.repair.tree.manifests import Files, apply
from holdfast_sre.repair.tree.roots import Root, is_yaml
from holdfast_sre.repair.tree.yaml_nodes import document_nodes, end, scalars, start
from holdfast_sre.repair.tree.yaml_scalars import rendered


def trials(
    files: dict[str, str], change: Change, home: Root, namespace: str, *, is_alone: bool, is_known: bool
) -> Iterator[dict[str, str]]:
    """The sources with the change made in one place.

    `is_alone` says that the chart has no other release, so that its defaults are the release's as well; `is_known` that
    all its releases are known, so that building can tell whether another one changes.
    """
    if home.tool == "kustomize":
        yield from _in_objects(files, change, home, namespace)
        yield from _in_scalars(files, change, home)
        return
    if is_known:
        yield from _in_objects(files, change, home, namespace)
    yield from in_values(files, change, home, is_alone=is_alone, is_known=is_known)


# -- where the object stands ----------------------------------------------------------------------------------------


def _in_objects(files: dict[str, str], change: Change, home: Root, namespace: str) -> Iterator[dict[str, str]]:
    """Where the object or a patch of it stands."""
    ref = Ref(*change.object.split("/", 1))
    for path in _near_first(files, home):
        if not is_yaml(path) or ref.name not in files[path] or (home.tool == "helm" and not _is_inside(path, home)):
            continue
        try:
            touched = apply({path: files[path]}, [change], namespace=namespace)
        except HoldfastError:
            continue
        text = touched.get(path)
        if text is not None:
            yield {**files, path: text}


def _near_first(files: Files, home: Root) -> list[str]:
    return sorted(files, key=lambda path: (not _is_inside(path, home), path))


def _is_inside(path: str, root: Root) -> bool:
    return not root.folder or path.startswith(f"{root.folder}/")


# -- where the value stands -----------------------------------------------------------------------------------------


def _in_scalars(files: dict[str, str], change: Change, home: Root) -> Iterator[dict[str, str]]:
    for path in _near_first(files, home):
        if is_yaml(path):
            for text in _swapped(path, files[path], change):
                yield {**files, path: text}


def _swapped(path: str, text: str, change: Change) -> Iterator[str]:
    """The text with one scalar that has the old value, or the part of it that differs (an image's tag), changed."""
    try:
        nodes = [node for document in document_nodes(text, source=path) for node in scalars(document)]
    except (InvalidInput, RecursionError):  # no YAML, or aliases that lead into themselves
        return
    for node in nodes:
        for old, new in pairs_of(change):
            if new is not None and str(node.value) == old:
                source = text[start(node) : end(node)]
                for written in dict.fromkeys((rendered("", new, old=source), in_quotes("", new))):
                    yield text[: start(node)] + written + text[end(node) :]
