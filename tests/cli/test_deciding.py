"""send and its short forms, cancel, pause, resume, retry, fork: judged by the chart, with and without the code."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from holdfast import Engine
from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, work_off, workflow

pytestmark = pytest.mark.usefixtures("runs")


def test_an_approval_names_what_was_looked_at(call: Call) -> None:
    blind = call("approve", "INC-0")
    assert blind.code == 1
    assert f"holdfast approve INC-0 --about {HASH}1" in blind.err
    other = call("approve", "INC-0", "--about", "4444444")
    assert (other.code, "waits for a judgement of" in other.err) == (1, True)
    assert call("approve", "INC-0", "--about", HASH[:6]).code == 1, "six signs are too few to name anything"
    done = call("approve", "INC-0", "--about", HASH[:7], "--by", "carol", "--json")
    assert (done.code, done.documents[0]["where"]) == (0, ["shipping"])
    rows = call("history", "INC-0", "--json").documents[-2:]
    assert [(row["from"], row["to"], row["agent"]) for row in rows] == [
        ("review:awaiting", "review:checking", "carol"),
        ("review:checking", "shipping", "carol"),
    ]


def test_an_engine_goes_on_from_what_was_decided(call: Call, runs: str) -> None:
    call("approve", "INC-0", "--about", HASH[:7])
    asyncio.run(work_off(runs, "INC-0"))
    (line,) = call("ps", "--json", "--status", "done").documents
    assert (line["ticket"], line["where"]) == ("INC-0", ["shipped"])


def test_who_acts_is_the_login_name_else_the_user_else_whoever_is_named(call: Call) -> None:
    for words in ([], ["--user", "ana"], ["--user", "ana", "--by", "carol"]):
        call("pause", "INC-0", *words)
        call("resume", "INC-0", *words)
    agents = [row["agent"] for row in call("history", "INC-0", "--json").documents if row["name"] == "paused"]
    assert agents == ["bob", "ana", "carol"]


def test_a_signal_that_the_state_does_not_take_is_refused_with_the_states_name(call: Call) -> None:
    early = call("send", "INC-0", "wake")
    assert (early.code, "is kept in the run's inbox" in early.err) == (0, True)
    assert call("show", "INC-0", "--json").documents[0]["inbox"][0]["status"] == "early"
    unknown = call("send", "INC-0", "explode")
    assert (unknown.code, "knows no signal 'explode'" in unknown.err) == (1, True)
    late = call("approve", "INC-0", "--about", HASH[:7], "--visit", "2")
    assert (late.code, "visit 1" in late.err) == (1, True)


def test_the_same_signal_id_counts_once(call: Call) -> None:
    words = ("reject", "INC-0", "--about", HASH[:7])
    assert call("send", "INC-0", "reject", "--about", f"{HASH}1", "--id", "mail-7").code == 0
    assert call("send", "INC-0", "reject", "--about", f"{HASH}1", "--id", "mail-7").code == 0
    assert call(*words).code == 1
    assert [row["to"] for row in call("history", "INC-0", "--json").documents].count("dropped") == 1


def test_a_reason_goes_with_the_signal(call: Call, runs: str) -> None:
    call("reject", "INC-0", "--about", HASH[:7], "--reason", "too bold")
    with sqlite3.connect(runs.removeprefix("sqlite:///")) as connection:
        (body,) = connection.execute("SELECT body FROM records WHERE kind = 'signal'").fetchone()
    connection.close()
    assert b"too bold" in (body if isinstance(body, bytes) else body.encode())


def test_what_only_the_code_can_judge_waits_in_the_inbox(call: Call, runs: str) -> None:
    """The state that request_changes leads to has a lock whose name is a function of the data."""
    answer = call("request-changes", "INC-0", "--about", HASH[:7])
    assert answer.code == 3
    assert "no engine is alive" in answer.err
    (page,) = call("show", "INC-0", "--json").documents
    assert [(each["name"], each["status"]) for each in page["inbox"]] == [("request_changes", "new")]
    assert page["run"]["version"] == 3, "the run itself is as it was"
    asyncio.run(_judged(runs))
    assert call("show", "INC-0", "--json").documents[0]["leaves"][0]["about"] == f"{HASH}2"


async def _judged(url: str) -> None:
    async with Engine(url, workflow) as engine:
        run = await engine.get("INC-0", user="ana")
        tick = 0
        while (await run.refresh()).data.hash != f"{HASH}2" or (await engine.client("ana").find(run.id)).owner:
            tick = await engine.store.wait(tick)


def test_with_the_code_everything_is_judged_here(call: Call) -> None:
    answer = call("request-changes", "INC-0", "--about", HASH[:7], *CODE, "--json")
    assert (answer.code, answer.documents[0]["where"]) == (0, ["intake:fix"])


def test_no_command_takes_a_run_into_its_own_hands(call: Call) -> None:
    """A process that works on nothing and holds no lease must own nothing: nobody would ever take it over."""
    call("request-changes", "INC-0", "--about", HASH[:7])
    for words in (["pause"], ["resume"], ["pause", *CODE], ["resume", *CODE]):
        assert call(words[0], "INC-0", *words[1:]).code == 0
        assert call("show", "INC-0", "--json").documents[0]["run"]["owner"] == ""


def test_retry_means_now(call: Call, runs: str) -> None:
    assert call("retry", "INC-1", "--json").documents[0]["status"] == "running"
    assert call("retry", "INC-2", "--json").documents[0]["status"] == "running"
    again = call("retry", "INC-0")
    assert (again.code, "only a failed or set-aside run" in again.err) == (1, True)
    asyncio.run(work_off(runs, "INC-1", "INC-2"))
    assert [line["where"] for line in call("ps", "--json").documents] == [
        ["review:awaiting"],
        ["review:awaiting"],
        ["intake:check"],
    ]


def test_cancel_ends_a_run_once(call: Call) -> None:
    assert call("cancel", "INC-0", "--reason", "duplicate", "--json").documents[0]["status"] == "cancelled"
    again = call("cancel", "INC-0")
    assert (again.code, "has ended in cancelled" in again.err) == (1, True)
    assert call("history", "INC-0", "--json").documents[-1]["metadata"] == {"reason": "duplicate"}


def test_a_fork_leaves_the_original(call: Call) -> None:
    early = call("fork", "INC-0", "--version", "1", "--id", "INC-0b", "--json")
    assert (early.code, early.documents[0]["where"]) == (0, ["intake:check"])
    assert call("show", "INC-0", "--json").documents[0]["run"]["version"] == 3
    of_review = call("fork", "INC-0", "--version", "3")
    assert (of_review.code, "--app module:workflow" in of_review.err) == (1, True)
    assert call("fork", "INC-0", "--version", "3", *CODE).code == 0
    call("checkpoints", "INC-0", "--keep", "good")
    assert call("fork", "INC-0", "--checkpoint", "good", *CODE).code == 0
    assert call("fork", "INC-0", "--checkpoint", "bad").code == 1
    assert call("fork", "INC-0", "--checkpoint", "good", "--version", "3").code == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show", "INC-9"], 1, "there is no such run"),
        (["send", "INC-0", "park", "--data", "{"], 2, "--data: expected JSON"),
        (["pause", "INC-2"], 1, "only a running or waiting run"),
        (["resume", "INC-0"], 1, "only a paused, failed or set-aside run"),
        (["cancel", "INC-0", "--by", "default"], 2, "placeholder"),
        (["cancel", "INC-0", "--app", "tests.cli.nowhere:workflow"], 2, "there is no module"),
        (["cancel", "INC-0", "--app", "tests.cli.shop:nothing"], 2, "expected that attribute"),
        (["cancel", "INC-0", "--app", "tests.cli.shop:HASH"], 2, "expected a Workflow"),
        (["cancel", "INC-0", "--app", "shop"], 2, "module:attribute"),
        (["cancel", "INC-0", "--store", "sqlite:///nowhere.db"], 3, "say where it is"),
        (["cancel", "INC-0", "--store", "memory:"], 2, "outlives a process"),
        (["cancel", "INC-0", "--store", "mongo://x"], 2, "known schemes"),
        (["cancel"], 2, "Missing argument"),
    ],
)
def test_refusals_say_what_to_do(call: Call, words: list[str], code: int, message: str) -> None:
    answer = call(*words)
    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err
    assert "Traceback" not in answer.err
