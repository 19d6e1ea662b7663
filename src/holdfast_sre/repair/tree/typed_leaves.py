"""Changed leaves with the types that they have once they are written: a change carries text, a port is a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.tree.yaml_scalars import value_as_written


def with_types(manifests: Mapping[Ref, Manifest], changes: Iterable[Change]) -> dict[Ref, Manifest]:
    """Copies of the manifests in which each changed leaf is what YAML will read, not text."""
    paths: dict[Ref, set[str]] = {}
    for change in changes:
        kind, _, name = change.object.partition("/")
        if change.after is not None:
            paths.setdefault(Ref(kind, name), set()).add(change.path)
    return {ref: _typed(manifest, "", paths[ref]) if ref in paths else manifest for ref, manifest in manifests.items()}


def _typed(value: Any, path: str, paths: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _typed(item, f"{path}.{key}" if path else str(key), paths) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, f"{path}[{_key(index, item)}]", paths) for index, item in enumerate(value)]
    return value_as_written(path, value) if path in paths and isinstance(value, str) else value


def _key(index: int, item: Any) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return str(index if name is None else name)
