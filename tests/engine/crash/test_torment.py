"""The soak: each audit finds what is planted in its evidence, processes with a planted fault are found out, and half a
minute of torment finds nothing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from holdfast import InvalidInput
from holdfast.store.open import open_store
from holdfast.testing.servers import ValkeyServer
from holdfast.testing.soak import AUDITS, Evidence, SoakOptions, audited, soak
from holdfast.testing.soak.cluster import POSTGRES, REDIS, Cluster
from holdfast.testing.soak.growth import Sample, growths, most_of_the_others
from holdfast.testing.soak.lines import Line
from holdfast.testing.soak.rules import Move, Seen
from holdfast.testing.soak.shapes import KINDS, TICK, is_answered, shapes

SEED = 1
STEPS = next(
    shape for shape in shapes(SEED) if {stage.kind for stage in shape.stages} <= {"steps", "regions", "flaky", "timer"}
)
TICKET = next(f"T-{number}" for number in range(100) if is_answered(SEED, f"T-{number}"))


def _sound() -> Evidence:
    """One run, done as it should be."""
    places = [f"{state}#1/{name}" for stage in STEPS.stages for state, name in stage.places]
    paths = ["", *(stage.path for stage in STEPS.stages), "done"]
    pairs = itertools.pairwise(paths)
    run = Seen(
        ticket=TICKET,
        workflow=STEPS.name,
        user="user-0",
        status="done",
        outcome="done",
        leaves={},
        data={"resource": "r", **{place: f"key {place}" for place in places}},
        moves=[Move(source, target, "next", version) for version, (source, target) in enumerate(pairs, 1)],
    )
    effects = [
        Line(what="effect", by="0.0", run=TICKET, about=f"{TICKET}/{place}", key=f"key {place}") for place in places
    ]
    started = Line(what="started", by="0.0", run=TICKET)
    return Evidence(seed=SEED, lines=[started, *effects], runs={TICKET: run}, lasted_s=600.0)


def _line(what: str, about: str, *, key: str = "r", number: int = 0, run: str = TICKET) -> Line:
    return Line(what=what, by="1.0", run=run, about=about, key=key, number=number)


def _growing(*, mib: float, descriptors: float) -> list[Sample]:
    return [Sample("0.0", 6.0 * n, 50 + mib * n, int(10 + descriptors * n), 5) for n in range(100)]


def _ticked(second: int) -> tuple[Seen, Line]:
    """The run of a due time of the schedule, and its effect."""
    ticket = f"{TICK}@2026-01-31T12:00:{second:02}Z"
    seen = Seen(
        ticket=ticket,
        workflow=TICK,
        user="scheduler",
        status="done",
        outcome="done",
        leaves={},
        data={"s0#1/act0": ticket},
        moves=[Move("", "s0", "start", 1), Move("s0", "done", "next", 2)],
    )
    return seen, Line(what="effect", by="0.0", run=ticket, about=f"{ticket}/s0#1/act0", key=ticket)


SOUND = _sound()
RUN = SOUND.runs[TICKET]
FIRST = next(line for line in SOUND.lines if line.what == "effect")
PLANTED: dict[str, dict[str, Any]] = {
    "lost starts": {"lines": [*SOUND.lines, _line("started", "", run="T-lost")]},
    "stranded runs": {"runs": {TICKET: msgspec.structs.replace(RUN, status="failed", outcome="", leaves={"s0": 1})}},
    "repeated effects": {"lines": [*SOUND.lines, msgspec.structs.replace(FIRST, key="another")]},
    "unbacked effects": {"lines": [line for line in SOUND.lines if line is not FIRST]},
    "missing effects": {
        "lines": SOUND.lines[:1],
        "runs": {TICKET: msgspec.structs.replace(RUN, data={"resource": "r"})},
    },
    "lost decisions": {"lines": [*SOUND.lines, _line("judged", "s0#1/approve")]},
    "illegal moves": {
        "runs": {TICKET: msgspec.structs.replace(RUN, moves=[*RUN.moves, Move("done", "s0", "next", 99)])}
    },
    "twice owned": {"lines": [*SOUND.lines, *(_line("owns", "s0#1", key=key, number=2) for key in ("one", "another"))]},
    "broken locks": {"lines": [*SOUND.lines, _line("in", "a", number=1), _line("in", "b", number=2)]},
    "lost children": {"runs": {TICKET: msgspec.structs.replace(RUN, id="run", parent="nobody")}},
    "lost ticks": {
        "runs": dict(SOUND.runs) | {seen.ticket: seen for seen, _ in map(_ticked, (0, 2, 6))},
        "lines": [*SOUND.lines, *(effect for _, effect in map(_ticked, (0, 2, 6)))],
    },
    "unsound stores": {"gaps": ["stream of user-0: expected event 2, saw 3"]},
    "bad endings": {"lines": [*SOUND.lines, _line("health", "store: away")]},
    "leaks": {"samples": _growing(mib=1.0, descriptors=0)},
}


def test_sound_evidence_is_sound() -> None:
    assert audited(SOUND) == {}


def test_an_audit_is_planted_for_each() -> None:
    assert PLANTED.keys() == AUDITS.keys()


@pytest.mark.parametrize("audit", list(PLANTED))
def test_each_audit_finds_its_planted_fault_and_no_other_does(audit: str) -> None:
    assert list(audited(msgspec.structs.replace(SOUND, **PLANTED[audit]))) == [audit]


def test_descriptors_that_are_never_closed_are_found() -> None:
    leaking = msgspec.structs.replace(SOUND, samples=_growing(mib=0, descriptors=1))
    assert "descriptors grew" in audited(leaking)["leaks"][0]


def test_what_fills_while_a_process_warms_up_is_not_held_against_it() -> None:
    """Ten MiB in the first quarter, and none afterwards."""
    samples = [Sample("0.0", 6.0 * n, 50 + min(n, 20) / 2, 10, 5) for n in range(100)]
    assert audited(msgspec.structs.replace(SOUND, samples=samples)) == {}
    memory = growths(samples, lasted_s=600.0)[0]
    assert (memory.what, memory.start, memory.warm, memory.end) == ("memory_mib", 50.0, 60.0, 60.0)
    assert memory.slope_per_hour == 0.0


def test_memory_that_grows_slowly_all_the_time_is_found() -> None:
    """What a share of the whole would let pass: 10 MiB of 65 in twenty minutes."""
    samples = [Sample("0.0", 12.0 * n, 65 + 0.1 * n, 10, 5) for n in range(100)]
    slow = msgspec.structs.replace(SOUND, samples=samples, lasted_s=1200.0)
    (fault,) = audited(slow)["leaks"]
    assert "memory_mib grew from 68.4 when it was warm to 74.1, +30.0 an hour; expected at most 72.4" in fault


def test_one_high_moment_is_no_growth() -> None:
    samples = [Sample("0.0", 6.0 * n, 400 if n == 90 else 60, 10, 5) for n in range(100)]
    memory = growths(samples, lasted_s=600.0)[0]
    assert (memory.is_within, memory.peak) == (True, 400)


def test_processes_that_were_killed_tell_what_they_had_at_most() -> None:
    lived = [Sample("0.0", 6.0 * n, 60, 10, 5) for n in range(100)]
    killed = [Sample(f"1.{n // 20}", 6.0 * n, 60 + n / 10, 10 + n % 20, 5) for n in range(100)]
    assert {growth.by for growth in growths([*lived, *killed], lasted_s=600.0)} == {"0.0"}
    assert most_of_the_others([*lived, *killed], lasted_s=600.0) == (5, 69.9, 29, 5)


def test_a_visit_that_lost_its_run_may_be_overtaken() -> None:
    """It comes in again; and what it still says with the old token is refused by the resource."""
    lines = [
        _line("in", "a", number=1),
        _line("in", "a", number=2),
        _line("out", "a", number=2),
        _line("in", "b", number=3),
        _line("out", "a", number=1),
        _line("out", "b", number=3),
    ]
    assert audited(msgspec.structs.replace(SOUND, lines=[*SOUND.lines, *lines])) == {}


def test_who_shares_lets_in_who_shares_and_keeps_out_who_wants_it_alone() -> None:
    beside = [_line("shares", "a", number=1), _line("shares", "b", number=2)]
    assert audited(msgspec.structs.replace(SOUND, lines=[*SOUND.lines, *beside])) == {}
    alone = [*beside, _line("leaves", "a", number=1), _line("in", "c", number=3)]
    (fault,) = audited(msgspec.structs.replace(SOUND, lines=[*SOUND.lines, *alone]))["broken locks"]
    assert "c came in with token 3 while b was inside" in fault


def test_an_effect_of_a_visit_that_was_cancelled_in_the_middle_may_be_forgotten() -> None:
    """What a visit before it did may not."""
    stage = STEPS.stages[-1].path
    moves = [*RUN.moves[:-1], Move(stage, "cancelled", "cancel", 99)]
    run = msgspec.structs.replace(RUN, status="cancelled", outcome="cancelled", moves=moves)
    extra = [
        Line(what="effect", by="0.0", run=TICKET, about=f"{TICKET}/{path}#9/act", key=path)
        for path in (stage, STEPS.stages[0].path)
    ]
    found = audited(msgspec.structs.replace(SOUND, lines=[*SOUND.lines, *extra], runs={TICKET: run}))
    assert [fault.partition(" happened")[0] for fault in found["unbacked effects"]] == [
        f"run {TICKET}: effect {STEPS.stages[0].path}#9/act"
    ]


def test_an_effect_of_a_visit_that_is_not_over_is_not_forgotten_yet() -> None:
    """A run that is stranded in a visit is told as that alone; what it did in the visit before it should know."""
    stage = STEPS.stages[-1].path
    data = {place: key for place, key in RUN.data.items() if not place.startswith(stage)}
    run = msgspec.structs.replace(RUN, status="running", outcome="", leaves={stage: 2}, data=data, moves=RUN.moves[:-1])
    open_, over = (
        Line(what="effect", by="0.0", run=TICKET, about=f"{TICKET}/{stage}#{visit}/act", key=f"{visit}")
        for visit in (2, 1)
    )
    lines = [line for line in SOUND.lines if line.about.removeprefix(f"{TICKET}/") in ("", *data)]
    assert list(audited(msgspec.structs.replace(SOUND, lines=[*lines, open_], runs={TICKET: run}))) == ["stranded runs"]
    found = audited(msgspec.structs.replace(SOUND, lines=[*lines, open_, over], runs={TICKET: run}))
    assert [fault.partition(" happened")[0] for fault in found["unbacked effects"]] == [
        f"run {TICKET}: effect {stage}#1/act"
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_stage_is_in_every_seed(seed: int) -> None:
    assert {stage.kind for shape in shapes(seed) for stage in shape.stages} == set(KINDS)


@pytest.mark.parametrize(
    "wrong", [{"minutes": 0}, {"processes": 1}, {"store": "paper"}, {"lease_ttl_s": 0.1}, {"plant": "rose"}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"soak: expected"):
        SoakOptions(**wrong)  # type: ignore[arg-type]


async def test_servers_that_are_named_are_used_and_left_as_they_were(
    tmp_path: Path, database: str, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of the network of each place; none is started that could be restarted."""
    monkeypatch.setenv(POSTGRES, database)
    monkeypatch.setenv(REDIS, valkey_server.url)
    before = await _databases(database)
    async with Cluster(SoakOptions(store="mirror", processes=2), tmp_path) as cluster:
        assert (cluster.postgres, cluster.valkey) == (None, None)
        assert len(await _databases(database) - before) == 1
        store = open_store(cluster.url_of(1))
        await store.migrate()
        assert [len(links.proxies["postgres"]) > 0 for links in cluster.links] == [False, True]
        await store.close()
    assert await _databases(database) == before


async def _databases(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'holdfast_soak_%'")
    await connection.close()
    return {row["datname"] for row in rows}


@pytest.mark.parametrize(("plant", "audit"), [("keyless", "repeated effects")])
async def test_a_planted_fault_of_the_processes_is_found(plant: str, audit: str, tmp_path: Path) -> None:
    report = await soak(SoakOptions(minutes=0.05, store="sqlite", lease_ttl_s=1.0, folder=tmp_path, plant=plant))
    assert audit in report.found


async def test_half_a_minute_of_torment_on_the_mirror_finds_nothing(tmp_path: Path) -> None:
    report = await soak(SoakOptions(minutes=0.35, store="mirror", lease_ttl_s=1.5, seed=4, folder=tmp_path))
    assert report.found == {}, report
    assert report.torments["kill"] > 0
    assert report.torments["stand still"] > 0
    assert report.repeated > 0, "nothing was presented again: nothing was shown"
    assert report.runs["done"] > 0
    assert report.settled_s is not None


async def test_a_soak_that_is_stopped_says_where_its_evidence_is(tmp_path: Path) -> None:
    lines: list[str] = []
    options = SoakOptions(minutes=5, processes=2, store="sqlite", folder=tmp_path)
    work = asyncio.ensure_future(soak(options, tell=lines.append))
    async with asyncio.timeout(60):
        while not (tmp_path / "runs.db").exists():  # noqa: ASYNC110 - it is a file that says so
            await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert lines[-1].endswith(f"what was seen is in {tmp_path}")
