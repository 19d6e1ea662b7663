"""Kubernetes objects in texts of JSON or YAML: one, several in a row, lists of them, and what is left of a cut one.

A text that does not parse is told and not fatal. YAML is read as kubectl writes it; no tag makes anything but plain
values, and an alias that would unfold into more than a cluster could hold is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml

from holdfast_sre.evidence.input_files import Notes

YAML_CHARS_MAX = 16 << 20
VALUES_MAX = 2_000_000
"""How many values a text may hold, those that aliases repeat included."""
DEPTH_MAX = 64
NAME_CHARS_MAX = 253
_NEVER_IN_NAMES = frozenset("/\\<>&'\"`")
OBJECTS_MAX = 50_000
"""How many objects of one text are taken."""

Object = dict[str, Any]

_HALF_SIGN = re.compile("[\ud800-\udfff]")
_LIST_START = re.compile(r'"items"\s*:\s*\[')


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values only. Times stay text, as they are in JSON; `<<` is a key like others, as merges can multiply."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge"))]
    for sign, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def objects_in(text: str, source: str, notes: Notes) -> list[Object]:
    """The objects of a text, lists taken apart; documents without a kind and a name are told."""
    stripped = text.lstrip()
    documents = _json(stripped, source, notes) if stripped.startswith(("{", "[")) else _yaml(text, source, notes)
    found: list[Object] = []
    nameless = 0
    for document in documents:
        try:
            size_of(document)
        except ValueError as error:
            notes.add(f"{source}: {error}; left out")
            continue
        for item in _unfolded(document):
            if is_object(item):
                found.append(item)
            elif item:
                nameless += 1
    if nameless:
        notes.add(f"{source}: {nameless} documents without kind and metadata.name of an object, left out")
    if len(found) > OBJECTS_MAX:
        notes.add(f"{source}: more than {OBJECTS_MAX} objects, the rest was left out")
    return found[:OBJECTS_MAX]


def is_object(value: object) -> bool:
    """Whether a value has the kind and the name that every object has."""
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        return False
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return isinstance(name, str) and is_name(name) and is_name(value["kind"])


def is_name(text: str) -> bool:
    """Whether a text can be a kind's or an object's name: not empty, not long, and nothing in it that hides."""
    return 0 < len(text) <= NAME_CHARS_MAX and text.isprintable() and not set(text) & _NEVER_IN_NAMES


def size_of(value: Any) -> int:
    """How many values something holds, everything that is there twice counted twice.

    Raises ValueError past VALUES_MAX, past DEPTH_MAX levels, for something that holds itself, and for text that cannot
    be written again.
    """
    sizes: dict[int, int] = {}
    inside: set[int] = set()

    def measured(item: Any, depth: int) -> int:
        if not isinstance(item, dict | list):
            if isinstance(item, str) and not item.isascii() and _HALF_SIGN.search(item):
                raise ValueError("expected text, saw half of a sign that takes two")
            return 1
        if id(item) in inside or depth > DEPTH_MAX:
            raise ValueError(f"expected at most {DEPTH_MAX} levels, saw more")
        if id(item) not in sizes:
            inside.add(id(item))
            below = [each for pair in item.items() for each in pair] if isinstance(item, dict) else item
            sizes[id(item)] = 1 + sum(measured(each, depth + 1) for each in below)
            inside.discard(id(item))
        if sizes[id(item)] > VALUES_MAX:
            raise ValueError(f"expected at most {VALUES_MAX} values, saw more")
        return sizes[id(item)]

    return measured(value, 0)


def _unfolded(document: Any) -> Iterator[Any]:
    if isinstance(document, list):
        for item in document:
            yield from _unfolded(item)
    elif isinstance(document, dict) and isinstance(document.get("items"), list) and _is_list_kind(document):
        kind = str(document.get("kind", "")).removesuffix("List")
        for item in document["items"]:
            if isinstance(item, dict) and kind and "kind" not in item:
                item = {"apiVersion": document.get("apiVersion", "v1"), "kind": kind, **item}
            yield from _unfolded(item)
    elif isinstance(document, dict) and _is_list_kind(document) and "items" in document:
        return  # `items: null` is how an empty list is printed
    else:
        yield document


def _is_list_kind(document: Object) -> bool:
    return str(document.get("kind", "List")).endswith("List")


def _json(text: str, source: str, notes: Notes) -> list[Any]:
    try:
        return [msgspec.json.decode(text)]
    except (msgspec.DecodeError, RecursionError):
        return list(_json_in_a_row(text, source, notes))


def _json_in_a_row(text: str, source: str, notes: Notes) -> Iterator[Any]:
    """Documents one after the other; of the last one, where it is cut, the items that are whole."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except RecursionError:
            notes.add(f"{source}: nested too deep, left out")
            return
        except ValueError as error:
            items = list(_whole_items(decoder, text, at))
            notes.add(
                f"{source}: ends in the middle or is no JSON ({str(error)[:120]}); {len(items)} whole objects read"
            )
            yield items
            return
        yield document


def _whole_items(decoder: json.JSONDecoder, text: str, at: int) -> Iterator[Any]:
    start = _LIST_START.search(text, at)
    place = start.end() if start else len(text)
    while place < len(text):
        if text[place].isspace() or text[place] == ",":
            place += 1
            continue
        try:
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        yield item


def _yaml(text: str, source: str, notes: Notes) -> Iterator[Any]:
    if len(text) > YAML_CHARS_MAX:
        notes.add(f"{source}: more than {YAML_CHARS_MAX >> 20} MiB of YAML, left out; use kubectl get -o json")
        return
    for number, document in enumerate(re.split(r"(?m)^---(?=\s|$)", text), 1):
        if not document.strip():
            continue
        try:
            yield yaml.load(document, Loader=_Loader)  # a loader of plain values, see above
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            line = " ".join(str(error).split())[:160] or type(error).__name__
            notes.add(f"{source}, document {number}: expected YAML, saw: {line}; left out")
