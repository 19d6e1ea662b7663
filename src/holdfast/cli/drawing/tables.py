"""Documents drawn for people: compact tables, one screen, nothing that needs colour to be understood."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli import rules
from holdfast.cli.documents.keeping import (
    BackupLine,
    DrillDocument,
    MigrationDocument,
    RepairDocument,
    TrimDocument,
    VerificationDocument,
)
from holdfast.cli.documents.limits import LimitLine
from holdfast.cli.documents.runs import (
    CheckpointDocument,
    DoctorDocument,
    DrainDocument,
    EventDocument,
    HistoryRow,
    LeafDocument,
    RunDocument,
    RunLine,
    WorkerDocument,
    WorkflowLine,
)
from holdfast.cli.documents.schedules import ScheduleLine
from holdfast.cli.health import CLOCK_OFFSET_MAX_S, LockLine, ProcessFacts

STATUS_STYLE = {
    "running": "green", "waiting": "cyan", "paused": "yellow", "suspect": "yellow", "failed": "bold red",
    "poisoned": "bold red", "done": "dim", "cancelled": "dim", "red": "bold red", "degraded": "yellow",
}  # fmt: skip
ID_CHARS = 13
"""How much of a run's id a table shows: its time to the millisecond."""
DATA_CHARS_MAX = 2000
ID_COLUMNS = 120
"""From this width on, a worker's whole id has room in a line."""
WIDE_COLUMNS = 160
"""From this width on, an audit trail has a column for each of its facts."""


def runs_table(lines: Sequence[RunLine], *, now: float) -> RenderableType:
    """`ps`: one run a line."""
    if not lines:
        return Text("no such runs; `holdfast ps --all` also shows those that have ended", style="dim")
    has_users = len({line.user for line in lines}) > 1
    users = ("user",) if has_users else ()
    table = _table("run", "id", "workflow", *users, "where", "status", "since", "due", "alert")
    table.columns[1].no_wrap = True
    for line in lines:
        ticket = line.ticket if line.ticket != line.id else ""
        table.add_row(
            Text(ticket, style="bold"),
            Text(line.id[:ID_CHARS], style="dim"),
            line.workflow,
            *((line.user,) if has_users else ()),
            _states(line.where),
            _status(line.status),
            _ago(line.since, now),
            _due(line, now),
            Text(str(line.alert), style="bold red") if line.alert else "",
        )
    return table


def run_page(document: RunDocument, *, now: float) -> RenderableType:
    """`show`: where a run is, what it waits for, and what may be said to it."""
    line = document.run
    head = _facts(
        ("run", Text.assemble((line.ticket, "bold"), f"  {line.id}" if line.ticket != line.id else "")),
        ("workflow", f"{line.workflow}, user {line.user}"),
        ("status", _headline(line)),
        ("where", _states(line.where)),
        ("to go on", document.to_go_on),
        ("started", f"{_ago(document.created_at, now)} by {document.started_by}, {_time(document.created_at)}"),
        ("forked from", document.forked_from),
        ("child of", document.parent),
        ("deadline", _when(document.timeout_at, now)),
        ("retries", f"{document.retry_count} of {document.max_retries}" if document.retry_count else ""),
        ("owner", f"process {line.owner}" if line.owner else ""),
        ("priority", line.priority if line.priority != "normal" else ""),
        ("labels", ", ".join(f"{name}={value}" for name, value in document.labels.items())),
    )
    parts: list[RenderableType] = [head]
    if document.leaves:
        parts += [_title("states"), _leaves_table(document.leaves, now)]
    if document.timers:
        table = _table("timer of", "due", "leads to")
        for timer in document.timers:
            table.add_row(timer.state, _when(timer.due, now), timer.leads_to)
        parts += [_title("timers"), table]
    if document.inbox:
        table = _table("signal", "by", "sent", "verdict")
        for signal in document.inbox:
            table.add_row(signal.name, signal.by, _ago(signal.sent_at, now), _VERDICTS.get(signal.status, ""))
        parts += [_title("inbox"), table]
    parts += [_title("data"), _json(document.data)]
    if document.signals:
        table = _table("signal", "leads to", "command")
        for known in document.signals:
            table.add_row(Text(known.name, style="bold"), known.leads_to, Text(known.command, overflow="fold"))
        parts += [_title("takes"), table]
    if not document.is_known:
        parts.append(Text(f"\n{line.workflow} is not known here: see --app for its signals", style="yellow"))
    return Group(*parts)


def history_table(rows: Sequence[HistoryRow], *, width: int) -> RenderableType:
    """`history`: the audit trail, oldest first. Where the terminal is narrow, a row's facts stand below each other, so
    that the names of deep states stay whole."""
    is_wide = width >= WIDE_COLUMNS
    table = _table("v", "time (UTC)", *_HISTORY[is_wide])
    for column in table.columns[:2]:
        column.no_wrap = True
    for row in rows:
        before, after = _state(row.from_state), _state(row.to_state)
        if row.name != "transition":
            after = Text(row.name, style="italic")
        facts = Text(_pairs(row.metadata), style="dim", overflow="fold")
        if is_wide:
            told = [before, after, Text(row.trigger), Text(row.agent), facts]
        else:
            between = " -> " if len(row.from_state) + len(row.to_state) <= width - _BESIDE_STATES else "\n-> "
            moved = Text.assemble(before, between, after) if row.from_state else after
            why = Text.assemble(f"[{row.trigger}]" if row.trigger else "", f" by {row.agent}" if row.agent else "")
            told = [Text("\n").join(filter(None, (moved, Text(why.plain.strip(), why.style), facts)))]
        table.add_row(str(row.version), _time(row.at), *told)
    return table


def events_line(event: EventDocument) -> Text:
    """`events`: one event, as it comes."""
    facts = {name: value for name, value in event.facts.items() if value not in ("", {}, None)}
    moved = f"{facts.pop('from', '')} -> {facts.pop('to')}" if "to" in facts else ""
    return Text.assemble(
        (f"{event.position:>8} ", "dim"), _time(event.at), " ", (f"{event.run[:ID_CHARS]} ", "dim"),
        (f"{event.name} ", "bold"), f"{moved} " if moved else "", (_pairs(facts), "dim"),
    )  # fmt: skip


def checkpoints_table(rows: Sequence[CheckpointDocument]) -> RenderableType:
    """`checkpoints`: versions that can be forked, oldest first."""
    table = _table("version", "time (UTC)", "state", "name")
    for row in rows:
        table.add_row(str(row.version), _time(row.at), _state(row.state), Text(row.name, style="bold"))
    return table


def verification_page(found: VerificationDocument) -> RenderableType:
    """`verify`, `backup` and `restore`: what was counted, and each problem."""
    counted = f"{found.store}: {found.records} records and {found.events} events"
    if found.is_clean:
        return Text(f"{counted}, every digest and chain as it should be")
    table = _table("where", "expected", "seen")
    for problem in found.problems:
        table.add_row(problem["where"], problem["expected"], Text(problem["seen"], overflow="fold"))
    advice = (
        "keep this store and the last backup; `holdfast repair` mends what it can, "
        "`holdfast restore FILE --store NEW` brings a backup back"
    )
    return Group(Text(f"{counted}, {len(found.problems)} problems", style="bold red"), table, Text(advice))


def repair_page(found: RepairDocument) -> RenderableType:
    """`repair`: what was done, and what is left."""
    lines = [Text(words) for words in found.done] or [Text(f"{found.store}: nothing is damaged")]
    left = "" if found.is_clean else f"{len(found.problems)} problems are left: `holdfast verify` lists them"
    return Group(*lines, *([Text(left, style="bold red")] if left else []))


def trim_line(found: TrimDocument) -> RenderableType:
    """`trim`: what went, or would go."""
    verb = "would go" if found.is_dry_run else "went"
    return Text(
        f"{found.store}: of what was over before {_time(found.before)}, {found.runs} runs, {found.signals} signals, "
        f"{found.notices} notices and {found.rows} journal rows {verb}"
    )


def migration_page(done: MigrationDocument) -> RenderableType:
    """`migrate`: what was copied, and what comes next."""
    resumed = ", the rest of an earlier attempt" if done.is_resumed else ""
    return Group(
        Text(f"{done.target}: {done.records} records and {done.events} events, each read back and as in {done.source}"),
        Text(f"{done.written} keys written and {done.removed} removed in {done.took_s:.1f} s{resumed}", style="dim"),
        Text(f"start the engines on it, and none on {done.source} any more: it is a copy of what was"),
    )


def drill_page(done: DrillDocument) -> RenderableType:
    """`restore --drill`: what would come back, how old, and how long it takes."""
    verdict = Text("it can be restored", style="green") if done.is_good else Text("NOT GOOD", style="bold red")
    unknown = f", {done.unknown_charts} of them in charts that the store does not have" if done.unknown_charts else ""
    counted = ", ".join(f"{count} {status}" for status, count in done.runs.items()) or "none"
    parts: list[RenderableType] = [
        _facts(
            ("backup", Text(done.source, overflow="fold")),
            ("verdict", verdict),
            ("recovery point", f"{rules.lasting(done.age_s)} old, taken {_time(done.taken_at)} UTC"),
            ("recovery time", f"{rules.lasting(done.restore_s)}, {rules.lasting(done.took_s)} with all checks"),
            ("holds", f"{done.records} records and {done.events} events"),
            ("runs", counted + unknown),
        )
    ]
    if done.against is not None:
        newest = f", the newest of {_time(done.against.newest_at)} UTC" if done.against.newest_at else ""
        lost = f"{done.against.events} events{newest}; {done.against.keys} records would be others"
        parts.append(_facts(("would be lost", f"of {done.against.store}: {lost}")))
    if done.states:
        table = _table("workflow and state", "runs")
        for state, count in done.states.items():
            table.add_row(state, str(count))
        parts += [_title("where they stand"), table]
    if done.problems:
        more = done.problem_count - len(done.problems)
        listed = [Text(problem, overflow="fold") for problem in done.problems]
        parts += [_title("problems"), *listed, *([Text(f"and {more} more")] if more else [])]
    return Group(*parts)


def backup_flow(line: BackupLine) -> Text:
    """`backup --every`: one try, in one line."""
    if not line.is_good:
        return Text.assemble(
            _time(line.at), " ", ("failed", "bold red"), f" {line.error}; next try {_time(line.next_at)}"
        )
    drilled = f", drilled, restored in {rules.lasting(line.drill.restore_s)}" if line.drill is not None else ""
    deleted = f", {len(line.deleted)} old ones deleted" if line.deleted else ""
    return Text.assemble(
        _time(line.at), " ", ("good", "green"), f" {line.place}: {line.records} records and {line.events} events in ",
        f"{rules.lasting(line.took_s)}{drilled}{deleted}; next {_time(line.next_at)}",
    )  # fmt: skip


def workflows_table(lines: Sequence[WorkflowLine]) -> RenderableType:
    """`chart` without a name: what the store knows."""
    if not lines:
        return Text("no engine has opened this store yet; name code instead: holdfast chart module:workflow")
    table = _table("workflow", "states", "newest code since", "chart")
    for line in lines:
        table.add_row(Text(line.workflow, style="bold"), str(line.states), _time(line.since), line.chart[:16])
    return table


def worker_page(document: WorkerDocument) -> RenderableType:
    """What a worker says when it begins."""
    said = Text.assemble(
        ("serving ", "green"), f"{', '.join(document.queues)}: at most {document.concurrency} runs at once, as "
        f"{document.id} on {document.host}; SIGTERM drains it, a second one ends it",
    )  # fmt: skip
    return Group(said, *(Text.assemble(("note ", "yellow"), note) for note in document.notes))


def drain_line(document: DrainDocument) -> RenderableType:
    """What a worker says when it ends."""
    return Text(f"drained; runs whose handlers outlasted the grace period: {document.cut_off}")


def workers_table(lines: Sequence[ProcessFacts], *, now: float, width: int) -> RenderableType:
    """`workers`. Where the terminal is narrow, an id is its beginning; --json has all of it."""
    is_narrow = width < ID_COLUMNS
    if not lines:
        return Text("no process works on this store; start one: holdfast worker --app module:workflow")
    table = _table("worker", "host", "pid", "since", "serves", "runs", "heartbeat", "clock", "status")
    for column in (table.columns[0], *table.columns[-3:]):
        column.no_wrap = True
    for line in lines:
        is_off = abs(line.clock_offset_s) > CLOCK_OFFSET_MAX_S
        table.add_row(
            Text(line.id[:ID_CHARS] if is_narrow else line.id, style="bold"),
            line.host,
            str(line.pid),
            _ago(line.started_at, now),
            ", ".join(line.queues),
            f"{line.runs} of {line.runs_max}",
            _ago(line.heartbeat_at, now),
            Text(f"{line.clock_offset_s:+.1f} s", style="bold red" if is_off else ""),
            Text(line.doing, style="" if line.is_alive else "bold red"),
        )
    return table


def schedules_table(lines: Sequence[ScheduleLine], *, now: float) -> RenderableType:
    """`schedules`: one line a schedule."""
    if not lines:
        return Text("no schedules")
    table = _table("schedule", "user", "when", "status", "next", "started", "without", "last")
    for line in lines:
        last = _ago(line.last_due, now) if line.last_due else ""
        table.add_row(
            line.schedule, line.user, line.when, line.status, _when(line.due, now), str(line.started),
            str(line.dropped or ""), last,
        )  # fmt: skip
    return table


def doctor_page(document: DoctorDocument, *, now: float) -> RenderableType:
    """`doctor`: each check, then the processes and the locks."""
    checks = _table("check", "status", "seen", "what to do")
    for check in document.checks:
        checks.add_row(Text(check.name, style="bold"), _status(check.status), check.seen, check.advice)
    parts: list[RenderableType] = [checks]
    if document.facts.processes:
        processes = _table("process", "host", "pid", "up since", "lease", "alive")
        for process in document.facts.processes:
            lease = rules.distance(now + process.lease_left_s, now)
            is_alive = Text("yes") if process.is_alive else Text("no", style="bold red")
            since = _ago(process.started_at, now)
            processes.add_row(process.id, process.host, str(process.pid), since, f"ends {lease}", is_alive)
        parts += [_title("processes"), processes]
    if document.facts.locks:
        parts += [_title("locks"), locks_table(document.facts.locks, now=now)]
    return Group(*parts)


_HISTORY = {
    True: ("from", "to", "trigger", "agent", "metadata"),
    False: ("transition, [trigger] by agent",),
}
_BESIDE_STATES = 34
"""What the version, the time, the gaps and an arrow take of a line of the audit trail."""
_VERDICTS = {"new": "not judged yet", "early": "kept until its state is entered"}


def locks_table(lines: Sequence[LockLine], *, now: float) -> RenderableType:
    """`locks`: each lock with who holds it, then who waits, in order."""
    if not lines:
        return Text("nobody holds or waits for a lock", style="dim")
    table = _table("lock", "", "by", "holder", "mode", "since", "until", "token")
    for line in lines:
        tickets = [("held", ticket) for ticket in line.holders]
        tickets += [(f"{place}. in line", ticket) for place, ticket in enumerate(line.waiters, start=1)]
        for number, (place, ticket) in enumerate(tickets):
            table.add_row(
                Text(line.lock if number == 0 else "", style="bold"),
                place,
                ticket.by,
                Text(ticket.holder, overflow="fold"),
                ticket.mode,
                _ago(ticket.since, now),
                _when(ticket.until, now) if ticket.until else "its visit ends",
                str(ticket.token or ""),
            )
    return table


def limits_table(lines: Sequence[LimitLine], *, now: float) -> RenderableType:
    """`limits`: each limit with how it stands, then who has a place and who waits, in order."""
    if not lines:
        return Text("no limit was ever used", style="dim")
    table = _table("limit", "", "by", "holder", "since", "until")
    for line in lines:
        next_at = _ago(line.next_at, now) if line.next_at else "when a place is given back"
        how = f"room for {line.room}" if line.room else f"room {next_at}"
        table.add_row(Text(line.limit, style="bold"), how, f"{line.waiting} waiting", line.rule, "", "")
        for place in line.places:
            until = _when(place.until, now) if place.until else "its attempt ends"
            table.add_row("", "held", place.by, Text(place.holder, overflow="fold"), _ago(place.since, now), until)
        for number, one in enumerate(line.waiters, start=1):
            holder = Text(one.holder, overflow="fold")
            table.add_row("", f"{number}. in line", one.by, holder, _ago(one.since, now), "")
    return table


def _leaves_table(leaves: Sequence[LeafDocument], now: float) -> Table:
    cells: dict[str, Callable[[LeafDocument], str]] = {
        "state": lambda leaf: leaf.state,
        "phase": lambda leaf: leaf.phase,
        "visit": lambda leaf: str(leaf.visit),
        "since": lambda leaf: _ago(leaf.since, now),
        "failures": lambda leaf: str(leaf.attempts or ""),
        "next": lambda leaf: _next(leaf, now),
        "locks": _locks,
        "places": lambda leaf: "\n".join([*leaf.places, *([f"{leaf.queues_for}, in line"] if leaf.queues_for else [])]),
        "about": lambda leaf: leaf.about,
        "child": lambda leaf: leaf.child,
        "failure": lambda leaf: _failure(leaf.failure),
    }
    shown = {name: cell for name, cell in cells.items() if any(cell(leaf) for leaf in leaves)}
    table = _table(*shown)
    for leaf in leaves:
        table.add_row(*(Text(cell(leaf), overflow="fold") for cell in shown.values()))
    return table


def _next(leaf: LeafDocument, now: float) -> str:
    times = (("retry", leaf.retry_at), ("timeout", leaf.timeout_at), ("sla", leaf.sla_at))
    return ", ".join(f"{what} {_ago(at, now)}" for what, at in times if at)


def _locks(leaf: LeafDocument) -> str:
    return "\n".join(
        f"{lock.lock}{'' if lock.mode == 'exclusive' else f' ({lock.mode})'}, "
        f"{f'token {lock.token}' if lock.token else 'in line'}"
        for lock in leaf.locks
    )


def _failure(failure: dict[str, Any] | None) -> str:
    return f"{failure['kind']}: {failure['message']}" if failure else ""


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold dim")
    for column in table.columns:
        column.overflow = "fold"
    return table


def _facts(*facts: tuple[str, RenderableType]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value != "":
            table.add_row(Text(name, style="dim"), value)
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text.upper()}", style="bold")


def _headline(line: RunLine) -> Text:
    text = _status(line.status)
    if line.alert:
        text.append(f"  alert {line.alert}", style="bold red")
    if line.reason:
        text.append(f"  {line.reason}")
    return text


def _status(status: str) -> Text:
    return Text(status, style=STATUS_STYLE.get(status, ""))


def _states(states: Iterable[str]) -> Text:
    return Text("\n").join(_state(state) for state in states)


def _state(text: str) -> Text:
    """A state's name, its last part in front of the eye."""
    above, colon, name = text.rpartition(":")
    return Text.assemble((above + colon, "dim"), name)


def _due(line: RunLine, now: float) -> str:
    return f"{line.due_what} {_ago(line.due, now)}" if line.due else ""


def _when(at: str | None, now: float) -> str:
    return f"{_ago(at, now)}, {_time(at)}" if at else ""


def _ago(at: str, now: float) -> str:
    return rules.distance(datetime.fromisoformat(at).timestamp(), now)


def _time(at: str) -> str:
    return at[:19].replace("T", " ")


def _pairs(facts: dict[str, Any]) -> str:
    return " ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in facts.items())


def _json(value: Any) -> Text:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    cut = f"\n... {len(text) - DATA_CHARS_MAX} signs more: --json" if len(text) > DATA_CHARS_MAX else ""
    return Text(text[:DATA_CHARS_MAX] + cut)
