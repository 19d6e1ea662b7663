"""Every contestant on PostgreSQL still does its work, a witness sees what is committed, pgbench repeats a wave."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import pytest

from benchmarks.bench_recovery import ON_POSTGRES as RECOVERING
from benchmarks.bench_recovery import DatabaseCrash, Killed
from benchmarks.contestants.process import Size, measure_at
from benchmarks.server import Server
from holdfast.testing.servers import PostgresServer

psycopg = pytest.importorskip("psycopg", reason="needs psycopg, of the dependency group bench")

batches = importlib.import_module("benchmarks.batches")
ON_POSTGRES = importlib.import_module("benchmarks.bench_postgres").CONTESTANTS
waves = importlib.import_module("benchmarks.contestants.waves")
server_witness = importlib.import_module("benchmarks.contestants.server_witness")

SIZE = Size(runs=2, steps=3)
NEEDS = {"DBOS": "dbos", "LangGraph": "langgraph.checkpoint.postgres", "absurd": "absurdctl"}
DOCUMENT = '{"inserted":[["run","main","local","id-1"]]}'


def needs(name: str) -> None:
    if (package := NEEDS.get(name)) is not None:
        pytest.importorskip(package, reason=f"needs {package}, of the dependency group bench")


@pytest.mark.parametrize("name", ON_POSTGRES)
def test_each_contestant_makes_durable_steps_on_postgresql(name: str, empty_database: str) -> None:
    needs(name)
    found = measure_at(empty_database, ON_POSTGRES[name], SIZE)
    assert found.seconds > 0
    assert "synchronous_commit=on" in found.setting


@pytest.mark.parametrize("name", RECOVERING)
def test_each_contestant_recovers_from_an_image_of_its_death(name: str, postgres_server: PostgresServer) -> None:
    needs(name)
    with Server(postgres_server).image() as image:
        killed = Killed(RECOVERING[name], SIZE.runs, DatabaseCrash(image))
        for _ in range(2):
            all_s = killed.all_s()
            assert 0 < killed.next_first_s() <= all_s


@pytest.mark.parametrize("commits", [True, False])
async def test_a_witness_on_postgresql_sees_what_is_committed(empty_database: str, commits: bool) -> None:
    with contextlib.closing(psycopg.connect(empty_database)) as connection:
        connection.execute("CREATE TABLE steps ()")
        connection.commit()
        witness = server_witness.ServerWitness(empty_database, "SELECT count(*) FROM steps")

        async def run(number: int) -> int:
            for _ in range(SIZE.steps):
                witness.saw_body()
                connection.execute("INSERT INTO steps DEFAULT VALUES")
                if commits:
                    connection.commit()
            return number + SIZE.steps

        if commits:
            assert (await waves.measured(run, SIZE, witness)).seconds > 0
        else:
            with pytest.raises(AssertionError, match="expected 3 bodies, each after the step before it was committed"):
                await waves.measured(run, SIZE, witness)


def test_pgbench_ends_every_run_of_a_recorded_wave(postgres_server: PostgresServer) -> None:
    on = Server(postgres_server)
    recording = batches.record(on, SIZE)
    assert recording.steps_per_batch == SIZE.runs
    assert batches.steps_per_s(on, recording, clients=2, copies=2) > 0


def test_a_wave_that_did_not_go_by_one_statement_a_batch_is_not_taken() -> None:
    with pytest.raises(batches.Incomplete, match="saw 1 runs, 0 memos and 0 ends"):
        batches.last_wave([DOCUMENT], Size(1, SIZE.steps))


def test_the_servers_effort_is_counted(postgres_server: PostgresServer) -> None:
    on = Server(postgres_server)
    before = on.effort()
    with on.database():
        did = on.effort().since(before)
    assert did.commits > 0
    assert did.cpu_s >= 0


def test_restate_is_skipped_with_a_word_where_there_is_no_npm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restate = importlib.import_module("benchmarks.restate")
    monkeypatch.setenv("PATH", str(tmp_path))
    with restate.installed() as found:
        assert found is None
    assert "Restate: skipped" in capsys.readouterr().err
