"""How a tree of manifests is built: plain YAML, Kustomize overlays, Helm charts; what it declares, and changes to it.

Plain files are changed where the object stands. Where a program builds the manifests from sources, one place of the
sources is changed, everything is built again, and it counts only if the result differs in the wanted leaves and in
nothing else, in any overlay and release. Without the program, or without such a place, a person makes the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from holdfast import InvalidInput, Rejected, Unavailable
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.built.place_search import Search, items_of
from holdfast_sre.repair.built.releases import no_release, roots_of, unreleased
from holdfast_sre.repair.last_good.changelog import Declare
from holdfast_sre.repair.tree.manifests import Files, apply, declared, with_leaf_texts
from holdfast_sre.repair.tree.roots import (
    CHART,
    KUSTOMIZATION,
    Renderer,
    Root,
    folder_of,
    in_namespace,
    is_yaml,
    kustomizations_of,
)


def plain_files(files: Files) -> dict[str, str]:
    """The YAML files that no program reads."""
    readers = (CHART, *KUSTOMIZATION) if kustomizations_of(files) else (CHART,)
    built = {folder_of(path) for path in files if PurePosixPath(path).name in readers}
    return {
        path: text
        for path, text in files.items()
        if is_yaml(path) and not any(not folder or path.startswith(f"{folder}/") for folder in built)
    }


def declared_in(
    files: Files, namespace: str, renderer: Renderer | None = None, releases: Sequence[Root] = ()
) -> dict[Ref, Manifest]:
    """What the tree declares in a namespace: as built where a program builds it, else as it stands. `releases` are
    those of its charts that somebody named.

    Raises Rejected or Unavailable where it must be built and cannot be, and where there is nothing but charts of which
    no release is known.
    """
    found = declared(plain_files(files), namespace)
    roots = in_namespace(roots_of(files, releases), namespace)
    for root in roots:
        if renderer is None:
            raise _must_be_built(root)
        try:
            items = items_of(renderer.render(files, root), root)
        except (Rejected, InvalidInput):
            if root.namespace in ("", namespace):
                raise
            continue  # another environment's; what is asked about is built without it
        for (space, ref), manifest in items.items():
            if (space or namespace) == namespace:
                found.setdefault(ref, manifest)
    nameless = unreleased(files, releases)
    if nameless and not found and not roots:
        raise Rejected(no_release(nameless[0]))
    return found


def reader_of(files: Files, renderer: Renderer, releases: Sequence[Root] = ()) -> Declare | None:
    """How to read the history of a tree that is built; None for one that is read file by file. Without the programs
    only the plain part of it is read."""
    if not roots_of(files, releases):
        return None

    def declare(files: Files, namespace: str) -> Mapping[Ref, Manifest]:
        try:
            return declared_in(files, namespace, renderer, releases)
        except Unavailable:
            return declared(plain_files(files), namespace)

    return declare


def is_built(files: Files, changes: Iterable[Change], *, namespace: str, releases: Sequence[Root] = ()) -> bool:
    """Whether a program builds one of the changed objects, so that no file shows it as it is."""
    if not roots_of(files, releases):
        return False
    here = {str(ref) for ref in declared(plain_files(files), namespace)}
    return any(change.object not in here for change in changes)


def changed_files(
    files: Files,
    changes: Iterable[Change],
    *,
    namespace: str,
    renderer: Renderer | None = None,
    releases: Sequence[Root] = (),
) -> dict[str, str | None]:
    """The files that the changes touch with their new text, as `apply` gives them, in whatever way the tree is built.

    Raises what `apply` raises; Rejected where no single place in the sources brings a change and nothing else.
    """
    plain, asked = plain_files(files), [with_leaf_texts(change) for change in changes]
    roots = in_namespace(roots_of(files, releases), namespace)
    here = {str(ref) for ref in declared(plain, namespace)}
    built = [change for change in asked if change.object not in here]
    nameless = unreleased(files, releases)
    if not built or not (roots or nameless):
        return apply(plain, asked, namespace=namespace)
    if renderer is None:
        raise _must_be_built(roots[0]) if roots else Rejected(no_release(nameless[0]))
    now = dict(files)
    for path, text in apply(plain, [each for each in asked if each not in built], namespace=namespace).items():
        if text is None:
            del now[path]
        else:
            now[path] = text
    search = Search(roots, namespace, renderer, releases)
    while built:
        now, made = search.with_change(now, built)
        built = [change for change in built if change not in made]
    return {path: now.get(path) for path in sorted({*files, *now}) if files.get(path) != now.get(path)}


def _must_be_built(root: Root) -> Rejected:
    return Rejected(
        f"{root.folder or '.'}: these manifests are built by {root.tool}, which is not there to build them; "
        "install it, or make the change by hand",
        tool=root.tool,
    )
