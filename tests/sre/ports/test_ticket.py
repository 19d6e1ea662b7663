"""Tickets in files: effects happen once per key, what people wrote stays, nobody's remark is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from holdfast import Conflict, InvalidInput, NotFound
from holdfast_sre.local.ticket import TicketFolder

TICKET = """\
# written by the pager
id: INC-7
title: "checkout is failing"   # from the alert
text: |
  since 14:05
  payments time out
namespace: shop
service: payments
team: blue
assignee: bot
"""


def folder(path: Path, text: str = TICKET, name: str = "INC-7.yaml") -> TicketFolder:
    path.mkdir(exist_ok=True)
    (path / name).write_text(text)
    return TicketFolder(path)


async def test_a_ticket_is_read_with_defaults(tmp_path: Path) -> None:
    ticket = await folder(tmp_path).read("INC-7")
    assert (ticket.title, ticket.status, ticket.assignee) == ("checkout is failing", "open", "bot")
    assert ticket.text == "since 14:05\npayments time out\n"


async def test_assigned_lists_the_open_ones_of_one_assignee(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    folder(tmp_path, TICKET.replace("INC-7", "INC-8").replace("bot", "ana"), "INC-8.yaml")
    folder(tmp_path, TICKET.replace("INC-7", "INC-6") + "status: closed\n", "INC-6.yml")
    assert [ticket.id for ticket in await tickets.assigned("bot")] == ["INC-7"]
    await tickets.accept("INC-7", assignee="bot", key="a")
    assert await tickets.assigned("bot") == ()


async def test_an_effect_changes_its_fields_and_leaves_the_rest_of_the_file(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    await tickets.accept("INC-7", assignee="bot", key="accept")
    text = (tmp_path / "INC-7.yaml").read_text()
    assert text == TICKET + "status: in_progress\naccept_key: accept\n"


async def test_a_remark_is_made_once_per_key(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    await tickets.comment("INC-7", "on it", by="bot", key="c1")
    await tickets.comment("INC-7", "on it again", by="bot", key="c1")
    ticket = await tickets.comment("INC-7", "found it", by="bot", key="c2")
    assert [comment.text for comment in ticket.comments] == ["on it", "found it"]
    assert await tickets.read("INC-7") == ticket


async def test_remarks_of_many_at_once_are_all_kept(tmp_path: Path) -> None:
    """Each folder object has its own handle, as processes have: the lock file keeps them apart."""
    folder(tmp_path)
    await asyncio.gather(*(TicketFolder(tmp_path).comment("INC-7", str(n), by="b", key=f"k{n}") for n in range(12)))
    ticket = await TicketFolder(tmp_path).read("INC-7")
    assert sorted(int(comment.text) for comment in ticket.comments) == list(range(12))


async def test_repeating_an_acceptance_after_the_end_changes_nothing(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    await tickets.accept("INC-7", assignee="bot", key="a")
    ended = await tickets.finish("INC-7", "closed", "mended", by="bot", key="end")
    assert await tickets.accept("INC-7", assignee="bot", key="a") == ended


async def test_accepting_twice_is_accepting_once_and_anothers_ticket_is_refused(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    first = await tickets.accept("INC-7", assignee="bot", key="a")
    assert await tickets.accept("INC-7", assignee="bot", key="a") == first
    with pytest.raises(Conflict, match="in_progress, assigned to bot"):
        await tickets.accept("INC-7", assignee="ana", key="b")


async def test_an_end_is_told_once_and_not_changed_by_another(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    ticket = await tickets.finish("INC-7", "closed", "mended", by="bot", key="end")
    assert ticket.status == "closed"
    assert await tickets.finish("INC-7", "closed", "mended", by="bot", key="end") == ticket
    with pytest.raises(Conflict, match="found it closed"):
        await tickets.finish("INC-7", "escalated", "help", by="bot", key="other")


async def test_json_tickets_are_kept_as_json(tmp_path: Path) -> None:
    values = {"id": "INC-9", "title": "slow", "namespace": "shop", "extra": [1, 2]}
    tickets = folder(tmp_path, json.dumps(values), "INC-9.json")
    await tickets.comment("INC-9", "seen \N{KITE}", by="bot", key="c")
    stored = json.loads((tmp_path / "INC-9.json").read_text())
    assert stored["extra"] == [1, 2]
    assert stored["comments"] == [{"by": "bot", "text": "seen \N{KITE}", "key": "c"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id: INC-7\n", "title"),
        ("id: INC-8\ntitle: x\n", "file's name"),
        ("id: INC-7\ntitle: 3\n", "title"),
        ("- a\n", "expected a ticket"),
        ("a: [\n", "expected YAML"),
        ("id: INC-7\ntitle: x\nstatus: lost\n", "status"),
    ],
)
async def test_a_file_that_is_no_ticket_is_named_with_what_was_expected(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(InvalidInput, match=expected) as caught:
        await folder(tmp_path, text).read("INC-7")
    assert "INC-7.yaml" in str(caught.value)


async def test_unknown_and_odd_ids(tmp_path: Path) -> None:
    tickets = folder(tmp_path)
    with pytest.raises(NotFound, match="INC-70"):
        await tickets.read("INC-70")
    with pytest.raises(InvalidInput, match="ticket id"):
        await tickets.read("../INC-7")
    with pytest.raises(InvalidInput, match="folder of tickets"):
        await TicketFolder(tmp_path / "none").assigned("bot")
    with pytest.raises(InvalidInput, match="20000"):
        await tickets.comment("INC-7", "x" * 20_001, by="bot", key="long")
