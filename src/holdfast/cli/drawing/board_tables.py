"""`breakers` drawn for people: the dependencies of a store, and what was decided of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli import rules
from holdfast.cli.documents.breakers import BoardRow, DependencyLine, is_lasting
from holdfast.clock import format_duration
from holdfast.resilience.rules import in_words

HEALTH_STYLE = {
    "ill": "bold red", "blocked": "yellow", "degraded": "yellow", "probing": "cyan", "ramping": "cyan", "well": "green",
}  # fmt: skip


def breakers_table(lines: Sequence[DependencyLine], *, now: float) -> RenderableType:
    """`breakers`: one dependency a line, each below what it needs."""
    if not lines:
        return Text("no dependencies: no engine with dependencies= has worked on this store", style="dim")
    table = _table("dependency", "needs", "health", "breaker", "since", "next probe", "objective", "said by", "why")
    table.columns[0].no_wrap = True
    for line in lines:
        edges = [*line.needs, *(f"({want})" for want in line.wants)]
        since = Text(_ago(line.since, now) if line.since else "", style="bold red" if line.is_late else "")
        table.add_row(
            Text(line.name, style="bold"),
            ", ".join(edges),
            Text(in_words(line.health, line.by), style=HEALTH_STYLE.get(line.health, "")),
            line.state if line.health != "ramping" else f"takes {line.share:.0%}",
            since,
            _next_probe(line, now),
            format_duration(line.objective_s),
            f"{len(line.said_by)} of {line.of}" if line.said_by else "",
            Text(_why(line), overflow="fold"),
        )
    return table


def board_history_table(rows: Sequence[BoardRow]) -> RenderableType:
    """`breakers history`: one row a decision."""
    table = _table("time (UTC)", "what", "", "who", "why")
    for row in rows:
        table.add_row(row.at[:19].replace("T", " "), row.what, row.detail, row.who, row.reason)
    return table


def _next_probe(line: DependencyLine, now: float) -> str:
    if line.state == "forced_open":
        return "when released"
    if line.probed_by:
        return "now"
    if line.health == "ill" and line.by:
        return f"after {', '.join(line.by)}"
    return _ago(line.next_probe, now) if line.next_probe else ""


def _why(line: DependencyLine) -> str:
    words = [line.reason]
    if line.incident and line.incident != line.name:
        words.append(f"one incident with {line.incident}")
    if line.order is not None and (is_lasting(line.order) or line.order.taken_up < line.of):
        words.append(f"ordered {line.order.action}, taken up by {line.order.taken_up} of {line.of}")
    return "; ".join(word for word in words if word)


def _ago(at: str, now: float) -> str:
    return rules.distance(datetime.fromisoformat(at).timestamp(), now)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold dim")
    for column in table.columns:
        column.overflow = "fold"
    return table
