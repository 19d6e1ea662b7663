"""How the edges of a diagram run: at right angles on a grid, around boxes, apart from each other.

Each edge is the cheapest path found by A*: steps cost a little, bends more, running on top of another edge much more.
Source: Hart, Nilsson, Raphael, A Formal Basis for the Heuristic Determination of Minimum Cost Paths, 1968.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from itertools import pairwise

from holdfast.chart.layout import CHAR_WIDTH, GRID, TITLE_HEIGHT, Box

Point = tuple[int, int]

# Costs, in steps of one grid unit.
BEND = 5.0
CROSSING = 3.0
OVERLAP = 25.0
BESIDE_EDGE = 1.5
BESIDE_BOX = 2.0
ALONG_BORDER = 12.0
ACROSS_BORDER = 2.0
ON_TITLE = 25.0
USED_PORT = 25.0
BESIDE_PORT = 2.0
OFF_CENTRE = 0.35
OFF_CENTRE_STEPS_MAX = 12

RIGHT, DOWN, LEFT, UP = range(4)
"""The ways to go; even ones are horizontal, and the way back is two further."""


class Router:
    """Routes one edge after the other; each takes notice of those before it."""

    def __init__(self, boxes: Mapping[int, Box]) -> None:
        self.boxes = boxes
        self.columns = boxes[0].width // GRID + 2  # a spare one, so that no step leads around the edge
        size = self.columns * (boxes[0].height // GRID + 1)
        self.steps = (1, self.columns, -1, -self.columns)
        self.is_blocked = bytearray(size)
        self.prices = ([1.0] * size, [1.0] * size)
        self.ports = [0] * size
        for box in boxes.values():
            if box.shape == "group":
                self._add_group(box)
            else:
                self._add_solid(box)

    def route(self, source: int, target: int, around: int) -> list[Point]:
        """The corners of the path in pixels, inside the box `around` if that can be; straight where nothing can."""
        start, goal = self.boxes[source], self.boxes[target]
        goals = {cell * 4 + (way + 2) % 4: cost for cell, way, cost in self._ports(goal, start)}
        starts = {cell * 4 + way: cost for cell, way, cost in self._ports(start, goal)}
        if source == target:  # around the upper right corner, so that there is something to see
            starts = {state: cost for state, cost in starts.items() if state & 3 == RIGHT}
            goals = {state: cost for state, cost in goals.items() if state & 3 == DOWN}
        for limit in (self.boxes[around], self.boxes[0]) if source != target else (self.boxes[0],):
            cells = self._search(starts, goals, limit, goal)
            if cells:
                self._note(cells)
                return self._corners(cells)
        return [(start.x + start.width // 2, start.bottom), (goal.x + goal.width // 2, goal.y)]

    def avoid(self, point: Point) -> None:
        """Leave the port at this point, in pixels, and the place before it on its left to another mark."""
        cell = point[1] // GRID * self.columns + point[0] // GRID
        self.ports[cell] += 1
        self._raise(cell - 1, OVERLAP, OVERLAP)

    def _add_solid(self, box: Box) -> None:
        left, top, right, bottom = _cells(box)
        for y in range(top - 1, bottom + 2):
            for x in range(left - 1, right + 2):
                cell = y * self.columns + x
                if left <= x <= right and top <= y <= bottom:
                    self.is_blocked[cell] = 1
                else:
                    self._raise(cell, BESIDE_BOX, BESIDE_BOX)

    def _add_group(self, box: Box) -> None:
        left, top, right, bottom = _cells(box)
        for x in range(left, right + 1):
            for y in (top, bottom):
                self._raise(y * self.columns + x, ALONG_BORDER, ACROSS_BORDER)
        for y in range(top, bottom + 1):
            for x in (left, right):
                self._raise(y * self.columns + x, ACROSS_BORDER, ALONG_BORDER)
        for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
            self.is_blocked[y * self.columns + x] = 1
        title = int((len(box.label) + 3) * CHAR_WIDTH) // GRID if box.label else 0
        for y in range(top, top + TITLE_HEIGHT // GRID):
            for x in range(left, left + title):
                self._raise(y * self.columns + x, ON_TITLE, ON_TITLE)

    def _raise(self, cell: int, horizontal: float, vertical: float) -> None:
        self.prices[0][cell] += horizontal
        self.prices[1][cell] += vertical

    def _ports(self, box: Box, other: Box) -> Iterator[tuple[int, int, float]]:
        """Where an edge may touch a box, the way out there, and its cost: inward where the other box lies inside."""
        left, top, right, bottom = _cells(box)
        is_inside = box.x <= other.x and other.right <= box.right and box.y <= other.y and other.bottom <= box.bottom
        turn = 2 if is_inside and box != other else 0
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        places = [(x, y, way, abs(y - middle_y)) for y in range(top + 1, bottom) for x, way in ((right, 0), (left, 2))]
        places += [(x, y, way, abs(x - middle_x)) for x in range(left + 1, right) for y, way in ((bottom, 1), (top, 3))]
        for x, y, way, off in places:
            cell = y * self.columns + x
            side = self.steps[(way + 1) % 4]
            cost = USED_PORT * self.ports[cell] + BESIDE_PORT * (self.ports[cell - side] + self.ports[cell + side])
            yield cell, (way + turn) % 4, cost + OFF_CENTRE * min(off, OFF_CENTRE_STEPS_MAX)

    def _search(self, starts: Mapping[int, float], goals: Mapping[int, float], limit: Box, goal: Box) -> list[int]:
        """The cheapest path, as cells; empty if there is none within `limit`. A state is a cell and the way into it."""
        left, top, right, bottom = _cells(limit)
        aim = _cells(goal)
        best = dict(starts)
        came: dict[int, int] = {}
        queue = [(cost + self._rest(state >> 2, aim), cost, state) for state, cost in starts.items()]
        heapq.heapify(queue)
        while queue:
            _, cost, state = heapq.heappop(queue)
            if state < 0:
                return self._trace(came, -state)
            if best[state] < cost:
                continue
            if state in goals and state in came:
                heapq.heappush(queue, (cost + goals[state], cost + goals[state], -state))
                continue
            cell, way = state >> 2, state & 3
            for turn in (way,) if state not in came else (way, (way + 1) % 4, (way + 3) % 4):
                following = cell + self.steps[turn]
                y, x = divmod(following, self.columns)
                reached = following * 4 + turn
                if not (left <= x <= right and top <= y <= bottom):
                    continue
                if self.is_blocked[following] and reached not in goals:
                    continue
                price = cost + self.prices[turn & 1][following] + (0.0 if turn == way else BEND)
                if price < best.get(reached, float("inf")):
                    best[reached] = price
                    came[reached] = state
                    heapq.heappush(queue, (price + self._rest(following, aim), price, reached))
        return []

    def _rest(self, cell: int, aim: tuple[int, int, int, int]) -> float:
        """At least so many steps from a cell to the box `aim`."""
        y, x = divmod(cell, self.columns)
        left, top, right, bottom = aim
        return max(left - x, 0, x - right) + max(top - y, 0, y - bottom)

    def _trace(self, came: Mapping[int, int], state: int) -> list[int]:
        cells = [state >> 2]
        while state in came:
            state = came[state]
            cells.append(state >> 2)
        return cells[::-1]

    def _note(self, cells: list[int]) -> None:
        """Make the next edges keep off this one."""
        for end in (cells[0], cells[-1]):
            self.ports[end] += 1
        for before, after in pairwise(cells):
            is_vertical = abs(after - before) != 1
            aside = 1 if is_vertical else self.columns
            for cell in (before, after):
                self._raise(cell, *((CROSSING, OVERLAP / 2) if is_vertical else (OVERLAP / 2, CROSSING)))
                for beside in (cell - aside, cell + aside):
                    if 0 <= beside < len(self.ports):
                        self.prices[is_vertical][beside] += BESIDE_EDGE / 2

    def _corners(self, cells: list[int]) -> list[Point]:
        """The first cell, those where the way turns, and the last, in pixels."""
        kept = [
            cell
            for before, cell, after in zip(cells, cells[1:], cells[2:], strict=False)
            if cell - before != after - cell
        ]
        corners = []
        for cell in (cells[0], *kept, cells[-1]):
            y, x = divmod(cell, self.columns)
            corners.append((x * GRID, y * GRID))
        return corners


def _cells(box: Box) -> tuple[int, int, int, int]:
    return box.x // GRID, box.y // GRID, box.right // GRID, box.bottom // GRID
