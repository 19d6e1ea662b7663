"""The command about breakers: what processes say of their dependencies, and orders that all of them take up."""

from __future__ import annotations

import asyncio
import enum
from pathlib import Path
from typing import Annotated

import typer

from holdfast.app import login_name
from holdfast.cli.command import LOOK, command
from holdfast.cli.documents.breakers import board_row, dependency_lines, mermaid_of
from holdfast.cli.drawing import board_tables
from holdfast.cli.drawing.board_picture import svg_of
from holdfast.cli.output import write_picture
from holdfast.cli.session import Desk
from holdfast.clock import SystemClock, system_randomness
from holdfast.errors import InvalidInput, NotFound
from holdfast.ids import uuid7
from holdfast.store.contract.protocol import Store
from holdfast.workflow.board.postings import Action, give_order, history_of, read_postings


class Act(enum.StrEnum):
    """What to do with a breaker."""

    SHOW = "show"
    FORCE = "force"
    RELEASE = "release"
    WAKE = "wake"
    HISTORY = "history"


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    command(app, "breakers", LOOK, is_scoped=False, acts=True)(breakers)


async def breakers(
    desk: Desk,
    act: Annotated[Act, typer.Argument(help="Force, release or wake a breaker; or its history.")] = Act.SHOW,
    name: Annotated[str, typer.Argument(help="The dependency.")] = "",
    *,
    open_: Annotated[bool, typer.Option("--open", help="Force it open: no call passes. The default.")] = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="Force it to let all calls pass.")] = False,
    metrics_only: Annotated[bool, typer.Option("--metrics-only", help="Force it to count, and let all pass.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail; to force one, it is needed.")] = "",
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as Mermaid text.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of the graph to this file.")] = None,
) -> None:
    """Show dependencies and their breakers: who is ill, who suffers from it, when it is probed next; or order one."""
    async with desk.opened() as store:
        if act is Act.HISTORY:
            rows = [board_row(event, name) for event in await history_of(store, _required(act, name))]
            desk.output.lines(rows, board_tables.board_history_table)
            return
        if act is not Act.SHOW:
            chosen = _action(act, is_open=open_, is_disabled=disabled, is_metrics_only=metrics_only)
            _required(act, name)
            by = desk.settings.by or desk.settings.user or login_name()
            change_id = uuid7(SystemClock(), system_randomness())
            await give_order(store, change_id, name, chosen, by=by, reason=reason)
        await _print(desk, store, name, is_mermaid=mermaid, svg=svg)


def _required(act: Act, name: str) -> str:
    if not name:
        raise InvalidInput(f"breakers {act}: expected the name of a dependency; `holdfast breakers` lists them")
    return name


def _action(act: Act, *, is_open: bool, is_disabled: bool, is_metrics_only: bool) -> Action:
    forced = [is_open, is_disabled, is_metrics_only]
    if act is not Act.FORCE:
        if any(forced):
            raise InvalidInput(
                f"breakers {act}: expected no --open, --disabled or --metrics-only: they say how to force"
            )
        return "release" if act is Act.RELEASE else "wake"
    if sum(forced) > 1:
        raise InvalidInput("breakers force: expected one of --open, --disabled and --metrics-only")
    return "disabled" if is_disabled else "metrics_only" if is_metrics_only else "forced_open"


async def _print(desk: Desk, store: Store, name: str, *, is_mermaid: bool, svg: Path | None) -> None:
    now = store.now_s()
    lines = dependency_lines(await read_postings(store), now=now)
    if svg is not None:
        await asyncio.get_running_loop().run_in_executor(None, write_picture, svg, svg_of(lines))
    if is_mermaid:
        desk.output.text(mermaid_of(lines))
        return
    shown = [line for line in lines if not name or line.name == name]
    if name and not shown:
        there = ", ".join(sorted(line.name for line in lines)) or "none"
        raise NotFound(f"breaker {name}: there is no such dependency; there are: {there}")
    desk.output.lines(shown, lambda lines: board_tables.breakers_table(lines, now=now))
