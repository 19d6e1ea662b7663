"""ps, show, history, events, checkpoints: what they tell, for people and for machines."""

from __future__ import annotations

import asyncio
import shlex

import pytest

from holdfast import Engine, Workflow
from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, fill

pytestmark = pytest.mark.usefixtures("runs")


def test_ps_lists_live_runs_with_what_happens_next(call: Call) -> None:
    lines = call("ps", "--json").documents
    assert [(line["ticket"], line["status"], line["where"], line["due_what"]) for line in lines] == [
        ("INC-0", "waiting", ["review:awaiting"], "timer"),
        ("INC-1", "waiting", ["intake:check"], "retry"),
        ("INC-2", "failed", ["intake:check"], ""),
    ]
    assert [line["alert"] for line in lines] == [0, 0, 1]
    assert lines[0]["due"] > lines[0]["since"]


def test_ps_draws_one_line_a_run(call: Call) -> None:
    header, _, *rows = call("ps").out.splitlines()
    assert header.split() == "run id workflow where status since due alert".split()
    assert [row.split()[0] for row in rows] == ["INC-0", "INC-1", "INC-2"]
    assert "timer in" in rows[0]


def test_ps_narrows(call: Call, runs: str) -> None:
    assert [line["ticket"] for line in call("ps", "--json", "--status", "failed").documents] == ["INC-2"]
    assert call("ps", "--json", "--workflow", "bakery").documents == []
    assert [line["ticket"] for line in call("ps", "--json", "--limit", "1").documents] == ["INC-2"]
    assert "no such runs" in call("ps", "--workflow", "bakery").out
    call("cancel", "INC-1")
    assert "INC-1" not in call("ps").out
    assert "INC-1" in call("ps", "--all").out
    assert call("ps", "--status", "sleeping").code == 2


def test_a_user_sees_his_own_runs_only(call: Call, runs: str) -> None:
    asyncio.run(fill(runs, "lamp", user="eve"))
    assert [line["user"] for line in call("ps", "--json").documents] == ["ana", "ana", "ana", "eve"]
    assert [line["user"] for line in call("ps", "--json", "--user", "eve").documents] == ["eve"]
    theirs = call("ps", "--json", "--user", "ana").documents[0]["id"]
    assert call("show", theirs, "--user", "eve").code == 1
    assert call("ps", "--json", "--tenant", "elsewhere").documents == []
    both = call("show", "INC-0")
    assert (both.code, "several runs have this id" in both.err) == (1, True)


def test_show_prints_the_exact_commands_that_move_the_run(call: Call) -> None:
    (page,) = call("show", "INC-0", "--json").documents
    commands = {signal["name"]: signal["command"] for signal in page["signals"]}
    assert commands == {
        "approve": f"holdfast approve INC-0 --about {HASH}1",
        "reject": f"holdfast reject INC-0 --about {HASH}1",
        "request_changes": f"holdfast request-changes INC-0 --about {HASH}1",
        "park": f"holdfast send INC-0 park --about {HASH}1",
    }
    assert page["timers"][0]["leads_to"] == "dropped"
    assert page["data"] == {"item": "lamp", "hash": f"{HASH}1"}
    assert page["labels"] == {"team": "web"}
    answer = call(*shlex.split(commands["reject"])[1:], "--json")
    assert answer.documents[0]["where"] == ["dropped"]


def test_show_tells_what_a_run_that_stands_still_waits_for(call: Call) -> None:
    (page,) = call("show", "INC-2", "--json").documents
    assert page["to_go_on"] == "holdfast retry INC-2"
    assert page["leaves"][0]["failure"]["message"] == "no such [item]"
    drawn = call("show", "INC-2").out
    assert "WorkflowError: no such [item]" in drawn
    assert "holdfast retry INC-2" in drawn


def test_a_run_is_named_by_the_beginning_of_its_id(call: Call) -> None:
    run_id = call("ps", "--json").documents[0]["id"]
    assert call("show", run_id, "--json").documents[0]["run"]["ticket"] == "INC-0"
    assert call("show", run_id[:25], "--json").documents[0]["run"]["ticket"] == "INC-0"
    short = call("show", run_id[:6])
    assert (short.code, "there is no such run" in short.err) == (1, True)


def test_history_is_the_audit_trail_with_the_specs_names(call: Call) -> None:
    rows = call("history", "INC-1", "--json").documents
    assert [(row["from"], row["to"], row["trigger"], row["agent"]) for row in rows] == [
        ("", "intake:check", "start", "ana"),
        ("intake:check", "error_handling:error_detection", "error", "engine"),
        ("error_handling:error_detection", "error_handling:retry_evaluation", "evaluate", "engine"),
        ("error_handling:retry_evaluation", "error_handling:retry", "retry", "engine"),
    ]
    assert "lock-granted" in call("history", "INC-0").out


def test_history_keeps_the_names_of_states_whole_in_a_narrow_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in call("history", "INC-1").out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("intake:check -> error_handling:error_detection") for line in lines)
    assert "-> error_handling:retry_evaluation" in lines, "below each other where they are long"
    assert "[error] by engine" in lines


def test_events_go_on_behind_a_position(call: Call) -> None:
    whole = call("events", "--user", "ana", "--json").documents
    assert {event["run"] for event in whole} == {line["id"] for line in call("ps", "--json").documents}
    later = call("events", "--user", "ana", "--json", "--after", whole[3]["position"]).documents
    assert later == whole[4:]
    of_run = call("events", "INC-1", "--json").documents
    assert of_run == [event for event in whole if event["run"] == of_run[0]["run"]]
    assert len(call("events", "INC-1").out.splitlines()) == len(of_run)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["events"], "--user USER"), (["events", "INC-0", "--after", "yesterday"], "incarnation:seq")],
)
def test_events_say_what_they_want(call: Call, words: list[str], message: str) -> None:
    answer = call(*words)
    assert (answer.code, message in answer.err) == (2, True)


def test_checkpoints_are_listed_and_kept(call: Call) -> None:
    kept = call("checkpoints", "INC-0", "--keep", "before", "--json").documents
    assert [(each["version"], each["name"]) for each in kept] == [(1, ""), (2, ""), (3, ""), (3, "before")]
    assert "before" in call("checkpoints", "INC-0").out


def test_chart_draws_what_the_store_knows_and_what_code_says(call: Call) -> None:
    assert [line["workflow"] for line in call("chart", "--json").documents] == ["shop@1"]
    known, coded = call("chart", "shop").out, call("chart", CODE[1]).out
    assert known == coded
    assert known.startswith("stateDiagram-v2")
    assert call("chart", "shop@1", "--json").documents[0]["name"] == "shop"
    assert " here" in call("chart", "--run", "INC-0").out
    assert call("chart", "--run", "INC-2", "--svg", "run.svg").code == 0
    assert call("chart", "bakery").code == 1
    assert call("chart", "shop", "--run", "INC-0").code == 2
    assert call("chart", "shop", "--svg", "no/such/folder.svg").code == 2


def test_a_child_names_its_parent_and_the_parent_its_child(call: Call, runs: str) -> None:
    async def begin() -> None:
        outer = Workflow("outer", data=dict)
        outer.child("inner", workflow="inner", to="over", start=True)
        outer.final("over")
        inner = Workflow("inner", data=dict)
        inner.wait("asleep", on={"wake": "awake"}, start=True)
        inner.final("awake")
        async with Engine(runs, outer, inner) as engine:
            await engine.start("outer", id="OUT-1", user="ana")

    asyncio.run(begin())
    (line,) = call("ps", "--json", "--parent", "OUT-1").documents
    (above,), (below,) = call("show", "OUT-1", "--json").documents, call("show", line["id"], "--json").documents
    assert (above["leaves"][0]["child"], below["parent"]) == (line["id"], above["run"]["id"])
    assert line["id"] in call("show", "OUT-1").out
    assert call("cancel", "OUT-1").code == 0
    (page,) = call("show", line["id"], "--json").documents
    assert [signal["name"] for signal in page["inbox"]] == ["/parent-left"], "for an engine to judge, or a sweep"
