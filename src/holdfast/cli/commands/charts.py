"""The command that draws: a workflow's chart, as the store knows it or as code declares it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast import chart as charts
from holdfast.app import load_workflows
from holdfast.chart import Chart
from holdfast.cli.command import LOOK, command
from holdfast.cli.documents.runs import WorkflowLine, iso
from holdfast.cli.drawing import tables
from holdfast.cli.output import write_picture
from holdfast.cli.session import Desk
from holdfast.errors import InvalidInput, NotFound
from holdfast.store.contract.records import Query, Scope
from holdfast.workflow.model.outline import OUTLINE, decode_outline
from holdfast.workflow.model.run import Run

LISTED_MAX = 1000


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    command(app, "chart", LOOK)(chart)


async def chart(
    desk: Desk,
    workflow: Annotated[
        str | None, typer.Argument(help='A workflow of the store ("name" or "name@2"), or of code ("module:name").')
    ] = None,
    *,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Draw this run's workflow, and where it is.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture instead of Mermaid text.")] = None,
) -> None:
    """Draw a workflow as Mermaid text or as a picture; without a name, list those that the store knows."""
    if workflow is not None and run is not None:
        raise InvalidInput("chart: expected a workflow or --run RUN, saw both")
    if run is not None:
        async with desk.runs() as session:
            stored = (await session.stored(run)).run
            _draw(desk, session.require_built(stored, "draw it").chart, svg, stored)
    elif workflow is None:
        async with desk.opened() as store:
            page = await store.scan(Scope.system(), Query(kind=OUTLINE), limit=LISTED_MAX)
        lines = [
            WorkflowLine(
                workflow=outline.queue,
                chart=outline.chart_hash,
                states=len(outline.states),
                since=iso(record.written_at),
            )
            for record in page.records
            for outline in [decode_outline(record.body)]
        ]
        desk.output.lines(lines, tables.workflows_table)
    elif ":" in workflow:
        for each in load_workflows([workflow]):
            _draw(desk, each.build().chart, svg, None)
    else:
        _draw(desk, await _stored(desk, workflow), svg, None)


async def _stored(desk: Desk, wanted: str) -> Chart:
    """The newest version of a workflow, or the one that "name@version" names."""
    async with desk.runs() as session:
        known = session.runtime.workflows
    name, at, _ = wanted.partition("@")
    found = [built for queue, built in known.items() if queue == wanted or (not at and built.name == name)]
    if not found:
        names = ", ".join(sorted(known)) or "none"
        raise NotFound(
            f"workflow {wanted}: not known to this store; known: {names}; of code: holdfast chart module:name"
        )
    return max(found, key=lambda built: built.version).chart


def _draw(desk: Desk, drawn: Chart, svg: Path | None, run: Run | None) -> None:
    active = tuple(run.leaves) if run is not None else ()
    if svg is not None:
        failed = [path for path, leaf in run.leaves.items() if leaf.failure is not None] if run is not None else []
        write_picture(svg, charts.to_svg(drawn, active=active, failed=failed))
    if desk.output.is_json:
        desk.output.text(drawn.definition.to_json().decode() + "\n")
    elif svg is None:
        desk.output.text(charts.to_mermaid(drawn, highlight=active))
