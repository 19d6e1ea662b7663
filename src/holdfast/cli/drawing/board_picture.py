"""The graph of dependencies as a picture: one self-contained SVG, with who is ill, and whom that blocks. Pure.

Each dependency is a box above what it needs. The way from who is blocked down to the root has the root's colour, so
that the eye ends where the fault is. An edge over several rows has a lane of its own in those that it passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from holdfast.cli.documents.breakers import DependencyLine
from holdfast.resilience.rules import in_words

BOX_W, BOX_H = 208, 62
GAP_X, GAP_Y = 36, 64
MARGIN = 28
LEGEND_H = 40
LEGEND_STEP = 100
LANE, LANE_W = "\0", 16
"""How the name of an edge's way through a row begins, and how wide it is."""
LINE_CHARS_MAX = 32
"""How much of a text has room in a box."""
SWEEPS = 4
"""How often the rows are ordered anew, each by its neighbours, so that fewer edges cross."""
COLOURS: Mapping[str, tuple[str, str, str]] = {
    "well": ("#ffffff", "#94a3b8", "#1e293b"),
    "degraded": ("#fffbeb", "#d97706", "#92400e"),
    "blocked": ("#fff7f7", "#dc2626", "#991b1b"),
    "ramping": ("#ecfdf5", "#059669", "#065f46"),
    "probing": ("#eff6ff", "#2563eb", "#1e40af"),
    "ill": ("#dc2626", "#7f1d1d", "#ffffff"),
}
"""Fill, edge and text of each health."""
QUIET, BLAME = "#94a3b8", "#dc2626"
FONT = "font-family=\"Inter, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif\""


class _Spot(NamedTuple):
    """A box, or the lane of an edge, in one row. `x`: its middle, `y`: its top."""

    x: float
    y: float


class _Edge(NamedTuple):
    """Who needs, or only wants, what; by way of which lanes."""

    who: str
    other: str
    is_soft: bool
    lanes: tuple[str, ...] = ()


def svg_of(lines: Sequence[DependencyLine]) -> str:
    """The picture, as SVG text. `lines` are in topological order, as `dependency_lines` gives them."""
    levels = _levels(lines)
    edges = _edges(lines, levels)
    rows = _rows(lines, levels, edges)
    width = max(2 * MARGIN + max((_width(row) for row in rows), default=0), 2 * MARGIN + LEGEND_STEP * len(COLOURS))
    height = 2 * MARGIN + len(rows) * BOX_H + max(0, len(rows) - 1) * GAP_Y + LEGEND_H
    spots = _spots(rows, width)
    blamed = _blamed(lines)
    size = f'width="{width}" height="{height}"'
    label = 'role="img" aria-label="Dependencies and their breakers"'
    size = f'width="{width}" height="{height}"'
    label = 'role="img" aria-label="Dependencies and their breakers"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" {label} {FONT} font-size="12">',
        f'<rect {size} fill="#ffffff"/>',
    ]
    edges.sort(key=lambda edge: edge[:2] in blamed)  # those to blame are drawn over the others
    parts += [_drawn(edge, spots, is_blamed=edge[:2] in blamed) for edge in edges]
    parts += [_box(spots[line.name], line) for line in lines]
    parts.append(_legend(height - MARGIN / 2))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _levels(lines: Sequence[DependencyLine]) -> dict[str, int]:
    """In which row each stands, 0 at the bottom: above what it needs, and above what it wants where that is free."""
    level: dict[str, int] = {}
    for line in lines:  # each behind what it needs
        level[line.name] = 1 + max((level[need] for need in line.needs if need in level), default=-1)
    wanted = {want for line in lines for want in line.wants}
    for line in lines:
        if level[line.name] == 0 and line.wants and line.name not in wanted:
            level[line.name] = 1
    return level


def _edges(lines: Sequence[DependencyLine], levels: Mapping[str, int]) -> list[_Edge]:
    found = []
    for line in lines:
        others = [*((need, False) for need in line.needs), *((want, True) for want in line.wants)]
        for other, is_soft in others:
            if other in levels:
                passed = range(levels[line.name] - 1, levels[other], -1)
                lanes = tuple(f"{LANE}{level}{LANE}{line.name}{LANE}{other}" for level in passed)
                found.append(_Edge(line.name, other, is_soft, lanes))
    return found


def _rows(lines: Sequence[DependencyLine], levels: Mapping[str, int], edges: Sequence[_Edge]) -> list[list[str]]:
    """Boxes and lanes from top to bottom; in a row each near to what it is joined to."""
    rows = [
        [line.name for line in lines if levels[line.name] == level]
        + [lane for edge in edges for lane in edge.lanes if lane.startswith(f"{LANE}{level}{LANE}")]
        for level in range(max(levels.values(), default=-1), -1, -1)
    ]
    joined: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for edge in edges:
        for above, below in itertools.pairwise((edge.who, *edge.lanes, edge.other)):
            joined[above].append(below)
            joined[below].append(above)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            spots = _spots(rows, 0)
            middles = {name: _middle([spots[other].x for other in joined[name]], spots[name].x) for name in row}
            row.sort(key=middles.__getitem__)
    return rows


def _middle(places: Sequence[float], own: float) -> float:
    return sum(places) / len(places) if places else own


def _width(row: Sequence[str]) -> float:
    return sum(_width_of(name) for name in row) + (len(row) - 1) * GAP_X


def _width_of(name: str) -> float:
    return LANE_W if name.startswith(LANE) else BOX_W


def _spots(rows: Sequence[Sequence[str]], width: float) -> dict[str, _Spot]:
    spots = {}
    for level, row in enumerate(rows):
        left = (width - _width(row)) / 2
        for name in row:
            spots[name] = _Spot(left + _width_of(name) / 2, MARGIN + level * (BOX_H + GAP_Y))
            left += _width_of(name) + GAP_X
    return spots


def _blamed(lines: Sequence[DependencyLine]) -> set[tuple[str, str]]:
    """The edges on the way from who is blocked or degraded to what that is for."""
    by_name = {line.name: line for line in lines}
    found: set[tuple[str, str]] = set()
    for line in lines:
        if line.health == "degraded":
            found.update((line.name, want) for want in line.wants if want in line.by)
        for need in line.needs:
            other = by_name.get(need)
            leads_there = need in line.by or (other is not None and set(other.by) & set(line.by))
            if line.by and line.health in ("blocked", "ill") and leads_there:
                found.add((line.name, need))
    return found


def _drawn(edge: _Edge, spots: Mapping[str, _Spot], *, is_blamed: bool) -> str:
    start, end = spots[edge.who], spots[edge.other]
    if end.y <= start.y:  # beside or above: it leaves and comes in at the sides
        side = 1 if end.x > start.x else -1
        x1, y1, x2, y2 = start.x + side * BOX_W / 2, start.y + BOX_H / 2, end.x - side * BOX_W / 2, end.y + BOX_H / 2
        path = f"M{x1:g} {y1:g} C{x1 + side * GAP_X:g} {y1:g} {x2 - side * GAP_X:g} {y2:g} {x2 - side * 7:g} {y2:g}"
        head = f"M{x2:g} {y2:g} l{-side * 8} -4 v8 z"
    else:
        x, y = start.x, start.y + BOX_H
        path = f"M{x:g} {y:g}"
        for lane in edge.lanes:
            spot = spots[lane]
            middle = (y + spot.y) / 2
            path += f" C{x:g} {middle:g} {spot.x:g} {middle:g} {spot.x:g} {spot.y:g} V{spot.y + BOX_H:g}"
            x, y = spot.x, spot.y + BOX_H
        middle = (y + end.y) / 2
        path += f" C{x:g} {middle:g} {end.x:g} {middle:g} {end.x:g} {end.y - 7:g}"
        head = f"M{end.x:g} {end.y:g} l-4 -8 h8 z"
    colour, thick = (BLAME, 2.2) if is_blamed else (QUIET, 1.3)
    dashes = ' stroke-dasharray="5 4"' if edge.is_soft else ""
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"{dashes}/>'
        f'<path d="{head}" fill="{colour}" stroke="none"/>'
    )


def _box(spot: _Spot, line: DependencyLine) -> str:
    fill, edge, ink = COLOURS[line.health]
    dashes = ' stroke-dasharray="6 4"' if line.health == "blocked" else ""
    texts = [(22, 14, 700, line.name), (39, 12, 400, in_words(line.health, line.by)), (54, 11, 400, _breaker(line))]
    drawn = "".join(
        f'<text x="{spot.x:g}" y="{spot.y + down:g}" text-anchor="middle" font-size="{size}" font-weight="{weight}" '
        f'fill="{ink}">{escape(_short(text))}</text>'
        for down, size, weight, text in texts
        if text
    )
    why = escape("; ".join(each for each in (line.reason, _incident(line)) if each))
    place = f'x="{spot.x - BOX_W / 2:g}" y="{spot.y:g}" width="{BOX_W}" height="{BOX_H}"'
    return (
        f"<g><title>{escape(line.name)}: {why or 'closed'}</title>"
        f'<rect {place} rx="7" fill="{fill}" stroke="{edge}" stroke-width="1.6"{dashes}/>{drawn}</g>'
    )


def _breaker(line: DependencyLine) -> str:
    """The third line of a box: what its breaker does."""
    if line.health == "ramping":
        return f"takes {line.share:.0%} of its calls"
    if line.state == "closed":
        return ""
    told = f", said by {len(line.said_by)} of {line.of}" if line.said_by else ""
    return f"{line.state.replace('_', ' ')}{told}"


def _incident(line: DependencyLine) -> str:
    return f"one incident with {line.incident}" if line.incident and line.incident != line.name else ""


def _short(text: str) -> str:
    return text if len(text) <= LINE_CHARS_MAX else text[: LINE_CHARS_MAX - 1] + "…"


def _legend(y: float) -> str:
    parts = []
    for number, (health, (fill, edge, _)) in enumerate(COLOURS.items()):
        x = MARGIN + number * LEGEND_STEP
        dashes = ' stroke-dasharray="3 2"' if health == "blocked" else ""
        parts.append(
            f'<rect x="{x}" y="{y - 10:g}" width="14" height="12" rx="3" fill="{fill}" stroke="{edge}"{dashes}/>'
            f'<text x="{x + 20}" y="{y:g}" font-size="11" fill="#475569">{health}</text>'
        )
    return "".join(parts)
