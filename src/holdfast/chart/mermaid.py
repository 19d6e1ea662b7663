"""A chart as Mermaid text (stateDiagram-v2), for pages that render it: READMEs, issues, wikis.

Mermaid has no history states, so they become small states of their own. Edges are written after all states, since an
edge inside a composite state would drag its ends into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.chart.shown import edges, label
from holdfast.chart.tree import Chart, Node

STRUCTURAL = "·"
"""The text of a state that people need not see. Mermaid would show the number of a state with empty text."""

_INDENT = "    "


def to_mermaid(chart: Chart, *, highlight: Iterable[str] = ()) -> str:
    """The chart as a Mermaid state diagram, states nested, regions divided; the states in `highlight` filled.

    States are numbered `s1`, `s2`, ... in document order and carry their names as text, so that any name will do.
    Raises InvalidInput for a path in `highlight` that the chart does not have.
    """
    lines = ["stateDiagram-v2"]
    lines += _inside(chart, chart.nodes[0], _INDENT)
    for edge in edges(chart):
        words = f": {_text(edge.label)}" if edge.label else ""
        lines.append(f"{_INDENT}s{edge.source} --> s{edge.target}{words}")
    marked = [f"s{chart.node(path).number}" for path in highlight]
    if marked:
        lines.append(f"{_INDENT}classDef here fill:#1d4ed8,stroke:#1e3a8a,color:#ffffff")
        lines.append(f"{_INDENT}class {','.join(marked)} here")
    return "\n".join(lines) + "\n"


def _inside(chart: Chart, node: Node, indent: str) -> Iterator[str]:
    """The lines of what a state holds: its children, the first one marked, parallel regions divided by `--`."""
    if node.kind == "compound":
        for goal in node.initial:
            if chart.nodes[goal].parent == node.number:
                yield f"{indent}[*] --> s{goal}"
    for place, number in enumerate((*node.children, *node.histories)):
        if node.kind == "parallel" and 0 < place < len(node.children):
            yield f"{indent}--"
        yield from _state(chart, chart.nodes[number], indent)


def _state(chart: Chart, node: Node, indent: str) -> Iterator[str]:
    name = f"s{node.number}"
    if node.is_history:
        yield f'{indent}state "{"H*" if node.kind == "deep_history" else "H"}" as {name}'
        return
    yield f'{indent}state "{_text(label(node)) or STRUCTURAL}" as {name}'
    if node.children:
        yield f"{indent}state {name} {{"
        yield from _inside(chart, node, indent + _INDENT)
        yield f"{indent}}}"
    elif node.kind == "final":
        yield f"{indent}{name} --> [*]"


def _text(words: str) -> str:
    """Words without the signs that end a Mermaid string or statement."""
    return words.replace('"', "'").replace("#", "#35;").replace(";", "#59;").replace(":", "#58;")
