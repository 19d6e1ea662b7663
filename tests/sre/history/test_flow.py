"""What the bot itself makes of the histories at hand: told in the ticket, kept in the run, shown in the report."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast import Engine
from holdfast.store.memory import MemoryStore
from holdfast_sre.cli.workspace import open_world
from holdfast_sre.flow.bot import USER, Bot, workflow_for
from holdfast_sre.flow.chart import ESCALATED
from holdfast_sre.flow.incident import Incident
from holdfast_sre.flow.world import BOT
from holdfast_sre.report.page import render
from holdfast_sre.report.story import line_of, report_of
from tests.engine.journal import check_everything
from tests.sre.bot.bench import SOON_S
from tests.sre.diagnosis.worlds import NAMESPACE
from tests.sre.history.shops import incident, manifests, shop_source, till_source, world


def workspace(folder: Path) -> Path:
    """The shop's incident as the bot works on it, with the sources at hand."""
    incident(folder, world())
    manifests(folder / "manifests.git", world())
    shop_source(folder / "sources" / "shop")
    till_source(folder / "sources" / "till")
    ticket = {"id": "SHOP-1", "title": "The shop is down", "namespace": NAMESPACE, "assignee": BOT}
    (folder / "tickets").mkdir()
    (folder / "tickets" / "SHOP-1.json").write_text(json.dumps(ticket))
    return folder


async def test_the_suspected_commit_stands_in_ticket_run_and_report(tmp_path: Path) -> None:
    """No patch of the manifests mends it, so the ticket goes to a person, with the commit to look at first."""
    store = MemoryStore()
    at_hand = await open_world(workspace(tmp_path / "workspace"))
    workflow = workflow_for(at_hand)
    async with Engine(store, workflow) as engine:
        bot = Bot(engine, at_hand)
        await bot.take_tickets()
        await bot.watch_runs()
        run = await (await engine.get("SHOP-1", user=USER)).reach(ESCALATED, timeout_s=SOON_S)
        found: Incident = run.data
        lines = [line_of(row) for row in await run.history()]
        page = render(report_of(run, lines, workflow, deaths=(), is_verified=None))
    await check_everything(store)
    assert [(past.service, past.rollout, len(past.commits)) for past in found.pasts] == [
        ("shop", "2.0 -> 2.1", 2),
        ("till", "", 1),
    ]
    (suspected,) = found.suspected.values()
    assert suspected.suspect is not None
    assert suspected.suspect.subject == "One name for the database"
    told = "\n".join(comment.text for comment in (await at_hand.tickets.read("SHOP-1")).comments)
    for part in (
        "Suspect: changed 2 d 23 h before the first symptom, rolled out by 2.0 -> 2.1",
        "`DB_HOST -> DATABASE_HOST in app/settings.py`, by Jon",
        "source of till (till.go)",
    ):
        assert part in told
        assert part.replace(">", "&gt;") in page
