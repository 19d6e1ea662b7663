"""The values of a release of a chart, and the places in them where a change might be made, the likelier ones first.

What only the release has comes before what it shares; a key that its values do not mention may be added to them.
Whether it is the place is found by building.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Literal, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from holdfast import HoldfastError, InvalidInput
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.manifest_files import FILE_BYTES_MAX
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.built.value_parts import BOOLEANS, as_it_is, in_quotes, pairs_of, words_of
from holdfast_sre.repair.tree.manifests import Files
from holdfast_sre.repair.tree.roots import DEPTH_MAX, Root, dependencies_of
from holdfast_sre.repair.tree.yaml_edit import edited, new_document
from holdfast_sre.repair.tree.yaml_nodes import document_nodes, end, follow, is_null, object_nodes, start, value_of
from holdfast_sre.repair.tree.yaml_scalars import reblocked, rendered

DOCUMENTS_MAX = 50
"""How many texts of values a release may have."""
NODES_MAX = 20_000
"""How many nodes of a text of values are looked at: aliases may unfold without end."""
NODES_DEEP_MAX = 50
UNPACKED_BYTES_MAX = 32 << 20
PACKED = ".tgz"


class _Values(NamedTuple):
    """A text of values: a file, or a part of an Application (`at` and the Application's `name`).

    `prefix` is the path by which the release knows them, not empty for a chart inside the chart. Those of kind `copy`
    are published by others: the next update would write over them.
    """

    path: str
    kind: Literal["own", "shared", "copy"]
    prefix: str = ""
    name: str = ""
    at: str = ""


class _Read(NamedTuple):
    """The text to edit, the node that paths begin at, and where under it the values begin."""

    text: str
    node: MappingNode | None
    base: str = ""

    @property
    def values(self) -> Node | None:
        """The node of the values."""
        return self.node if self.node is None or not self.base else follow(self.node, self.base).node


class _Candidate(NamedTuple):
    """A path of values that may bring the change, and the value that it gets; None where it goes."""

    path: str
    after: str | None


def in_values(
    files: dict[str, str], change: Change, home: Root, *, is_alone: bool, is_known: bool
) -> Iterator[dict[str, str]]:
    known = [each for each in (*_own(files, home), *_defaults(files, home)) if each.path in files][:DOCUMENTS_MAX]
    texts = list({(each.path, each.at): each for each in reversed(known)}.values())[::-1]
    read = {each: found for each in texts if (found := _read(files, each)) is not None}
    candidates = _candidates(read, change)
    wanted = words_of(f"{change.object} {change.path}")
    ordered: list[tuple[int, int, int, int, _Candidate, _Values]] = []
    for number, (candidate, homes) in enumerate(candidates.items()):
        likeness = len(wanted & words_of(candidate.path))
        for values in read:
            stage = _stage(values, home, is_there=values in homes, is_alone=is_alone, is_known=is_known)
            if stage is not None:
                ordered.append((-likeness, stage, number, len(ordered), candidate, values))
    for *_, candidate, values in sorted(ordered, key=lambda each: each[:4]):
        for text in _edited(files, read[values], values, candidate, is_there=values in candidates[candidate]):
            yield {**files, values.path: text}


def _stage(values: _Values, home: Root, *, is_there: bool, is_alone: bool, is_known: bool) -> int | None:
    """When to try it: what stands in the release's own values, then defaults that are its own as well, then a new key
    in its own, then what it shares, then a new key there."""
    if values.kind == "own":
        return 0 if is_there else 2
    if values.kind == "copy" or not is_known:
        return None
    if is_there:
        return 1 if is_alone else 3
    return 4 if not values.prefix else None


def _own(files: Files, home: Root) -> Iterator[_Values]:
    """The values that the release gives, those that win first, but for an Application's own, which may only be for
    what cannot stand in a file."""
    said = home.said
    if said is not None:
        helm = f"{said.source}.helm"
        yield _Values(said.file, "own", name=said.name, at=f"{helm}.parameters")
    for path in reversed(home.values):
        yield _Values(path, "own")
    if said is not None:
        yield _Values(said.file, "own", name=said.name, at=f"{helm}.valuesObject")
        yield _Values(said.file, "own", name=said.name, at=f"{helm}.values")


def _defaults(files: Files, home: Root) -> Iterator[_Values]:
    waiting: list[tuple[str, str, bool]] = [(home.folder, "", False)]
    while waiting:
        folder, prefix, is_copy = waiting.pop(0)
        if folder.endswith(PACKED):
            yield _Values(folder, "copy", prefix)
            continue
        yield _Values(f"{folder}/values.yaml".removeprefix("/"), "copy" if is_copy else "shared", prefix)
        if prefix.count(".") < DEPTH_MAX:
            waiting += [
                (each.folder, f"{prefix}{each.key}.", is_copy or each.is_copy)
                for each in dependencies_of(files, folder)
            ]


def _read(files: Files, values: _Values) -> _Read | None:
    """None where there is nothing to edit: no YAML, or another kind of values than its Application has."""
    text = files[values.path]
    if values.path.endswith(PACKED):
        text = _packed_values(text)
    try:
        if not values.name:
            node = next(iter(document_nodes(text, source=values.path)), None)
            return _Read(text, node if isinstance(node, MappingNode) else None)
        objects = object_nodes(text, source=values.path)
    except InvalidInput:
        return None
    found = next((each.node for each in objects if each.ref == Ref("Application", values.name)), None)
    if found is None:
        return None
    block = follow(found, values.at).node
    if not values.at.endswith(".values"):
        return _Read(text, found, values.at)
    if not isinstance(block, ScalarNode) or text[start(block) : start(block) + 1] != "|":
        return None
    try:
        inner = next(iter(document_nodes(str(block.value), source=values.path)), None)
    except InvalidInput:
        return None
    return _Read(str(block.value), inner if isinstance(inner, MappingNode) else None)


def _packed_values(text: str) -> str:
    """The defaults in a packed chart, "" where they cannot be read."""
    try:
        packed = io.BytesIO(text.encode(errors="surrogateescape"))
        data = gzip.GzipFile(fileobj=packed).read(UNPACKED_BYTES_MAX)  # it may unfold without end
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            found = next(each for each in archive if each.name.count("/") == 1 and each.name.endswith("/values.yaml"))
            file = archive.extractfile(found) if found.size <= FILE_BYTES_MAX else None
            return file.read().decode() if file is not None else ""
    except (tarfile.TarError, OSError, EOFError, StopIteration, UnicodeDecodeError, zlib.error):
        return ""


def _candidates(read: Mapping[_Values, _Read], change: Change) -> dict[_Candidate, set[_Values]]:
    """The paths that may bring the change, and in which texts of values they are."""
    found: dict[_Candidate, set[_Values]] = {}
    pairs = pairs_of(change)
    tails = _tails(change.path) if change.before is None else ()
    for values, each in read.items():
        if values.at.endswith(".parameters"):
            nodes = _parameters(each.values)
        else:
            nodes = list(islice(_walk(each.values, ""), NODES_MAX)) if each.values is not None else []
        for path, node in nodes:
            text = str(node.value) if isinstance(node, ScalarNode) and not is_null(node) else None
            for old, new in pairs:
                if text is not None and BOOLEANS.get(text, text) == old:
                    found.setdefault(_Candidate(values.prefix + path, new), set()).add(values)
            for key, rest in tails:
                if text is None and key == re.split(r"[.\[]", path)[-1] and (joined := _joined(path, rest, node)):
                    found.setdefault(_Candidate(values.prefix + joined, change.after), set()).add(values)
    return found


def _joined(path: str, rest: str, node: Node) -> str | None:
    """Where more of a table or list would stand in values; None where a list of objects is no list there, but for
    variables, which charts like to take as a table of names."""
    if not rest.startswith("["):
        return None if isinstance(node, SequenceNode) else f"{path}.{rest}"
    if isinstance(node, SequenceNode):
        return path + rest
    variable = re.fullmatch(r"\[([^\]]+)\]\.value", rest)
    return f"{path}.{variable[1]}" if variable else None


def _tails(path: str) -> list[tuple[str, str]]:
    """The ends of a path as the name of a table and what comes below it: `limits` and `memory`."""
    found = []
    for joint in re.finditer(r"[.\[]", path):
        key = re.split(r"[.\[\]]", path[: joint.start()])[-1]
        rest = path[joint.start() :] if joint[0] == "[" else path[joint.end() :]
        if key:
            found.append((key, rest))
    return found


def _walk(node: Node, path: str, depth: int = 0) -> Iterator[tuple[str, Node]]:
    """Every node with its path; names with brackets are left out, as a path could not be read again."""
    yield path, node
    if depth >= NODES_DEEP_MAX:
        return
    if isinstance(node, MappingNode):
        steps = [(str(key.value), value) for key, value in node.value]
    elif isinstance(node, SequenceNode):
        names = [value_of(item, "name") for item in node.value]
        keys = [str(name.value) if isinstance(name, ScalarNode) else str(at) for at, name in enumerate(names)]
        steps = list(zip(keys, node.value, strict=True))
    else:
        return
    for key, below in steps:
        if "[" not in key and "]" not in key:
            step = f"[{key}]" if isinstance(node, SequenceNode) else f".{key}" if path else key
            yield from _walk(below, path + step, depth + 1)


def _parameters(node: Node | None) -> list[tuple[str, Node]]:
    items = node.value if isinstance(node, SequenceNode) else []
    pairs = [(value_of(item, "name"), value_of(item, "value")) for item in items]
    return [(str(name.value), value) for name, value in pairs if name is not None and value is not None]


def _edited(files: Files, read: _Read, values: _Values, candidate: _Candidate, *, is_there: bool) -> Iterator[str]:
    """The file's text with a value set, as YAML writes it by itself and as text."""
    if not candidate.path.startswith(values.prefix):
        return
    path = candidate.path[len(values.prefix) :]
    if values.at.endswith(".parameters"):
        if is_there and candidate.after is not None:
            yield from _with_parameter(read, path, candidate.after)
        return
    at = f"{read.base}.{path}" if read.base else path
    if not is_there and _is_there(read, at):
        return
    after = "null" if not is_there and candidate.after is None else candidate.after  # null takes a default away
    written: dict[str, None] = {}
    for write in (rendered, in_quotes) if after == candidate.after else (as_it_is,):
        change = Change(values.path, at, None, after)
        try:
            if read.node is None:
                above = read.text.rstrip("\n") + "\n" if read.text.strip() else ""
                new = above + new_document([change], write=write)
            else:
                new = edited(read.text, read.node, [change], write=write) or "{}\n"
        except HoldfastError:
            continue
        whole = new if not values.at.endswith(".values") else _with_block(files, values, new)
        if whole is not None:
            written[whole] = None
    yield from written


def _is_there(read: _Read, path: str) -> bool:
    return read.node is not None and follow(read.node, path).node is not None


def _with_parameter(read: _Read, path: str, after: str) -> Iterator[str]:
    for name, node in _parameters(read.values):
        if name == path:
            source = read.text[start(node) : end(node)]
            yield read.text[: start(node)] + rendered("value", after, old=source) + read.text[end(node) :]


def _with_block(files: Files, values: _Values, new: str) -> str | None:
    """The Application's text with other lines in its block of values."""
    text = files[values.path]
    objects = object_nodes(text, source=values.path)
    found = next(each.node for each in objects if each.ref == Ref("Application", values.name))
    block = follow(found, values.at).node
    assert block is not None, "read before"
    source = text[start(block) : end(block)]
    changed = reblocked(source, str(block.value), new)
    return None if changed is None else text[: start(block)] + changed + text[end(block) :]
