"""Manifests from YAML: one text of several documents, or a folder of files in any layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from holdfast import InvalidInput
from holdfast_sre.evidence.object_texts import is_name, size_of
from holdfast_sre.evidence.snapshot import Manifest, Ref

FILE_BYTES_MAX = 4 << 20
FILES_MAX = 10_000
VALUES_MAX = 200_000
BROKEN_YAML = (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError, NotImplementedError)
"""What the parser raises for texts that are no YAML: not all of it is its own."""
_ALIAS = re.compile(r"(?m)(?:^|[\s:,\[{-])\*\w")
TEXTS_MAX = 4_096
"""Parsed texts that are kept."""


def load_manifests(text: str, *, source: str) -> list[tuple[Ref, Manifest]]:
    """The objects in a YAML text, lists taken apart; documents without kind and name are passed over. Read-only: the
    same text gives the same objects.

    Raises InvalidInput that names the source where it does not parse.
    """
    return list(_parsed(text, source))


@lru_cache(maxsize=TEXTS_MAX)
def _parsed(text: str, source: str) -> tuple[tuple[Ref, Manifest], ...]:
    """Parsing YAML is most of the time that an incident takes, and its manifests are looked at again and again."""
    try:
        if _ALIAS.search(text):
            _refuse_bombs(text)
        documents = list(_yaml("safe").load_all(text))
        for document in documents:
            size_of(document)
    except BROKEN_YAML as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        line = "".join(sign if sign.isprintable() else "?" for sign in line)
        raise InvalidInput(f"{source}: expected YAML, saw: {line}", source=source) from error
    return tuple(found for document in documents for found in _objects(document))


def _yaml(kind: str) -> YAML:
    yaml = YAML(typ=kind, pure=True)
    yaml.composer.warn_double_anchors = False  # the later one counts, as YAML has it; nobody is there to be warned
    return yaml


def _refuse_bombs(text: str) -> None:
    """Raises ValueError where aliases unfold to more than an object can be. Looked at before anything is made of the
    text: merges (`<<`) unfold while it is."""
    sizes: dict[int, int] = {}

    def measured(node: Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = VALUES_MAX + 1  # what a node inside itself is taken for
            below = [each for pair in node.value for each in pair] if isinstance(node, MappingNode) else node.value
            children = below if isinstance(node, MappingNode | SequenceNode) else ()
            sizes[id(node)] = 1 + sum(measured(child) for child in children)
        return min(sizes[id(node)], VALUES_MAX + 1)

    for document in _yaml("rt").compose_all(text):
        if isinstance(document, Node) and measured(document) > VALUES_MAX:
            raise ValueError(f"aliases that unfold to more than {VALUES_MAX} values")


def _objects(document: object) -> Iterator[tuple[Ref, Manifest]]:
    if not isinstance(document, Mapping):
        return
    items = document.get("items")
    if isinstance(items, list) and str(document.get("kind", "")).endswith("List"):
        for item in items:
            yield from _objects(item)
        return
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = document.get("kind")
    if kind and name and is_name(str(kind)) and is_name(str(name)):
        yield Ref(str(kind), str(name)), document


def load_folder(folder: Path) -> dict[Ref, Manifest]:
    """Every object in the YAML files under a folder, by kind and name; of duplicates the first by path.

    Raises InvalidInput where the folder is none, holds no manifests, or a file is too large or does not parse.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder of manifests, saw none", path=str(folder))
    found: dict[Ref, Manifest] = {}
    paths = sorted(path for path in folder.rglob("*.y*ml") if path.suffix in (".yaml", ".yml") and path.is_file())
    for path in paths[:FILES_MAX]:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidInput(f"{path}: expected at most {FILE_BYTES_MAX} bytes of YAML, saw {path.stat().st_size}")
        for ref, manifest in load_manifests(path.read_text(encoding="utf-8"), source=str(path)):
            found.setdefault(ref, manifest)
    if not found:
        raise InvalidInput(f"{folder}: expected manifests in .yaml files, saw {len(paths)} such files and no object")
    return found
