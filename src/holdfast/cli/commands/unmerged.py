"""The command about what an outage of Redis left aside: unmerged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast import codec
from holdfast.app import login_name
from holdfast.cli.command import KEEP, command
from holdfast.cli.documents.runs import iso
from holdfast.cli.session import Desk
from holdfast.errors import NotFound, Rejected
from holdfast.store.contract.records import Key, Scope
from holdfast.store.fallback.rules import UNMERGED
from holdfast.store.fallback.unmerged import Unmerged, drop
from holdfast.store.fallback.unmerged import unmerged as all_unmerged

VALUE_CHARS_MAX = 300
"""What a table shows of a value; all of it with --json."""


class UnmergedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One write that was kept aside. `id` names it; `of_kind` and `of_id` what was written, from version `expected` on,
    where the server had `seen` (0: none). `value` is null where it was deleted. `paths`: fields that both changed."""

    id: str
    tenant: str
    user: str
    of_kind: str
    of_id: str
    expected: int
    seen: int
    value: Any
    is_deleted: bool
    why: str
    paths: tuple[str, ...]
    at: str


def add_to(app: typer.Typer) -> None:
    """Add this command to a program."""
    command(app, "unmerged", KEEP, is_scoped=False, acts=True)(unmerged)


async def unmerged(
    desk: Desk,
    kept: Annotated[str, typer.Argument(metavar="ID", help="Only this one, as it is listed.")] = "",
    *,
    is_dropped: Annotated[bool, typer.Option("--drop", help="Forget it: somebody has decided.")] = False,
) -> None:
    """List what was written while Redis was away and could not be merged when it was back; or forget one."""
    if is_dropped and not kept:
        raise Rejected("unmerged --drop: expected the ID of one; `holdfast unmerged` lists them")
    async with desk.opened() as store:
        found = [each for each in await all_unmerged(store, Scope.system()) if kept in ("", each.id)]
        if kept and not found:
            raise NotFound(f"unmerged {kept}: there is no such thing; `holdfast unmerged` lists what there is")
        if is_dropped:
            by = desk.settings.by or desk.settings.user or login_name()
            for each in found:
                key = Key(each.key.tenant, each.key.user, UNMERGED, each.id)
                await drop(store, Scope.of_user(key.tenant, key.user), key, by=by)
    desk.output.lines([_line(each) for each in found], lambda lines: _table(lines, is_dropped=is_dropped))


def _line(each: Unmerged) -> UnmergedLine:
    key = each.key
    return UnmergedLine(
        id=each.id, tenant=key.tenant, user=key.user, of_kind=key.kind, of_id=key.id, expected=each.expected,
        seen=each.seen, value=each.value, is_deleted=each.is_deleted, why=each.why, paths=each.paths, at=iso(each.at),
    )  # fmt: skip


def _table(lines: Sequence[UnmergedLine], *, is_dropped: bool) -> RenderableType:
    if not lines:
        return Text("nothing was left aside", style="dim")
    names = ("dropped" if is_dropped else "id", "user", "of", "from", "there", "value", "why")
    table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold dim")
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        value = "(deleted)" if line.is_deleted else codec.canonical(line.value).decode()[:VALUE_CHARS_MAX]
        table.add_row(
            line.id, f"{line.tenant}/{line.user}", f"{line.of_kind} {line.of_id}", f"v{line.expected}",
            f"v{line.seen}", value, line.why,
        )  # fmt: skip
    return table
