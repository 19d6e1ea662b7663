"""Manifests as leaves: dotted paths, list items by name where they have one, else by index.

    spec.template.spec.containers[server].livenessProbe.grpc.port

Keys with dots stay bare. Scalars are text; a null counts as absent, as it does for the API server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from holdfast_sre.diagnosis.findings import Change, Field
from holdfast_sre.evidence.snapshot import Manifest, Ref

LEAVES_MAX = 100_000


def leaves(manifest: Any) -> dict[str, str]:
    """Every scalar of a manifest by its path, as text; of one that unfolds without end the first LEAVES_MAX."""
    return {path: str(value) for path, value in islice(_walk(manifest, ""), LEAVES_MAX)}


def scalars_of(manifest: Any) -> dict[str, object]:
    """The same as they are: a port that is text is not one that is a number."""
    return dict(islice(_walk(manifest, ""), LEAVES_MAX))


def _walk(value: Any, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else str(key))
    elif _is_list(value):
        for key, item in _items(value).items():
            yield from _walk(item, f"{path}[{key}]")
    elif value is not None:
        yield path, value


def is_under(path: str, prefix: str) -> bool:
    """Whether a path is a subtree's root or inside it; every path is under the empty one."""
    return not prefix or path == prefix or path.startswith((f"{prefix}.", f"{prefix}["))


def differences(
    before: Mapping[Ref, Manifest], after: Mapping[Ref, Manifest], fields: Iterable[Field]
) -> tuple[Change, ...]:
    """The leaves in which two sets of manifests differ, inside the given fields only, by object and path."""
    by_object: dict[Ref, list[str]] = {}
    for field in fields:
        by_object.setdefault(field.object, []).append(field.path)
    found: list[Change] = []
    for ref, prefixes in sorted(by_object.items()):
        old, new = leaves(before.get(ref, {})), leaves(after.get(ref, {}))
        found.extend(
            Change(str(ref), path, old.get(path), new.get(path))
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path) and any(is_under(path, prefix) for prefix in prefixes)
        )
    return tuple(found)


def replace_subtrees(manifest: Manifest, source: Manifest, prefixes: Sequence[str]) -> Manifest:
    """A copy of `manifest` in which each subtree named by a prefix is as in `source` (absent there, absent here).

    A subtree inside a list item is left alone unless both have the item: half an item is worse than none.
    """
    taken = _take(manifest, source, "", prefixes)
    return taken if isinstance(taken, dict) else {}


def _take(ours: Any, theirs: Any, path: str, prefixes: Sequence[str]) -> Any:
    if any(is_under(path, prefix) for prefix in prefixes):
        return copied(theirs)
    if not any(is_under(prefix, path) for prefix in prefixes):
        return copied(ours)
    if _is_list(ours) or (ours is None and _is_list(theirs)):
        mine, others = _items(ours), _items(theirs)
        merged = [_take_item(mine, others, key, f"{path}[{key}]", prefixes) for key in {**mine, **others}]
        return [item for item in merged if item is not None] or None
    if isinstance(ours, Mapping) or (ours is None and isinstance(theirs, Mapping)):
        left, right = _keys(ours), _keys(theirs)
        grown = {
            key: _take(left.get(key), right.get(key), f"{path}.{key}" if path else str(key), prefixes)
            for key in {**left, **right}
        }
        return {key: item for key, item in grown.items() if item is not None} or None
    return copied(ours)


def _take_item(mine: Mapping[str, Any], others: Mapping[str, Any], key: str, path: str, prefixes: Sequence[str]) -> Any:
    is_whole = any(is_under(path, prefix) for prefix in prefixes)
    if is_whole or (key in mine and key in others):
        return _take(mine.get(key), others.get(key), path, prefixes)
    return copied(mine.get(key))


def apply_changes(manifests: Mapping[Ref, Manifest], changes: Iterable[Change]) -> dict[Ref, Manifest]:
    """Copies of the manifests with the leaves changed. Empty containers left by a removal go with it."""
    result = dict(manifests)
    by_object: dict[str, dict[str, str | None]] = {}
    for change in changes:
        by_object.setdefault(change.object, {})[change.path] = change.after
    for name, wanted in by_object.items():
        kind, _, plain = name.partition("/")
        ref = Ref(kind, plain)
        changed: Any = _set_leaves(result.get(ref, {}), "", wanted)
        for path in [path for path, text in wanted.items() if text is not None and path not in leaves(changed)]:
            changed = _add_leaf(changed or {}, path, wanted[path])
        if changed:
            result[ref] = changed
        else:
            result.pop(ref, None)
    return result


def _set_leaves(value: Any, path: str, wanted: Mapping[str, str | None]) -> Any:
    if isinstance(value, Mapping):
        items = {key: _set_leaves(item, f"{path}.{key}" if path else str(key), wanted) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None} or None
    if _is_list(value):
        listed = [_set_leaves(item, f"{path}[{key}]", wanted) for key, item in _items(value).items()]
        return [item for item in listed if item is not None] or None
    if path not in wanted:
        return value
    text = wanted[path]
    return int(text) if isinstance(value, int) and text is not None and text.isdigit() else text


def _add_leaf(value: Any, path: str, text: str | None) -> Any:
    """`value` with a new leaf. Below the deepest existing container the path is split at its dots."""
    if path.startswith("["):
        key, _, below = path[1:].partition("]")
        items = _items(value)
        item = items.get(key, {} if key.isdigit() else {"name": key})
        items[key] = _add_leaf(item, below.removeprefix("."), text) if below else text
        return list(items.values())
    table = dict(value) if isinstance(value, Mapping) else {}
    key = next((key for key in table if is_under(path, str(key))), re.split(r"[.[]", path, maxsplit=1)[0])
    below = path[len(key) :].removeprefix(".")
    table[key] = _add_leaf(table.get(key), below, text) if below else text
    return table


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _items(value: Any) -> dict[str, Any]:
    """List items by name where they have one, else by index; empty where it is no list."""
    found: dict[str, Any] = {}
    for index, item in enumerate(value if _is_list(value) else ()):
        name = item.get("name") if isinstance(item, Mapping) else None
        found[str(index if name is None else name)] = item
    return found


def _keys(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def copied(value: Any) -> Any:
    """A deep copy as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if _is_list(value) else value
