"""Differences between two JSON values as RFC 6902 patches (add, remove, replace), and their application.

Used by the journal (what a transition changed) and by the merge of parallel regions (who changed what). Lists are
compared item by item at equal positions; growth and shrinkage happen at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.errors import Corrupt

Operation = dict[str, Any]


def diff(before: Any, after: Any) -> list[Operation]:
    """The operations that turn `before` into `after`; empty where they are equal."""
    operations: list[Operation] = []
    _diff(before, after, "", operations)
    return operations


def apply(value: Any, operations: list[Operation]) -> Any:
    """`value` with the operations applied; the input is left as it was. Raises Corrupt where a path does not exist."""
    root = [copied(value)]
    for operation in operations:
        parent, token = _locate(root, operation["path"])
        _apply_one(parent, token, operation)
    return root[0]


def touched(operations: list[Operation]) -> list[tuple[str, ...]]:
    """The paths that a patch writes, as tuples of tokens."""
    return [tuple(tokens_of(operation["path"])) for operation in operations]


def overlap(left: list[Operation], right: list[Operation]) -> list[str]:
    """Paths written by both patches (one inside the other counts) with different results; empty if they commute."""
    clashes = []
    for mine in left:
        for theirs in right:
            a, b = tokens_of(mine["path"]), tokens_of(theirs["path"])
            shared = min(len(a), len(b))
            if a[:shared] == b[:shared] and mine != theirs:
                clashes.append(mine["path"] if len(a) >= len(b) else theirs["path"])
    return sorted(set(clashes))


def _diff(before: Any, after: Any, path: str, out: list[Operation]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        out.extend({"op": "remove", "path": f"{path}/{_escape(key)}"} for key in before if key not in after)
        for key, value in after.items():
            if key not in before:
                out.append({"op": "add", "path": f"{path}/{_escape(key)}", "value": value})
            elif not _is_same_scalar(before[key], value):
                _diff(before[key], value, f"{path}/{_escape(key)}", out)
    elif isinstance(before, list) and isinstance(after, list):
        shared = min(len(before), len(after))
        for index in range(shared):
            if not _is_same_scalar(before[index], after[index]):
                _diff(before[index], after[index], f"{path}/{index}", out)
        out.extend({"op": "remove", "path": f"{path}/{index}"} for index in range(len(before) - 1, shared - 1, -1))
        out.extend(
            {"op": "add", "path": f"{path}/{index}", "value": after[index]} for index in range(shared, len(after))
        )
    elif before != after or type(before) is not type(after):
        out.append({"op": "replace", "path": path, "value": after})


def _is_same_scalar(before: Any, after: Any) -> bool:
    """Whether both are the same text, number, truth value or null: most of what there is, at no cost but this look."""
    kind = type(after)
    return type(before) is kind and kind is not dict and kind is not list and before == after


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def pointer(path: Sequence[str]) -> str:
    """The JSON pointer (RFC 6901) of tokens; "" is the whole value."""
    return "".join(f"/{_escape(token)}" for token in path)


def tokens_of(path: str) -> list[str]:
    """The tokens of a JSON pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _locate(root: list[Any], path: str) -> tuple[Any, Any]:
    parent: Any = root
    token: Any = 0
    for part in tokens_of(path):
        try:
            parent = parent[token]
        except (KeyError, IndexError, TypeError) as error:
            raise Corrupt(f"patch: path {path!r} does not exist in the value", path=path) from error
        token = int(part) if isinstance(parent, list) and part.isdigit() else part
    return parent, token


def _apply_one(parent: Any, token: Any, operation: Operation) -> None:
    try:
        if operation["op"] == "remove":
            del parent[token]
        elif operation["op"] == "add" and isinstance(parent, list):
            parent.insert(len(parent) if token == "-" else token, copied(operation["value"]))
        else:
            parent[token] = copied(operation["value"])
    except (KeyError, IndexError, TypeError) as error:
        raise Corrupt(
            f"patch: {operation['op']} at {operation['path']!r} does not fit the value", **operation
        ) from error


def copied(value: Any) -> Any:
    """`value`, sharing no object and no list with it."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
