"""Where the words of a diagram's edges stand: on their line, off the boxes, off each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from holdfast.chart.layout import Box
from holdfast.chart.route import Point

WORD_CHAR_WIDTH = 5.4
WORD_HEIGHT = 13
WORD_CHARS_MAX = 36
STEP = 10

# What a place costs.
OUTSIDE = 200.0
ON_BOX = 100.0
ON_WORD = 80.0
ON_TITLE = 40.0
ON_HEAD = 20.0
ON_EDGE = 12.0
ACROSS_LINE = 4.0
OFF_MIDDLE = 0.02


Worded = tuple[tuple[int, int], str, list[Point]]
"""An edge between two states, its words, and the corners of its path."""


class Placed(NamedTuple):
    """The words of the edge between two states, centred at x, y."""

    edge: tuple[int, int]
    text: str
    x: float
    y: float


class _Area(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Area) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def place_labels(paths: Sequence[Worded], boxes: Mapping[int, Box]) -> tuple[Placed, ...]:
    """A place for the words of each path that has any; earlier ones go first."""
    fixed = _obstacles(paths, boxes)
    lines = [(edge, area) for edge, _, corners in paths for area in _lines(corners)]
    placed: list[Placed] = []
    words: list[_Area] = []
    for edge, text, corners in paths:
        if not text:
            continue
        text = text if len(text) <= WORD_CHARS_MAX else text[: WORD_CHARS_MAX - 1] + "…"
        others = [area for other, area in lines if other != edge]
        costs = [*fixed, (ON_WORD, words), (ON_EDGE, others)]
        _, (x, y), area = min(
            (cost + sum(price for price, areas in costs for each in areas if each.meets(area)), middle, area)
            for cost, middle, area in _options(corners, len(text) * WORD_CHAR_WIDTH + 4)
        )
        words.append(area)
        placed.append(Placed(edge, text, x, y))
    return tuple(placed)


def _obstacles(paths: Sequence[Worded], boxes: Mapping[int, Box]) -> list[tuple[float, list[_Area]]]:
    """What words keep off, with the cost of each."""
    width, height = boxes[0].width, boxes[0].height
    outside = [_Area(-width, 0, 0, height), _Area(width, 0, 2 * width, height)]
    solid = [_Area(box.x, box.y, box.right, box.bottom) for box in boxes.values() if box.shape != "group"]
    titles = [
        _Area(box.x + 8, box.y + 6, box.x + 16 + len(box.label) * 7, box.y + 24)
        for box in boxes.values()
        if box.shape == "group" and box.label
    ]
    heads = [_Area(x - 8, y - 8, x + 8, y + 8) for _, _, corners in paths for x, y in corners[-1:]]
    return [(OUTSIDE, outside), (ON_BOX, solid), (ON_TITLE, titles), (ON_HEAD, heads)]


def _options(corners: list[Point], width: float) -> Iterator[tuple[float, tuple[float, float], _Area]]:
    """Places along a path with what they cost by themselves: near the middle, along rather than across the line."""
    length = sum(abs(x1 - x0) + abs(y1 - y0) for (x0, y0), (x1, y1) in pairwise(corners))
    gone = 0
    for (x0, y0), (x1, y1) in pairwise(corners):
        span = abs(x1 - x0) + abs(y1 - y0)
        is_across = x0 == x1 or span < width + 16
        for way in range(STEP, max(span, STEP + 1), STEP // 2):
            share = way / span if span else 0.5
            x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
            cost = OFF_MIDDLE * abs(gone + way - length / 2) + (ACROSS_LINE if is_across else 0.0)
            yield cost, (x, y), _Area(x - width / 2, y - WORD_HEIGHT / 2, x + width / 2, y + WORD_HEIGHT / 2)
        gone += span


def _lines(corners: list[Point]) -> Iterable[_Area]:
    for (x0, y0), (x1, y1) in pairwise(corners):
        yield _Area(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
