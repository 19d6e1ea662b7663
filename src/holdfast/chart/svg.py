"""A chart as a picture: one self-contained SVG, states inside states, with the path that a run took.

`layout` places the boxes, `route` runs the edges, this module draws. Colours and type are one style sheet inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from holdfast.chart import rules
from holdfast.chart.labels import Placed, place_labels
from holdfast.chart.layout import GRID, Box, arrange, meeting
from holdfast.chart.route import Point, Router
from holdfast.chart.rules import Taken
from holdfast.chart.shown import Edge, edges, shown
from holdfast.chart.tree import Chart, bits, remember

CORNER = 6
HEAD = 7
STYLE = """
.hf-chart { font-family: Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; font-size: 12px; }
.hf-chart text { fill: #1e293b; }
.hf-back { fill: #ffffff; }
.hf-group rect { fill: #0f172a; fill-opacity: .028; stroke: #cbd5e1; stroke-width: 1; }
.hf-group text { fill: #64748b; font-weight: 600; letter-spacing: .2px; }
.hf-region > rect { stroke-dasharray: 5 4; }
.hf-quiet > rect { fill: none; stroke: #e2e8f0; }
.hf-leaf rect { fill: #ffffff; stroke: #94a3b8; stroke-width: 1.1; }
.hf-leaf text, .hf-history text { text-anchor: middle; dominant-baseline: central; }
.hf-leaf .hf-inner { fill: none; stroke: #94a3b8; stroke-width: 1; }
.hf-history circle, .hf-dot circle { fill: #ffffff; stroke: #94a3b8; stroke-width: 1.1; }
.hf-history text { font-size: 10px; fill: #64748b; }
.hf-dot .hf-inner, .hf-start { fill: #94a3b8; stroke: none; }
.hf-edge path { fill: none; stroke: #94a3b8; stroke-width: 1.2; }
.hf-edge .hf-head { fill: #94a3b8; stroke: none; }
.hf-word { font-size: 10px; fill: #475569; text-anchor: middle; dominant-baseline: central; }
.hf-word.hf-halo { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; }
.hf-visited rect { fill: #eff6ff; stroke: #3b82f6; }
.hf-visited .hf-inner { stroke: #3b82f6; }
.hf-group.hf-visited > rect { fill: #2563eb; fill-opacity: .035; stroke: #93c5fd; }
.hf-visited.hf-group text { fill: #1d4ed8; }
.hf-visited circle { stroke: #3b82f6; }
.hf-visited .hf-inner { fill: none; }
.hf-dot.hf-visited .hf-inner { fill: #3b82f6; }
.hf-taken path { stroke: #2563eb; stroke-width: 2; }
.hf-taken .hf-head { fill: #2563eb; stroke: none; }
.hf-word.hf-taken { fill: #1d4ed8; font-weight: 600; }
.hf-leaf.hf-active rect { fill: #1d4ed8; stroke: #1e3a8a; }
.hf-leaf.hf-active text { fill: #ffffff; font-weight: 600; }
.hf-active .hf-inner { stroke: #ffffff; }
.hf-group.hf-active > rect { stroke: #2563eb; stroke-width: 1.5; }
.hf-leaf.hf-failed rect { fill: #fef2f2; stroke: #dc2626; stroke-width: 1.8; }
.hf-leaf.hf-failed text { fill: #b91c1c; font-weight: 600; }
.hf-group.hf-failed > rect { stroke: #dc2626; stroke-width: 1.8; }
"""


class _Drawing(NamedTuple):
    """What does not change from run to run: boxes, paths of edges, places of words."""

    boxes: dict[int, Box]
    paths: tuple[tuple[Edge, list[Point]], ...]
    words: tuple[Placed, ...]


def to_svg(
    chart: Chart,
    *,
    path_taken: Sequence[Taken] = (),
    active: Iterable[str] = (),
    failed: Iterable[str] = (),
) -> str:
    """The chart as SVG text, for a file or inside HTML. The same arguments always give the same text.

    `path_taken` are transitions that were taken (`Step.taken` of a run's steps): their edges, sources and targets are
    marked. `active` are paths of states, marked with all that is around them; `failed` marks just the states named.
    Names are without structural segments. Raises InvalidInput for paths that the chart does not have. The first
    drawing of a chart costs about 0.1 s for 50 states, the next ones about 1 ms.
    """
    drawing = _drawing(chart)
    marks = _marks(chart, path_taken, active, failed)
    taken = {(chart.node(each.source).number, chart.node(goal).number) for each in path_taken for goal in each.targets}
    canvas = drawing.boxes[0]
    groups = [number for number, box in drawing.boxes.items() if number and box.shape == "group"]
    others = [number for number, box in drawing.boxes.items() if number and box.shape != "group"]
    title = escape(f"{chart.name} version {chart.version}")
    size = f'width="{canvas.width}" height="{canvas.height}" viewBox="0 0 {canvas.width} {canvas.height}"'
    fit = 'style="max-width:100%;height:auto"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hf-chart" role="img" aria-label="{title}" {size} {fit}>',
        f"<title>{title}</title><style>{STYLE}</style>",
        f'<rect class="hf-back" width="{canvas.width}" height="{canvas.height}" rx="10"/>',
        *(_group(chart, number, drawing.boxes[number], marks) for number in groups),
        *(_start(chart, drawing.boxes, number) for number in (0, *groups)),
        *(_edge(edge, path, is_taken=False) for edge, path in drawing.paths if edge[:2] not in taken),
        *(_edge(edge, path, is_taken=True) for edge, path in drawing.paths if edge[:2] in taken),
        *(_solid(chart, number, drawing.boxes[number], marks) for number in others),
        *(_word(word, is_taken=word.edge in taken) for word in drawing.words),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _drawing(chart: Chart) -> _Drawing:
    """The geometry of a chart, remembered. Edges that stay deep inside go first, so that they run straight."""
    known: _Drawing | None = chart.memo.drawings.get("svg")
    if known is not None:
        return known
    drawn = edges(chart)
    boxes = arrange(chart, drawn)
    router = Router(boxes)
    for number in boxes:
        for start in _start_point(chart, boxes, number):
            router.avoid(start)
    around = {edge: meeting(chart, edge.source, edge.target)[0] for edge in drawn}
    order = sorted(drawn, key=lambda edge: (-len(chart.nodes[around[edge]].above), edge.source, edge.target))
    paths = tuple((edge, router.route(edge.source, edge.target, around[edge])) for edge in order)
    words = place_labels([((edge.source, edge.target), edge.label, path) for edge, path in paths], boxes)
    drawing = _Drawing(boxes, paths, words)
    remember(chart.memo.drawings, "svg", drawing)
    return drawing


def _marks(chart: Chart, path_taken: Sequence[Taken], active: Iterable[str], failed: Iterable[str]) -> dict[int, str]:
    """The style classes of each state."""
    visited, now, broken = 0, _around(chart, active), _exactly(chart, failed)
    for each in path_taken:
        source = chart.node(each.source)
        visited |= _around(chart, (each.source,))
        goals = tuple(chart.node(target).number for target in each.targets)
        for goal in goals:
            below = chart.nodes[meeting(chart, source.number, goal)[0]].below
            visited |= rules.entry_at(chart, goals).active & below
    classes: dict[int, str] = {}
    for states, name in ((visited | now, " hf-visited"), (now, " hf-active"), (broken, " hf-failed")):
        for number in bits(states):
            classes[number] = classes.get(number, "") + name
    return classes


def _exactly(chart: Chart, paths: Iterable[str]) -> int:
    return sum(1 << number for number in {chart.node(path).number for path in paths})


def _around(chart: Chart, paths: Iterable[str]) -> int:
    """States and all that is around them."""
    states = 0
    for path in paths:
        node = chart.node(path)
        for number in (node.number, *node.above[:-1]):
            states |= 1 << number
    return states


def _group(chart: Chart, number: int, box: Box, marks: dict[int, str]) -> str:
    node = chart.nodes[number]
    is_region = chart.nodes[node.parent].kind == "parallel"
    kind = "hf-group" + (" hf-region" if is_region else "") + ("" if box.label else " hf-quiet")
    name = f'<text x="{box.x + 12}" y="{box.y + 20}">{escape(box.label)}</text>' if box.label else ""
    rect = f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="10"/>'
    return f'<g class="{kind}{marks.get(number, "")}">{_tip(chart, number)}{rect}{name}</g>'


def _solid(chart: Chart, number: int, box: Box, marks: dict[int, str]) -> str:
    """A leaf, a dot or a history state."""
    node = chart.nodes[number]
    x, y = box.x + box.width / 2, box.y + box.height / 2
    if box.shape == "leaf":
        body = f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="7"/>'
        if node.kind == "final":
            body += (
                f'<rect class="hf-inner" x="{box.x + 3}" y="{box.y + 3}" width="{box.width - 6}" '
                f'height="{box.height - 6}" rx="5"/>'
            )
        body += f'<text x="{x:g}" y="{y:g}">{escape(box.label)}</text>'
    else:
        body = f'<circle cx="{x:g}" cy="{y:g}" r="9"/>'
        if box.shape == "history":
            body += f'<text x="{x:g}" y="{y:g}">{"H*" if node.kind == "deep_history" else "H"}</text>'
        elif node.kind == "final":
            body += f'<circle class="hf-inner" cx="{x:g}" cy="{y:g}" r="5"/>'
    return f'<g class="hf-{box.shape}{marks.get(number, "")}">{_tip(chart, number)}{body}</g>'


def _tip(chart: Chart, number: int) -> str:
    return f"<title>{escape(shown(chart.nodes[number].path))}</title>"


def _start_point(chart: Chart, boxes: dict[int, Box], number: int) -> list[Point]:
    """Where the mark of a container's first state touches that state."""
    node = chart.nodes[number]
    if node.kind != "compound" or len(node.initial) != 1 or chart.nodes[node.initial[0]].parent != number:
        return []
    box = boxes[node.initial[0]]
    return [(box.x, box.y + (20 if box.shape == "group" else box.height // 2 // GRID * GRID))]


def _start(chart: Chart, boxes: dict[int, Box], number: int) -> str:
    return "".join(
        f'<circle class="hf-start" cx="{x - 13}" cy="{y}" r="3.5"/>'
        f'<g class="hf-edge"><path d="M{x - 13} {y}H{x - 5}"/>{_head((x - 10, y), (x, y))}</g>'
        for x, y in _start_point(chart, boxes, number)
    )


def _edge(edge: Edge, path: list[Point], *, is_taken: bool) -> str:
    kind = "hf-edge hf-taken" if is_taken else "hf-edge"
    return f'<g class="{kind}"><path d="{_line(path)}"/>{_head(path[-2], path[-1])}</g>'


def _line(corners: list[Point]) -> str:
    """A path with round corners that ends where the arrow's head begins."""
    commands = [f"M{corners[0][0]} {corners[0][1]}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        near, far = _toward(corner, before, CORNER), _toward(corner, after, CORNER)
        commands.append(f"L{near[0]:g} {near[1]:g}Q{corner[0]} {corner[1]} {far[0]:g} {far[1]:g}")
    end = _toward(corners[-1], corners[-2], HEAD - 1)
    return "".join([*commands, f"L{end[0]:g} {end[1]:g}"])


def _head(before: Point, tip: Point) -> str:
    """A filled triangle with its tip at the end of an edge."""
    x, y = _toward(tip, before, HEAD)
    across = (HEAD / 2, 0) if x == tip[0] else (0, HEAD / 2)
    return (
        f'<path class="hf-head" d="M{tip[0]} {tip[1]}L{x + across[0]:g} {y + across[1]:g}'
        f'L{x - across[0]:g} {y - across[1]:g}Z"/>'
    )


def _toward(start: Point, goal: Point, distance: float) -> tuple[float, float]:
    """The point so far from `start` on the straight way to `goal`, half the way at most."""
    length = math.dist(start, goal) or 1.0
    share = min(distance / length, 0.5)
    return start[0] + (goal[0] - start[0]) * share, start[1] + (goal[1] - start[1]) * share


def _word(word: Placed, *, is_taken: bool) -> str:
    """Words twice: a white halo that breaks the line, and the letters on it."""
    at = f'x="{word.x:g}" y="{word.y:g}">{escape(word.text)}</text>'
    taken = " hf-taken" if is_taken else ""
    return f'<text class="hf-word hf-halo" {at}<text class="hf-word{taken}" {at}'
