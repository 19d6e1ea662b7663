"""Where the boxes of a diagram stand: states inside states, ranked along the transitions between them.

Every container ranks its children by its forward edges (document order says what is forward) and sets the ranks as
rows or as columns, folded or not, whichever gives the better shape. All coordinates are multiples of GRID, so that
edges can run on the same grid. Units are pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from holdfast.chart.shown import Edge, label
from holdfast.chart.tree import Chart, Node

GRID = 10
ASPECT = 1.7
LEAF_HEIGHT = 30
DOT = 20
TITLE_HEIGHT = 30
PADDING = 20
NODE_GAP = 20
ROW_GAP = 30
COLUMN_GAP = 50
FOLD_GAP = 50
FOLDS_MAX = 3
UNFOLDED_MAX = 8
TRACKS_MAX = 3
CHAR_WIDTH = 6.6

Shape = Literal["leaf", "group", "dot", "history"]


class Box(NamedTuple):
    """One state's rectangle. `depth` counts the containers around it."""

    x: int
    y: int
    width: int
    height: int
    shape: Shape
    label: str
    depth: int

    @property
    def right(self) -> int:
        """The x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The y of its lower side."""
        return self.y + self.height


@dataclass(slots=True)
class _Block:
    """A laid out state, positions relative to its own corner."""

    width: int
    height: int
    places: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def adopt(self, number: int, block: _Block, x: int, y: int) -> None:
        """Put another block inside, its corner at x, y."""
        self.places[number] = (x, y, block.width, block.height)
        for inner, (left, top, width, height) in block.places.items():
            self.places[inner] = (x + left, y + top, width, height)


def arrange(chart: Chart, edges: Iterable[Edge]) -> dict[int, Box]:
    """The box of every state by number; 0 is the canvas."""
    planner = _Planner(chart, edges)
    whole = planner.block(chart.nodes[0])
    boxes = {0: Box(0, 0, whole.width, whole.height, "group", "", 0)}
    for number, (x, y, width, height) in sorted(whole.places.items()):
        node = chart.nodes[number]
        boxes[number] = Box(x, y, width, height, shape_of(node), label(node), len(node.above))
    return boxes


def shape_of(node: Node) -> Shape:
    """How a state is drawn."""
    if node.is_history:
        return "history"
    if node.children:
        return "group"
    return "leaf" if label(node) else "dot"


def meeting(chart: Chart, one: int, other: int) -> tuple[int, int, int]:
    """The innermost container around two states, and the children of it that they lie in (itself, if it is one)."""
    one_line = (one, *chart.nodes[one].above)
    other_line = (other, *chart.nodes[other].above)
    common = next(each for each in one_line if each in other_line)
    mine = one_line[one_line.index(common) - 1] if common != one else common
    theirs = other_line[other_line.index(common) - 1] if common != other else common
    return common, mine, theirs


class _Planner:
    """Knows the edges between siblings of every container, and how many pass its border."""

    def __init__(self, chart: Chart, edges: Iterable[Edge]) -> None:
        self.chart = chart
        self.between: dict[int, Counter[tuple[int, int]]] = {}
        self.passing: Counter[int] = Counter()
        for edge in edges:
            common, mine, theirs = meeting(chart, edge.source, edge.target)
            if mine != theirs and common not in (mine, theirs):
                self.between.setdefault(common, Counter())[mine, theirs] += 1
            for end in (edge.source, edge.target):
                for number in (end, *chart.nodes[end].above):
                    if number == common:
                        break
                    self.passing[number] += 1

    def block(self, node: Node) -> _Block:
        """A state laid out with all that is inside."""
        shape = shape_of(node)
        if shape == "leaf":
            width = _up(len(node.name) * CHAR_WIDTH + 3 * GRID + (GRID if node.kind == "final" else 0), 2 * GRID)
            return _Block(width, LEAF_HEIGHT)
        if shape != "group":
            return _Block(DOT, DOT)
        numbers = (*node.children, *node.histories)
        blocks = {number: self.block(self.chart.nodes[number]) for number in numbers}
        self._even_out(blocks)
        ranks = self._ranks(node, numbers)
        groups = sum(self._has_group([number]) for number in numbers)
        folds = range(1, min(FOLDS_MAX, len(ranks)) + 1) if groups > 1 or len(ranks) > UNFOLDED_MAX else (1,)
        ways = (True, False) if groups > 1 else (True,)
        return min((self._place(node, blocks, ranks, way, fold) for way in ways for fold in folds), key=_shapeliness)

    def _even_out(self, blocks: Mapping[int, _Block]) -> None:
        """Give leaves side by side one width."""
        leaves = [number for number in blocks if shape_of(self.chart.nodes[number]) == "leaf"]
        width = max((blocks[number].width for number in leaves), default=0)
        for number in leaves:
            blocks[number].width = width

    def _ranks(self, node: Node, numbers: tuple[int, ...]) -> list[list[int]]:
        """Children by rank: one more than the highest before it that leads to it."""
        rank = dict.fromkeys(numbers, 0)
        forward = sorted(pair for pair in self.between.get(node.number, ()) if pair[0] < pair[1])
        for number in sorted(numbers):
            rank[number] = max((rank[one] + 1 for one, other in forward if other == number), default=0)
        rows: list[list[int]] = [[] for _ in range(max(rank.values()) + 1)]
        for number in sorted(numbers):
            rows[rank[number]].append(number)
        return rows

    def _place(
        self, node: Node, blocks: Mapping[int, _Block], ranks: list[list[int]], is_down: bool, folds: int
    ) -> _Block:
        """Ranks as rows (`is_down`) or columns, folded like lines of text; they follow each other "along"."""
        title = TITLE_HEIGHT if label(node) or node.number == 0 else GRID
        edge = PADDING + GRID * min(TRACKS_MAX, (self._back_edges(node) + self.passing[node.number]) // 3)
        result = _Block(0, 0)
        across = along_max = 0
        for start, end in _folds(ranks, blocks, folds, is_down=is_down):
            if start:
                across += FOLD_GAP
            extents = [_extent(row, blocks, is_down=is_down) for row in ranks[start:end]]
            width = max(extent for _, extent in extents)
            along = 0
            for place, (depth, extent) in enumerate(extents, start):
                along += self._gap(node, ranks, place, ROW_GAP if is_down else COLUMN_GAP) if place > start else 0
                offset = across + (0 if self._has_group(ranks[place]) else _up((width - extent) / 2, GRID))
                for number in ranks[place]:
                    block = blocks[number]
                    size_along, size_across = (block.height, block.width) if is_down else (block.width, block.height)
                    lead = along + (0 if self._has_group([number]) else _up((depth - size_along) / 2, GRID))
                    x, y = (offset, lead) if is_down else (lead, offset)
                    result.adopt(number, block, x + edge, y + edge + title - PADDING)
                    offset += size_across + NODE_GAP
                along += depth
            along_max = max(along_max, along)
            across += width
        inner_width, inner_height = (across, along_max) if is_down else (along_max, across)
        result.width = _up(max(inner_width + 2 * edge, len(label(node)) * CHAR_WIDTH + 2 * PADDING), 2 * GRID)
        result.height = _up(inner_height + 2 * edge + title - PADDING, GRID)
        return result

    def _has_group(self, numbers: Iterable[int]) -> bool:
        return any(shape_of(self.chart.nodes[number]) == "group" for number in numbers)

    def _gap(self, node: Node, ranks: list[list[int]], place: int, least: int) -> int:
        """The room between two ranks: a track for each edge that has to turn there."""
        before = {number for row in ranks[:place] for number in row}
        crossing = sum(
            count
            for (one, other), count in self.between.get(node.number, Counter[tuple[int, int]]()).items()
            if (one in before) != (other in before)
        )
        return least + GRID * min(TRACKS_MAX, max(0, crossing - 1))

    def _back_edges(self, node: Node) -> int:
        pairs = self.between.get(node.number, Counter[tuple[int, int]]())
        return sum(count for (one, other), count in pairs.items() if one > other)


def _extent(row: list[int], blocks: Mapping[int, _Block], *, is_down: bool) -> tuple[int, int]:
    """How far a rank reaches along and across."""
    heights = [blocks[number].height for number in row]
    widths = [blocks[number].width for number in row]
    along, across = (heights, widths) if is_down else (widths, heights)
    return max(along), sum(across) + NODE_GAP * (len(row) - 1)


def _folds(ranks: list[list[int]], blocks: Mapping[int, _Block], folds: int, *, is_down: bool) -> list[tuple[int, int]]:
    """Where to fold the ranks into so many runs of about one length, as (start, end)."""
    lengths = [_extent(row, blocks, is_down=is_down)[0] + ROW_GAP for row in ranks]
    share = sum(lengths) / folds
    bounds, gone = [0], 0.0
    for place, length in enumerate(lengths):
        if place and gone + length / 2 > share * len(bounds) and len(bounds) < folds:
            bounds.append(place)
        gone += length
    return list(pairwise([*bounds, len(ranks)]))


def _shapeliness(block: _Block) -> float:
    """How far a block is from a good shape and a small size; less is better."""
    return abs(math.log(block.width / block.height / ASPECT)) + math.log(block.width * block.height)


def _up(value: float, unit: int) -> int:
    """The next multiple of `unit`."""
    return math.ceil(value / unit) * unit
