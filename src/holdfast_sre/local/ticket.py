"""Tickets as files: a folder with one YAML or JSON file per ticket, which people and the bot both edit.

    id: INC-42
    title: checkout is failing
    text: "payments time out since 14:05"
    namespace: shop
    service: payments

A file is replaced whole and under a lock, so two processes never lose each other's remark.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from holdfast import Conflict, InvalidInput, NotFound
from holdfast_sre.files import exclusively, in_thread, read_text, replace_text
from holdfast_sre.ports import Comment, Ticket, TicketStatus

TICKET_BYTES_MAX = 1 << 20
TICKETS_MAX = 1_000
COMMENT_CHARS_MAX = 20_000
_SUFFIXES = (".yaml", ".yml", ".json")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ENDED: tuple[TicketStatus, ...] = ("closed", "rejected", "escalated")


class TicketFolder:
    """The tickets in one folder. Implements `TicketPort`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def assigned(self, assignee: str) -> tuple[Ticket, ...]:
        """The open tickets of `assignee`, by id. Raises InvalidInput for a folder that is none or a broken ticket."""
        tickets = await in_thread(self._all)
        return tuple(ticket for ticket in tickets if ticket.assignee == assignee and ticket.status == "open")

    async def all(self) -> tuple[Ticket, ...]:
        """Every ticket, by id, whoever has it and however it stands. Raises as `assigned` does."""
        return tuple(await in_thread(self._all))

    async def read(self, ticket_id: str) -> Ticket:
        """Raises NotFound for an unknown id, InvalidInput for a file that is no ticket."""
        return (await in_thread(self._find, ticket_id))[1]

    async def accept(self, ticket_id: str, *, assignee: str, key: str) -> Ticket:
        """Take an open ticket, once per key. Raises Conflict when somebody else has it or it is ended."""
        return await self._change(ticket_id, partial(accepted, assignee=assignee, key=key))

    async def comment(self, ticket_id: str, text: str, *, by: str, key: str) -> Ticket:
        """Add a remark, once per key. Raises InvalidInput past 20,000 characters."""
        return await self._change(ticket_id, partial(commented, comment=Comment(by, text, key)))

    async def finish(self, ticket_id: str, status: TicketStatus, text: str, *, by: str, key: str) -> Ticket:
        """End the ticket, with a last remark, once per key. Raises Conflict if another effect ended it before."""
        return await self._change(ticket_id, partial(finished, status=status, comment=Comment(by, text, key)))

    def __repr__(self) -> str:
        return f"TicketFolder({str(self._folder)!r})"

    async def _change(self, ticket_id: str, rule: Callable[[Ticket], Ticket]) -> Ticket:
        return await exclusively(self._folder / ".lock", partial(self._change_now, ticket_id, rule))

    def _change_now(self, ticket_id: str, rule: Callable[[Ticket], Ticket]) -> Ticket:
        path, ticket = self._find(ticket_id)
        changed = rule(ticket)
        if changed != ticket:
            replace_text(path, _rewritten(path, changed))
        return changed

    def _find(self, ticket_id: str) -> tuple[Path, Ticket]:
        if not _ID.fullmatch(ticket_id):
            raise InvalidInput(f"ticket id: expected letters, digits, dot, dash, saw {ticket_id[:80]!r}")
        for suffix in _SUFFIXES:
            path = self._folder / f"{ticket_id}{suffix}"
            if path.is_file():
                return path, _read(path)
        raise NotFound(f"ticket {ticket_id}: expected a file {ticket_id}.yaml or .json in {self._folder}, found none")

    def _all(self) -> list[Ticket]:
        if not self._folder.is_dir():
            raise InvalidInput(f"{self._folder}: expected a folder of tickets, found none", path=str(self._folder))
        paths = sorted(path for path in self._folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
        if len(paths) > TICKETS_MAX:
            raise InvalidInput(f"{self._folder}: expected at most {TICKETS_MAX} tickets, found {len(paths)}")
        return [_read(path) for path in paths]


def accepted(ticket: Ticket, *, assignee: str, key: str) -> Ticket:
    """The ticket taken by `assignee`, unless the key says that this was done."""
    if key and ticket.accept_key == key:
        return ticket
    is_free = ticket.status == "open" and ticket.assignee in (None, assignee)
    if not is_free:
        seen = f"{ticket.status}, assigned to {ticket.assignee or 'nobody'}"
        raise Conflict(f"ticket {ticket.id}: expected it open and free for {assignee}, found it {seen}", seen=seen)
    return msgspec.structs.replace(ticket, status="in_progress", assignee=assignee, accept_key=key)


def commented(ticket: Ticket, *, comment: Comment) -> Ticket:
    """The ticket with the remark, unless its key is there."""
    if len(comment.text) > COMMENT_CHARS_MAX:
        raise InvalidInput(f"comment: expected at most {COMMENT_CHARS_MAX} characters, saw {len(comment.text)}")
    if any(known.key == comment.key for known in ticket.comments if comment.key):
        return ticket
    return msgspec.structs.replace(ticket, comments=(*ticket.comments, comment))


def finished(ticket: Ticket, *, status: TicketStatus, comment: Comment) -> Ticket:
    """The ticket ended with `status` and the remark, unless the remark's key says that this was done."""
    if status not in _ENDED:
        raise InvalidInput(f"ticket {ticket.id}: expected an end among {_ENDED}, saw {status!r}")
    told = commented(ticket, comment=comment)
    if told is ticket:
        return ticket
    if ticket.status in _ENDED:
        raise Conflict(f"ticket {ticket.id}: expected it under way, found it {ticket.status}", seen=ticket.status)
    return msgspec.structs.replace(told, status=status)


def _read(path: Path) -> Ticket:
    values = _load(path)
    try:
        ticket = msgspec.convert(values, Ticket)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: expected a ticket: {error}", path=str(path)) from error
    if ticket.id != path.stem:
        raise InvalidInput(f"{path}: expected the id of its file's name, {path.stem!r}, saw {ticket.id!r}")
    return ticket


def _load(path: Path) -> Any:
    text = read_text(path, bytes_max=TICKET_BYTES_MAX)
    try:
        return json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise InvalidInput(f"{path}: expected {kind}, found {str(error)[:200]}", path=str(path)) from error


def _rewritten(path: Path, ticket: Ticket) -> str:
    """The file's text with the ticket's values; what people wrote beside them (other keys, comments) stays."""
    new = msgspec.to_builtins(ticket)
    old = _load(path)
    changed = {name: value for name, value in new.items() if value != old.get(name, _default(name))}
    if path.suffix == ".json":
        return json.dumps(old | changed, indent=2, ensure_ascii=False) + "\n"
    editor = YAML(typ="rt", pure=True)
    editor.preserve_quotes = True
    editor.width = 1_000_000
    values = editor.load(read_text(path, bytes_max=TICKET_BYTES_MAX))
    values.update(changed)
    out = io.StringIO()
    editor.dump(values, out)
    return out.getvalue()


def _default(name: str) -> object:
    return msgspec.to_builtins(Ticket(id="", title="")).get(name)
