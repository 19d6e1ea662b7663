"""The strict schema of the API, asked about what a repair writes: fields that it does not know, text for a number.

The schemas come with the package `kubernetes-validate`, offline. Without it, and for kinds that it does not have, the
shapes that rules rely on are checked, and the proof says that nothing more was.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

from holdfast_sre.diagnosis.manifest_paths import copied, leaves
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.snapshot import Manifest, Ref

FAULT_CHARS_MAX = 300
_PLAIN_KIND = re.compile(r"[A-Za-z]{1,80}")
_PLAIN_API = re.compile(r"(?:[a-z][a-z0-9.-]{0,120}/)?v[0-9][a-z0-9]{0,20}")

Manifests = Mapping[Ref, Manifest]


@lru_cache(maxsize=1)
def _library() -> ModuleType | None:
    """The package, loaded when it is first needed: it takes longer to load than a diagnosis takes."""
    try:
        return importlib.import_module("kubernetes_validate")
    except ImportError:
        return None


def new_faults(before: Manifests, after: Manifests) -> tuple[tuple[str, ...], str]:
    """What is wrong with objects that differ and was not wrong before, and what was checked, in words."""
    changed = [ref for ref in sorted(after) if leaves(before.get(ref, {})) != leaves(after[ref])]
    faults: list[str] = []
    unchecked: list[str] = []
    version = ""
    for ref in changed:
        shape = shape_fault(ref, after[ref])
        if shape:
            faults.append(shape)
        fault, seen = _fault(after[ref])
        version = seen or version
        if not seen:
            unchecked.append(str(ref))
        elif fault and fault != _fault(before.get(ref, {}))[0]:
            faults.append(f"{ref}: {fault}")
    return tuple(faults), _told(version, unchecked)


def _told(version: str, unchecked: list[str]) -> str:
    without = f"no schema for {', '.join(unchecked)}, only the shape was checked"
    if not version:
        return without if unchecked else "no object is left to check"
    told = f"the strict schema of Kubernetes {version} holds"
    return f"{told}; {without}" if unchecked else told


def _fault(manifest: Manifest) -> tuple[str, str]:
    """What the schema says against an object and the version that says so; no version where there is no schema."""
    library = _library()
    kind, api = manifest.get("kind"), manifest.get("apiVersion")
    is_plain = (
        isinstance(kind, str) and isinstance(api, str) and _PLAIN_KIND.fullmatch(kind) and _PLAIN_API.fullmatch(api)
    )
    if library is None or not is_plain:
        return "", ""
    version = _latest()
    data: Any = copied(manifest)
    try:
        library.validate(data, version, strict=True)
    except library.SchemaNotFoundError:
        return "", ""
    except library.ValidationError as error:
        place = ".".join(str(step) for step in error.absolute_path) or "the object"
        return f"{place}: {error.message}"[:FAULT_CHARS_MAX], version
    return "", version


@lru_cache(maxsize=1)
def _latest() -> str:
    library = _library()
    return str(library.latest_version()) if library is not None else ""
