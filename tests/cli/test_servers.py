"""The keeper's commands on stores of every kind that outlives a process, and what is said of servers that are away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing.servers import free_port
from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, fill, work_off
from tests.store.places import LASTING, Places, handed_out

SECRET = "geheim"
kinds = pytest.mark.parametrize("kind", LASTING)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    with handed_out(request, tmp_path) as places:
        yield places


@kinds
def test_a_store_is_seen_decided_on_and_kept(call: Call, places: Places, kind: str) -> None:
    url = places.url(kind)
    asyncio.run(fill(url, "lamp", "flaky"))
    assert len(call("ps", "--json", "--store", url).documents) == 2
    assert call("approve", "INC-0", "--about", HASH[:7], "--store", url, *CODE).code == 0
    assert call("verify", "--json", "--store", url).documents[0]["is_clean"]
    (found,) = call("doctor", "--json", "--store", url).documents
    checks = {check["name"]: check for check in found["checks"]}
    assert (checks["store"]["status"], "commits survive" in checks["store"]["seen"]) == ("green", True)
    assert checks["backup"]["status"] == "degraded"
    before = call("ps", "--all", "--json", "--store", url).documents
    assert call("backup", "copy.db", "--drill", "--store", url).code == 0
    (found,) = call("doctor", "--json", "--store", url).documents
    assert {check["name"]: check["status"] for check in found["checks"]}["backup"] == "green"
    assert call("restore", "copy.db", "--drill", "--against", "--json", "--store", url).documents[0]["is_good"]
    call("cancel", "INC-1", "--store", url)
    refused = call("restore", "copy.db", "--store", url)
    assert (refused.code, "empty store" in refused.err) == (1, True)
    assert call("restore", "copy.db", "--overwrite", "--store", url).code == 0
    assert call("ps", "--all", "--json", "--store", url).documents == before


@pytest.mark.parametrize(
    "pair", [(one, other) for one in LASTING for other in LASTING if one != other or one != "sqlite"], ids="-".join
)
def test_runs_move_there_and_go_on(call: Call, places: Places, pair: tuple[str, str]) -> None:
    source, target = (places.url(kind) for kind in pair)
    asyncio.run(fill(source, "lamp", "flaky"))
    before = call("ps", "--all", "--json", "--store", source).documents
    assert call("migrate", source, target).code == 0
    assert call("ps", "--all", "--json", "--store", target).documents == before
    assert call("approve", "INC-0", "--about", HASH[:7], "--store", target, *CODE).code == 0
    call("approve", "INC-0", "--store", target, *CODE)
    asyncio.run(work_off(target, "INC-0"))
    lines = {line["ticket"]: line for line in call("ps", "--all", "--json", "--store", target).documents}
    assert (lines["INC-0"]["where"], lines["INC-1"]["due_what"]) == (["shipped"], "retry")
    assert call("ps", "--all", "--json", "--store", source).documents == before


def test_one_database_by_two_addresses_is_one_store(call: Call, places: Places) -> None:
    url = places.url("postgres")
    asyncio.run(fill(url, "lamp"))
    before = call("ps", "--all", "--json", "--store", url).documents
    other = url.replace("127.0.0.1", "localhost")
    answer = call("migrate", url, other, "--overwrite")
    assert (answer.code, "the same one as source and target" in answer.err) == (2, True)
    assert call("ps", "--all", "--json", "--store", url).documents == before
    assert "copy" not in call("doctor", "--json", "--store", url).out.partition('"facts"')[0]


AWAY = {
    "postgres": "postgresql://ana:{secret}@127.0.0.1:{port}/runs",
    "redis": "redis://:{secret}@127.0.0.1:{port}/0",
}
"""A URL of each kind of server, at a port where nobody listens."""


@pytest.mark.parametrize("kind", AWAY)
@pytest.mark.parametrize(
    "words", [["ps"], ["doctor"], ["verify"], ["backup", "copy.db"], ["migrate"]], ids=lambda w: w[0]
)
def test_a_server_that_is_away_is_named_without_its_secret(
    call: Call, runs: str, tmp_path: Path, kind: str, words: list[str]
) -> None:
    port = free_port()
    url = AWAY[kind].format(secret=SECRET, port=port)
    ending = [url, "sqlite:///new.db"] if words == ["migrate"] else ["--store", url]
    for is_json in ([], ["--json"]):
        answer = call(*words, *ending, *is_json)
        assert (answer.code, answer.out) == (3, ""), answer.err
        assert str(port) in answer.err, "which server"
        assert SECRET not in answer.err
    assert not (tmp_path / "copy.db").exists()


@kinds
def test_a_secret_is_shown_nowhere(call: Call, places: Places, kind: str) -> None:
    """Where a URL or a location is shown: in answers, tables and errors."""
    url = places.url(kind).replace("postgres@", f"postgres:{SECRET}@").replace("redis://", f"redis://default:{SECRET}@")
    asyncio.run(fill(url, "lamp"))
    calls = [
        ["verify", "--store", url], ["doctor", "--store", url], ["backup", "one.db", "--store", url],
        ["restore", "one.db", "--store", url], ["restore", "one.db", "--overwrite", "--store", url],
        ["restore", "one.db", "--drill", "--against", "--store", url], ["migrate", url, "sqlite:///two.db"],
        ["migrate", url, url], ["show", "INC-9", "--store", url], ["ps", "--store", f"my{url}"],
    ]  # fmt: skip
    for words in calls:
        for is_json in ([], ["--json"]):
            answer = call(*words, *is_json)
            assert SECRET not in answer.out + answer.err, words
