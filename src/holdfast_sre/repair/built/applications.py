"""Argo CD Applications in a tree of manifests: which releases of its charts they name, and the values they hold.

Source: https://argo-cd.readthedocs.io/en/stable/user-guide/helm/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast import InvalidInput, Rejected
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.evidence.snapshot import Manifest
from holdfast_sre.repair.tree.roots import Files, Root, Said, is_yaml, resolved


class _Parameter(msgspec.Struct, rename="camel"):
    name: str = ""
    value: str | int | float | bool = ""
    force_string: bool = False


class _Helm(msgspec.Struct, rename="camel"):
    release_name: str = ""
    value_files: list[str] = []
    ignore_missing_value_files: bool = False
    values: str = ""
    values_object: dict[str, Any] | None = None
    parameters: list[_Parameter] = []
    file_parameters: list[Any] = []


class _Source(msgspec.Struct, rename="camel"):
    path: str = ""
    ref: str = ""
    helm: _Helm | None = None


class _Destination(msgspec.Struct, frozen=True):
    namespace: str = ""


class _Spec(msgspec.Struct):
    source: _Source | None = None
    sources: list[_Source] = []
    destination: _Destination = _Destination()


class Inline(NamedTuple):
    """The values that an Application holds: a text of YAML, and what it sets one by one as options of helm."""

    values: str = ""
    options: tuple[str, ...] = ()


def releases_in(files: Files, charts: Sequence[str]) -> Iterator[Root]:
    """The releases of charts of the tree that Applications name.

    Paths in Applications begin at the top of their repository. Where only a folder of it is looked at, a chart is found
    by the end of its path.
    """
    for file, name, spec in _applications(files):
        for place, source in _sources(spec):
            path = source.path.strip("/").removeprefix("./")
            fitting = [chart for chart in charts if chart and (path == chart or path.endswith(f"/{chart}"))]
            if not fitting:
                if path in ("", ".") and "" in charts and source.path:
                    fitting = [""]
                else:
                    continue
            chart = max(fitting, key=len)
            helm = source.helm or _Helm()
            top = path[: len(path) - len(chart)] if chart else ""
            wanted = [_value_file(each, chart, top) for each in helm.value_files]
            values = tuple(each for each in wanted if each in files or not helm.ignore_missing_value_files)
            said = Said(file, name, place)
            yield Root("helm", chart, helm.release_name or name, spec.destination.namespace, values, said)


def inline_values(files: Files, root: Root) -> Inline:
    """What the Application of a release sets itself. Raises Rejected for what only Argo CD can look up."""
    said = root.said
    if said is None:
        return Inline()
    found = (spec for file, name, spec in _applications({said.file: files.get(said.file, "")}) if name == said.name)
    spec = next(found, None)
    helm = next((source.helm for place, source in _sources(spec) if place == said.source), None) if spec else None
    if helm is None:
        return Inline()
    if helm.file_parameters:
        raise Rejected(f"{said.file}: {said.name} takes values from fileParameters, which are not understood here")
    values = helm.values if helm.values_object is None else json.dumps(helm.values_object, default=str)
    options = (f"--set{'-string' if each.force_string else ''}={each.name}={_set(each)}" for each in helm.parameters)
    return Inline(values, tuple(options))


def _set(parameter: _Parameter) -> str:
    """A parameter's value as helm's option takes it: a comma would begin the next one."""
    value = parameter.value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.startswith("{") and text.endswith("}") else text.replace("\\,", ",").replace(",", "\\,")


def _value_file(entry: str, chart: str, top: str) -> str:
    """A value file as a path of the tree; as it stands where it is none of it."""
    if entry.startswith("$"):
        entry, is_top = entry.partition("/")[2], True  # of another source, taken for this tree if it has the file
    else:
        is_top = entry.startswith("/")
    if "://" in entry:
        return entry
    if is_top:
        return entry.strip("/").removeprefix(top)
    found = resolved(f"{top}{chart}", entry)
    return entry if found is None else found.removeprefix(top)


def _applications(files: Files) -> Iterator[tuple[str, str, _Spec]]:
    for path in sorted(files):
        if not is_yaml(path) or "argoproj.io" not in files[path] or "Application" not in files[path]:
            continue
        try:
            objects = load_manifests(files[path], source=path)
        except InvalidInput:
            continue  # a template of a chart
        for ref, item in objects:
            spec = _spec(item) if ref.kind == "Application" else None
            if spec is not None:
                yield path, ref.name, spec


def _spec(item: Manifest) -> _Spec | None:
    if not str(item.get("apiVersion", "")).startswith("argoproj.io/"):
        return None
    try:
        return msgspec.convert(item.get("spec"), _Spec)
    except msgspec.ValidationError:
        return None


def _sources(spec: _Spec) -> Iterator[tuple[str, _Source]]:
    if spec.source is not None and not spec.sources:
        yield "spec.source", spec.source
    for number, source in enumerate(spec.sources):
        yield f"spec.sources[{number}]", source
