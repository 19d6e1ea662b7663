"""A tree of YAML files with Kubernetes objects: what they declare, and leaf changes made to them in place.

Files are given and returned as path to text, so the same code serves a git tree, a folder and a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.tree.yaml_edit import edited, new_document
from holdfast_sre.repair.tree.yaml_nodes import ObjectNode, object_nodes
from holdfast_sre.repair.tree.yaml_scalars import is_text_field

Files = Mapping[str, str]

_ITEM = re.compile(r"\[([^\]]*[^\]\d][^\]]*)\]")


def declared(files: Files, namespace: str) -> dict[Ref, Manifest]:
    """The objects of a namespace; those that name none belong to each. Of duplicates the first by path."""
    found: dict[Ref, Manifest] = {}
    for path in sorted(files):
        for ref, manifest in load_manifests(files[path], source=path):
            if (manifest["metadata"].get("namespace") or namespace) == namespace:
                found.setdefault(ref, manifest)
    return found


def leaf(files: Files, ref: Ref, path: str, *, namespace: str) -> str | None:
    """The value at a path of an object, as text; None where it is absent. Raises NotFound without the object."""
    manifest = declared(files, namespace).get(ref)
    if manifest is None:
        raise _absent(files, ref, namespace)
    return leaves(manifest).get(path)


def apply(files: Files, changes: Iterable[Change], *, namespace: str) -> dict[str, str | None]:
    """The files that the changes touch, with their new text; None for a file that becomes empty.

    Only the changed leaves differ: comments, order, quotes and blank lines stay. A change that is already made is
    passed over, so applying twice is applying once. An object whose leaves all are additions is created.

    Raises Conflict, facts `expected` and `seen`, where a leaf is not what its change says it was; NotFound without
    the object; Rejected where two files declare it or the text cannot be changed safely.
    """
    by_object: dict[Ref, list[Change]] = {}
    for change in changes:
        kind, _, name = change.object.partition("/")
        if not kind or not name or not change.path:
            raise InvalidInput(f"change: expected an object as Kind/name and a path, saw {change.object!r}")
        by_object.setdefault(Ref(kind, name), []).append(with_leaf_texts(change))
    now = dict(files)
    for ref, wanted in by_object.items():
        _apply_to_object(now, ref, wanted, namespace)
    return {path: now.get(path) for path in sorted({*files, *now}) if files.get(path) != now.get(path)}


def _apply_to_object(files: dict[str, str], ref: Ref, changes: list[Change], namespace: str) -> None:
    is_new = all(change.before is None and change.after is not None for change in changes)
    try:
        path = _file_of(files, ref, namespace)
    except NotFound:
        if not is_new:
            raise
        _create(files, ref, changes, namespace)
        return
    before = {found: leaves(manifest) for found, manifest in declared({path: files[path]}, namespace).items()}
    pending = [change for change in changes if before[ref].get(change.path) != change.after]
    for change in pending:
        if (seen := before[ref].get(change.path)) != change.before:
            raise Conflict(
                f"{path}: {ref} {change.path}: expected {_said(change.before)}, found {_said(seen)}",
                expected=change.before,
                seen=seen,
            )
    if not pending:
        return
    node = next(node for node in object_nodes(files[path], source=path) if _is_meant(node, ref, namespace))
    text = edited(files[path], node.node, pending)
    new = _without(files[path], node) if text is None else text
    wanted = before | {ref: _changed(before[ref], pending)}
    _verify(path, new, {found: values for found, values in wanted.items() if values}, namespace)
    if new.strip().strip("-"):
        files[path] = new
    else:
        del files[path]


def _create(files: dict[str, str], ref: Ref, changes: list[Change], namespace: str) -> None:
    """Put a new object beside its namesake, else into a file of its own."""
    text = new_document(changes)
    home = next((path for path in sorted(files) if _has_namesake(files[path], path, ref, namespace)), None)
    if home is None:
        path = f"{ref.name}-{ref.kind.lower()}.yaml"
        if path in files:
            raise Rejected(f"{path}: expected no such file for the new {ref}, found one", path=path)
        _verify(path, text, {ref: _changed({}, changes)}, namespace)
        files[path] = text
        return
    before = {found: leaves(manifest) for found, manifest in declared({home: files[home]}, namespace).items()}
    new = files[home].rstrip("\n") + "\n---\n" + text
    _verify(home, new, before | {ref: _changed({}, changes)}, namespace)
    files[home] = new


def _has_namesake(text: str, path: str, ref: Ref, namespace: str) -> bool:
    return any(found.name == ref.name for found in declared({path: text}, namespace))


def _file_of(files: Files, ref: Ref, namespace: str) -> str:
    likely = [path for path in sorted(files) if ref.name in files[path]]  # parsing is slow, looking is not
    homes = [path for path in likely for found in declared({path: files[path]}, namespace) if found == ref]
    if not homes:
        raise _absent(files, ref, namespace)
    if len(homes) > 1:
        raise Rejected(f"{ref}: expected one file that declares it, found {homes}", files=homes)
    return homes[0]


def _absent(files: Files, ref: Ref, namespace: str) -> NotFound:
    return NotFound(f"{ref}: expected it in one of {len(files)} files of namespace {namespace}, found it in none")


def _is_meant(node: ObjectNode, ref: Ref, namespace: str) -> bool:
    return node.ref == ref and (node.namespace or namespace) == namespace


def with_leaf_texts(change: Change) -> Change:
    """The change with its truth values spelled as leaves are, so that `true` by hand means the same as `True`."""
    if is_text_field(change.path):
        return change
    spelled = {"true": "True", "false": "False"}
    before, after = (None if text is None else spelled.get(text, text) for text in (change.before, change.after))
    return Change(change.object, change.path, before, after)


def _changed(values: Mapping[str, str], changes: Iterable[Change]) -> dict[str, str]:
    """The leaves after the changes. An item that a path finds by its name has that name."""
    new: dict[str, str | None] = dict(values)
    for change in changes:
        new[change.path] = change.after
        if change.after is not None:
            for item in _ITEM.finditer(change.path):
                new.setdefault(f"{change.path[: item.end()]}.name", item[1])
    return {path: value for path, value in new.items() if value is not None}


def _without(text: str, node: ObjectNode) -> str:
    """The text without the object's document."""
    if node.node is not node.document:
        raise Rejected(f"{node.ref}: cannot be removed mechanically, it is an item of a list")
    first = text.rfind("\n---", 0, int(node.document.start_mark.index)) + 1
    next_start = text.find("\n---", int(node.document.start_mark.index))
    if next_start < 0:
        return text[:first].rstrip("\n") + "\n" if first else ""
    return text[:first] + text[next_start + 1 :]


def _verify(path: str, text: str, wanted: Mapping[Ref, Mapping[str, str]], namespace: str) -> None:
    """By a second way: parse the new text and compare every leaf of every object with what was wanted."""
    try:
        seen = {ref: leaves(manifest) for ref, manifest in declared({path: text}, namespace).items()}
    except InvalidInput as error:
        raise Rejected(f"{path}: cannot be changed mechanically, the result would not parse: {error}") from error
    for ref in sorted({*wanted, *seen}):
        here, there = wanted.get(ref, {}), seen.get(ref, {})
        if here != there:
            odd = sorted(at for at in {*here, *there} if here.get(at) != there.get(at))
            raise Rejected(
                f"{path}: cannot be changed mechanically, {ref} would differ in {odd[:5]}; edit the file by hand",
                path=path,
            )


def _said(value: str | None) -> str:
    return "nothing" if value is None else repr(value)
