"""Objects of a YAML text as nodes that know where in the text they stand, and the way from a path to a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from holdfast import InvalidInput
from holdfast_sre.evidence.manifest_files import BROKEN_YAML
from holdfast_sre.evidence.snapshot import Ref

# Tables whose keys are free, so that a dot in a path below them belongs to the key.
_FREE_KEYS = frozenset(
    {"annotations", "labels", "matchLabels", "nodeSelector", "data", "stringData", "binaryData"}
    | {"selector", "limits", "requests", "hard", "capacity"}
)
_FIXED_BELOW_SELECTOR = ("matchLabels", "matchExpressions")


@dataclass(frozen=True)
class ObjectNode:
    """One Kubernetes object in a text. `document` is the whole document, the object itself unless that is a list."""

    ref: Ref
    namespace: str | None
    node: MappingNode
    document: MappingNode


@dataclass(frozen=True)
class Found:
    """Where a path leads: `node` where it is there, else the container it ends in and the steps that are missing.

    `hollow` is the null that stands where the first missing step would be.
    """

    node: Node | None
    container: Node
    missing: tuple[str, ...] = ()
    hollow: Node | None = None


def object_nodes(text: str, *, source: str) -> list[ObjectNode]:
    """The objects of a text in its order, lists taken apart. Raises InvalidInput, with the line, for no YAML."""
    found = []
    for document in _documents(text, source):
        for node in _objects(document):
            metadata = value_of(node, "metadata")
            kind, name = _plain(value_of(node, "kind")), _plain(value_of(metadata, "name"))
            if kind and name and isinstance(document, MappingNode):
                found.append(ObjectNode(Ref(kind, name), _plain(value_of(metadata, "namespace")), node, document))
    return found


def document_nodes(text: str, *, source: str) -> list[Node]:
    """The documents of a text as nodes, whatever they hold. Raises InvalidInput, with the line, for no YAML."""
    return _documents(text, source)


def _documents(text: str, source: str) -> list[Node]:
    yaml = YAML(typ="rt", pure=True)
    yaml.composer.warn_double_anchors = False  # the later one counts, as YAML has it; nobody is there to be warned
    try:
        return list(yaml.compose_all(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise InvalidInput(f"{source}, line {line}: expected YAML, found {error.problem}", source=source) from error
    except BROKEN_YAML as error:
        raise InvalidInput(f"{source}: expected YAML, found {str(error)[:200]}", source=source) from error


def _objects(node: Node) -> Iterator[MappingNode]:
    if not isinstance(node, MappingNode):
        return
    items = value_of(node, "items")
    if isinstance(items, SequenceNode) and (_plain(value_of(node, "kind")) or "").endswith("List"):
        for item in items.value:
            yield from _objects(item)
    else:
        yield node


def value_of(node: Node | None, key: str) -> Node | None:
    """The value under a key of a mapping node, None where there is none."""
    if not isinstance(node, MappingNode):
        return None
    entries: list[tuple[Node, Node]] = node.value
    return next((value for at, value in entries if at.value == key), None)


def _plain(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, ScalarNode) and not is_null(node) else None


def is_null(node: Node) -> bool:
    """Whether a node is YAML's null, written or left out."""
    return isinstance(node, ScalarNode) and str(node.tag) == "tag:yaml.org,2002:null"


def follow(node: Node, path: str) -> Found:
    """Go from an object's node along a path such as `spec.containers[server].image`.

    A key may hold dots: of several keys that the path begins with, the longest is meant. Null counts as absent.
    """
    container, rest, last = node, path, ""
    while rest:
        step, child, after = _next(container, rest)
        if child is None:
            return Found(None, container, _steps(rest, last))
        if is_null(child):
            return Found(None, container, (step, *_steps(after, step)), hollow=child)
        if not after:
            return Found(child, container)
        container, rest, last = child, after, step
    return Found(node, node)


def _next(node: Node, path: str) -> tuple[str, Node | None, str]:
    if path.startswith("[") and isinstance(node, SequenceNode):
        item, _, after = path[1:].partition("]")
        return f"[{item}]", _item(node, item), after.removeprefix(".")
    if isinstance(node, MappingNode):
        keys = [(str(key.value), value) for key, value in node.value if isinstance(key, ScalarNode)]
        fitting = [(key, value) for key, value in keys if path == key or _goes_on(value, path, key)]
        if fitting:
            key, value = max(fitting, key=lambda pair: len(pair[0]))
            return key, value, path[len(key) :].removeprefix(".")
    return "", None, path


def _goes_on(value: Node, path: str, key: str) -> bool:
    """Whether the path goes on below this key; a scalar under `app` says nothing of `app.kubernetes.io/name`."""
    is_open = not isinstance(value, ScalarNode) or is_null(value)
    return is_open and path.startswith((f"{key}.", f"{key}["))


def _item(node: SequenceNode, wanted: str) -> Node | None:
    items: list[Node] = node.value
    for index, item in enumerate(items):
        name = _plain(value_of(item, "name"))
        if wanted == (str(index) if name is None else name):
            return item
    return None


def _steps(path: str, last: str) -> tuple[str, ...]:
    """The steps of a path whose keys are not in the text; `last` is the step before them."""
    steps: list[str] = []
    while path:
        if path.startswith("["):
            end = path.index("]") + 1
        elif last in _FREE_KEYS and not (last == "selector" and path.startswith(_FIXED_BELOW_SELECTOR)):
            end = len(path)
        else:
            end = min((at for at in (path.find("."), path.find("[")) if at > 0), default=len(path))
        last = path[:end]
        steps.append(last)
        path = path[end:].removeprefix(".")
    return tuple(steps)


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Every scalar value under a node, nulls included, in the order of the text."""
    if isinstance(node, MappingNode):
        for _, value in node.value:
            yield from scalars(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from scalars(item)
    elif isinstance(node, ScalarNode):
        yield node


def is_flow(node: Node) -> bool:
    """Whether a node is a collection in brackets or braces."""
    return isinstance(node, MappingNode | SequenceNode) and bool(node.flow_style)


def start(node: Node) -> int:
    """The index of a node's first sign."""
    return int(node.start_mark.index)


def end(node: Node) -> int:
    """The index just past a node's last sign. A block's own end mark lies behind the comments that follow it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return entry_end(*last) if isinstance(last, tuple) else end(last)
    return int(node.end_mark.index)


def entry_end(key: Node, value: Node) -> int:
    """The index just past an entry of a mapping; just past the colon where it has no value."""
    is_empty = value.start_mark.index == value.end_mark.index
    return int(key.end_mark.index) + 1 if is_empty else end(value)
