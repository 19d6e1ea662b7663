"""The search for the one place of the sources that brings a change: made there, built again, compared leaf by leaf."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice

from holdfast import HoldfastError, InvalidInput, Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import scalars_of
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.built.places import trials
from holdfast_sre.repair.built.releases import no_release, other_value_files, roots_of, unreleased
from holdfast_sre.repair.tree.roots import Files, Renderer, Root, in_namespace, inputs_of
from holdfast_sre.repair.tree.yaml_scalars import value_as_written

TRIALS_MAX = 40
"""How many places are tried for one leaf: each trial builds what it touches again."""
BUILDS_MAX = 256
"""How many tables of leaves are remembered."""
_CHECKSUM = re.compile(r"(?:^|\.)annotations\.checksum/[\w.-]+$")
_DOCUMENT = re.compile(r"(?m)^---(?=\s)")
_NAME_OR_NUMBER = re.compile(r"[pP]ort$|max(?:Surge|Unavailable)$|minAvailable$")
"""Fields that take a name or share as text, and a number as one."""
_DIGEST = re.compile(r"[0-9a-f]{32,128}")

Key = tuple[str | None, Ref]
Place = tuple[Key, str]
"""An object in its namespace, and the path of a leaf of it."""
Leaf = tuple[str, str]
"""A value as text, and its type: a port in quotes is another one."""
Built = dict[Root, Mapping[Place, Leaf]]
_SOURCES: Key = (None, Ref("sources", "that do not build"))


def items_of(text: str, root: Root) -> dict[Key, Manifest]:
    """The objects by namespace and name: helm installs those of no namespace in the release's, a base of overlays may
    serve several. Parsed one by one, as most are what they were at the build before, and known."""
    source = f"{root} (built)"
    items = [item for document in _DOCUMENT.split(text) for item in load_manifests(document, source=source)]
    return {(item["metadata"].get("namespace") or root.namespace or None, ref): item for ref, item in items}


@lru_cache(maxsize=BUILDS_MAX)
def _leaves(text: str, root: Root) -> Mapping[Place, Leaf]:
    """Every leaf that a root's text has. The same text gives the same table, which is told by identity."""
    return {
        (key, path): (str(value), type(value).__name__)
        for key, item in items_of(text, root).items()
        for path, value in scalars_of(item).items()
    }


class Search:
    """Looks for the one place of the sources that brings a change."""

    def __init__(self, roots: Sequence[Root], namespace: str, renderer: Renderer, releases: Sequence[Root]) -> None:
        self._roots = roots
        self._namespace = namespace
        self._renderer = renderer
        self._releases = releases
        self._broken: dict[Root, HoldfastError] = {}

    def with_change(self, files: dict[str, str], pending: Sequence[Change]) -> tuple[dict[str, str], list[Change]]:
        """The sources with the first change made, and which of the pending ones that place brings about."""
        change = pending[0]
        self._broken = {}
        before = self._built(files, self._roots, self._broken)
        home, place = self._home(files, before, change)
        chance = _Chance(files, before, self._renderer)
        if place in chance.of(home):
            raise Rejected(f"{change.object} {change.path}: {home} gives it another value at each build")
        wanted = {at: each for each in pending for root, at in self._homes(before, each) if root == home}
        others = [root for root in self._roots if root != home and root.folder == home.folder]
        unnamed = other_value_files(files, home.folder, self._roots) if home.tool == "helm" else ()
        found = trials(files, change, home, self._namespace, is_alone=not others and not unnamed, is_known=not unnamed)
        for trial in islice(found, TRIALS_MAX):
            with suppress(Rejected, InvalidInput):  # a place whose change breaks the build is not the one
                at_home = {home: before[home]}  # first, as most trials fail here
                if change not in _made(at_home, self._built(trial, (home,)), home, wanted, chance):
                    continue
                made = _made(before, self._built(trial, self._roots), home, wanted, chance)
                if change in made and self._is_same_tree(trial):
                    return trial, made
        raise Rejected(
            f"{change.object} {change.path}: no single place in the sources of {home} brings {change.after!r} and "
            f"nothing else{self._unsure(home, unnamed)}; a person makes the change"
        )

    def _built(self, files: Files, roots: Iterable[Root], broken: dict[Root, HoldfastError] | None = None) -> Built:
        """Every leaf of everything that roots build, in all namespaces. What does not build counts as its sources: a
        place that leaves them as they are leaves what they would give."""
        found: Built = {}
        for root in roots:
            try:
                found[root] = _leaves(self._renderer.render(files, root), root)
            except (Rejected, InvalidInput) as error:
                if broken is not None:
                    broken[root] = error
                found[root] = {(_SOURCES, path): (text, "") for path, text in inputs_of(files, root).items()}
        return found

    def _homes(self, before: Built, change: Change) -> list[tuple[Root, Place]]:
        kind, _, name = change.object.partition("/")
        ref = Ref(kind, name)
        return [
            (root, (key, change.path))
            for root in self._roots
            for key in ((None, ref), (self._namespace, ref))
            if any(place[0] == key for place in before[root])
            and before[root].get((key, change.path), (None, ""))[0] == change.before
        ]

    def _home(self, files: Files, before: Built, change: Change) -> tuple[Root, Place]:
        homes = self._homes(before, change)
        if len(homes) == 1:
            return homes[0]
        wrong = [error for root, error in self._broken.items() if root.namespace in ("", self._namespace)]
        if not homes and wrong:
            raise wrong[0]
        said = "".join(f"; {no_release(chart)}" for chart in unreleased(files, self._releases)[:1] if not homes)
        raise Rejected(
            f"{change.object} {change.path}: expected one overlay or release of a chart that builds it in "
            f"{self._namespace} with {change.before!r}, found {len(homes)}{said}; a person makes the change"
        )

    def _unsure(self, home: Root, unnamed: Sequence[str]) -> str:
        """What may have kept a place from being taken."""
        said = [
            f"{root} does not build, so what it is built from may not change" for root in self._broken if root != home
        ]
        said += [f"{path} may be of a release that nobody named, so what it shares may not change" for path in unnamed]
        return f" ({'; '.join(said[:2])})" if said else ""

    def _is_same_tree(self, files: Files) -> bool:
        return in_namespace(roots_of(files, self._releases), self._namespace) == tuple(self._roots)


class _Chance:
    """What is another value at each build: made-up passwords and certificates, mostly. Asked for what differs alone."""

    def __init__(self, files: Files, before: Built, renderer: Renderer) -> None:
        self._files = files
        self._before = before
        self._renderer = renderer
        self._found: dict[Root, set[Place]] = {}

    def of(self, root: Root) -> set[Place]:
        """The places in what a root builds."""
        if root not in self._found:
            before, again = self._before[root], self._before[root]
            with suppress(Rejected, InvalidInput):  # it did not build before either
                again = _leaves(self._renderer.render(self._files, root, again=True), root)
            self._found[root] = {place for place in {*before, *again} if before.get(place) != again.get(place)}
        return self._found[root]


def _made(before: Built, after: Built, home: Root, wanted: Mapping[Place, Change], chance: _Chance) -> list[Change]:
    """The changes that a build shows; none where it shows anything else."""
    made = []
    for root, old in before.items():
        new = after[root]
        for place in () if new is old else {**old, **new}:
            if old.get(place) == new.get(place):
                continue
            change = wanted.get(place) if root == home else None
            if change is not None and _is_as_asked(change, old.get(place), new.get(place)):
                made.append(change)
            elif not (root == home and _follows(place, old, new, wanted)) and place not in chance.of(root):
                return []
    return made


def _is_as_asked(change: Change, old: Leaf | None, new: Leaf | None) -> bool:
    if new is None or change.after is None:
        return new is None and change.after is None
    kind = _type(change.path, change.after)
    if old is not None and old[1] == "str" and not (_NAME_OR_NUMBER.search(change.path) and _is_name(change, old[0])):
        kind = "str"
    return new == (change.after, kind)


def _is_name(change: Change, text: str) -> bool:
    return _type(change.path, text) == "str"


def _type(path: str, text: str) -> str:
    return type(value_as_written(path, text)).__name__


def _follows(place: Place, old: Mapping[Place, Leaf], new: Mapping[Place, Leaf], wanted: Iterable[Place]) -> bool:
    """Whether a leaf follows from the wanted ones: the name of a new item, and the checksum by which charts restart
    pods when what they read has changed."""
    key, path = place
    before, after = (table.get(place, ("", ""))[0] for table in (old, new))
    if path.endswith(f"[{after}].name"):
        item = path.removesuffix(".name")
        return not before and any(at == key and below.startswith(item) for at, below in wanted)
    return _CHECKSUM.search(path) is not None and all(_DIGEST.fullmatch(value) for value in (before, after))
