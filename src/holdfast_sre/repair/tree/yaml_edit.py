"""Leaf changes as cuts and insertions in the text of a YAML file: every other byte stays as it was.

Dumping a parsed document again moves comments, quotes, indentation and blank lines that nobody asked about. Here the
parser only says where things stand. What is cut or inserted is whole lines in blocks, and whole collections in braces.
The caller compares the result's leaves with what it wanted, so a text too odd for this fails and is not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from holdfast import Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.repair.tree.yaml_nodes import end, entry_end, follow, is_flow, is_null, scalars, start
from holdfast_sre.repair.tree.yaml_scalars import quoted, reblocked, rendered

INDENT = 2

Branch = dict[str, "Branch | str"]
"""New content: key or `[item]` to a scalar as YAML writes it, or to more of the same."""


class Write(Protocol):
    """How a scalar is written, as `rendered` does."""

    def __call__(self, path: str, text: str, *, old: str | None = None) -> str: ...


@dataclass
class _Plan:
    """What shall become of the nodes, by identity."""

    text: str
    offset: int
    replaced: dict[int, str] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    added: dict[int, Branch] = field(default_factory=dict)
    splices: list[tuple[int, int, str]] = field(default_factory=list)
    write: Write = rendered


def edited(text: str, node: MappingNode, changes: Iterable[Change], *, write: Write = rendered) -> str | None:
    """The text with the changes made to the object at `node`; None where nothing of the object is left.

    Raises Rejected where a change goes through an alias or to a place that cannot hold it.
    """
    plan = _Plan(text, _offset(node), write=write)
    for change in changes:
        _plan_change(plan, node, change)
    if _is_gone(plan, node):
        return None
    _visit(plan, node)
    # From the end to the start, so that positions hold. At one position the outer insertion was planned first: the
    # inner one, made after it, comes to stand before it.
    for first, last, new in sorted(plan.splices, key=lambda splice: splice[:2], reverse=True):
        text = text[:first] + new + text[last:]
    return text


def new_document(changes: Iterable[Change], *, write: Write = rendered) -> str:
    """The text of an object that consists of the additions."""
    branch: Branch = {}
    for change in changes:
        found = follow(_EMPTY, change.path)
        _grow(branch, found.missing, write(change.path, change.after or ""))
    return "\n".join(_block(_in_order(branch), 0, 0)) + "\n"


_EMPTY = MappingNode("tag:yaml.org,2002:map", [])
_FIRST_KEYS = ("apiVersion", "kind", "metadata")


def _in_order(branch: Branch) -> Branch:
    known = {key: branch[key] for key in _FIRST_KEYS if key in branch}
    return known | branch


def _plan_change(plan: _Plan, node: MappingNode, change: Change) -> None:
    found = follow(node, change.path)
    if found.node is None:
        if change.after is None or not isinstance(found.container, MappingNode | SequenceNode):
            raise _cannot(change, "there is no place for it")
        if found.hollow is not None:
            plan.removed.add(id(found.hollow))
        branch = plan.added.setdefault(id(found.container), {})
        _grow(branch, found.missing, plan.write(change.path, change.after))
        return
    if not isinstance(found.node, ScalarNode):
        raise _cannot(change, "it is not a single value")
    source = plan.text[start(found.node) : end(found.node)]
    if source.startswith(("&", "*", "!")):
        raise _cannot(change, "the value has an anchor, an alias or a tag")
    if change.after is None:
        plan.removed.add(id(found.node))
    elif source.startswith("|") and (block := reblocked(source, str(found.node.value), change.after)) is not None:
        plan.replaced[id(found.node)] = block
    else:
        line_end = "\n" if source.endswith("\n") else ""
        plan.replaced[id(found.node)] = plan.write(change.path, change.after, old=source) + line_end


def _cannot(change: Change, why: str) -> Rejected:
    return Rejected(f"{change.object} {change.path}: cannot be changed mechanically, {why}", path=change.path)


def _grow(branch: Branch, steps: tuple[str, ...], value: str) -> None:
    for step in steps[:-1]:
        below = branch.setdefault(step, {})
        assert isinstance(below, dict), "a path does not go on below a scalar"
        name = step[1:-1]
        branch = below
        if step.startswith("[") and not name.isdigit():
            branch.setdefault("name", quoted(name))
    branch[steps[-1]] = value


def _is_gone(plan: _Plan, node: Node) -> bool:
    """Whether a node goes whole: all its values are removed, at least one is, and nothing new comes in."""
    below = list(scalars(node))
    return (
        any(id(scalar) in plan.removed for scalar in below)
        and all(id(scalar) in plan.removed or is_null(scalar) for scalar in below)
        and not any(id(container) in plan.added for container in _containers(node))
    )


def _containers(node: Node) -> Iterable[Node]:
    if isinstance(node, MappingNode | SequenceNode):
        yield node
        for child in _children(node):
            yield from _containers(child)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _visit(plan: _Plan, node: Node) -> None:
    if isinstance(node, ScalarNode):
        if id(node) in plan.replaced:
            plan.splices.append((start(node), end(node), plan.replaced[id(node)]))
    elif is_flow(node):
        if _flow(plan, node, as_it_was=True) != (new := _flow(plan, node)):
            plan.splices.append((start(node), end(node), new))
    else:
        keep = [child for child in _children(node) if not _is_gone(plan, child)]
        if isinstance(node, MappingNode):
            _cut_entries(plan, node)
        elif isinstance(node, SequenceNode):
            _cut_items(plan, node)
        if id(node) in plan.added and (keep or not _is_inline(plan.text, node)):
            _insert(plan, node)
        for child in keep:
            _visit(plan, child)


def _cut_entries(plan: _Plan, node: MappingNode) -> None:
    entries = node.value
    leading = 0
    if _is_inline(plan.text, node):  # the first key stands behind a dash, which stays for the first that is kept
        while leading < len(entries) and _is_gone(plan, entries[leading][1]):
            leading += 1
        if leading == len(entries):
            new = "\n".join(_block(plan.added[id(node)], _column(node), plan.offset)).lstrip()
            plan.splices.append((start(entries[0][0]), entry_end(*entries[-1]), new))
        elif leading:
            plan.splices.append((start(entries[0][0]), start(entries[leading][0]), ""))
    for key, value in entries[leading:]:
        if _is_gone(plan, value):
            plan.splices.append((_line_start(plan.text, start(key)), _line_end(plan.text, entry_end(key, value)), ""))


def _cut_items(plan: _Plan, node: SequenceNode) -> None:
    for item in node.value:
        if _is_gone(plan, item):
            dash = plan.text.rfind("-", 0, start(item))
            plan.splices.append((_line_start(plan.text, dash), _line_end(plan.text, end(item)), ""))


def _insert(plan: _Plan, node: Node) -> None:
    branch = plan.added[id(node)]
    write = _items if isinstance(node, SequenceNode) else _block
    rows = write(branch, _column(node), plan.offset)
    at = _line_end(plan.text, end(node))
    breaks = "\r\n" if "\r\n" in plan.text else "\n"
    if at == 0 or plan.text[at - 1] == "\n":
        plan.splices.append((at, at, breaks.join(rows) + breaks))
    else:
        plan.splices.append((at, at, breaks + breaks.join(rows)))


def _block(branch: Branch, column: int, offset: int) -> list[str]:
    rows = []
    for key, value in branch.items():
        head = f"{' ' * column}{quoted(key)}:"
        if isinstance(value, str):
            rows.append(f"{head} {value}")
        elif _is_list(value):
            rows += [head, *_items(value, column + offset, offset)]
        else:
            rows += [head, *_block(value, column + INDENT, offset)]
    return rows


def _items(branch: Branch, column: int, offset: int) -> list[str]:
    rows = []
    for value in branch.values():
        if isinstance(value, str):
            rows.append(f"{' ' * column}- {value}")
        else:
            item = _block(value, column + INDENT, offset)
            rows += [f"{' ' * column}- {item[0].lstrip()}", *item[1:]]
    return rows


def _is_list(branch: Mapping[str, object]) -> bool:
    return all(step.startswith("[") for step in branch)


def _flow(plan: _Plan, node: Node, *, as_it_was: bool = False) -> str:
    """A collection in braces or brackets on one line, with or without the plan's changes."""
    if isinstance(node, ScalarNode):
        source = plan.text[start(node) : end(node)]
        return source if as_it_was else plan.replaced.get(id(node), source)
    new: Branch = {} if as_it_was else plan.added.get(id(node), {})
    if isinstance(node, MappingNode):
        kept = [(key, value) for key, value in node.value if as_it_was or not _is_gone(plan, value)]
        parts = [f"{key.value}: {_flow(plan, value, as_it_was=as_it_was)}" for key, value in kept]
        return "{" + ", ".join(parts + _flow_entries(new)) + "}"
    items = [item for item in _children(node) if as_it_was or not _is_gone(plan, item)]
    parts = [_flow(plan, item, as_it_was=as_it_was) for item in items]
    return "[" + ", ".join(parts + [_flow_value(value) for value in new.values()]) + "]"


def _flow_entries(branch: Branch) -> list[str]:
    return [f"{quoted(key)}: {_flow_value(value)}" for key, value in branch.items()]


def _flow_value(value: Branch | str) -> str:
    if isinstance(value, str):
        return value
    if _is_list(value):
        return "[" + ", ".join(_flow_value(item) for item in value.values()) + "]"
    return "{" + ", ".join(_flow_entries(value)) + "}"


def _is_inline(text: str, node: Node) -> bool:
    return bool(text[_line_start(text, start(node)) : start(node)].strip())


def _column(node: Node) -> int:
    return int(node.start_mark.column)


def _offset(node: Node) -> int:
    """How far lists are indented from their key: 0 or 2, as the first one under `node` is."""
    for container in _containers(node):
        for key, value in container.value if isinstance(container, MappingNode) and not is_flow(container) else ():
            if isinstance(value, SequenceNode) and not is_flow(value):
                return _column(value) - _column(key)
    return 0


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    """The start of the next line; `at` itself where a block scalar already ends there."""
    if at > 0 and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1
