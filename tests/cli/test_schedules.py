"""schedules, pause-schedule, resume-schedule: what starts by itself, and holding it up."""

from __future__ import annotations

import asyncio

from holdfast import Engine, Workflow
from tests.cli.conftest import Call


def test_a_schedule_is_listed_paused_and_resumed(call: Call, store: str) -> None:
    workflow = Workflow("sweep", data=dict)
    workflow.wait("asleep", on={"wake": "awake"}, start=True)
    workflow.final("awake")
    workflow.every("24h", name="night", user="ana", overlap="skip")

    async def declare() -> None:
        async with Engine(store, workflow):
            pass

    asyncio.run(declare())
    (line,) = call("schedules", "--json").documents
    assert (line["schedule"], line["status"], line["when"], line["overlap"], line["started"]) == (
        "sweep/night", "active", "every 86400 s", "skip", 0,
    )  # fmt: skip
    assert line["due"].endswith("T00:00:00.000Z")
    assert call("pause-schedule", "sweep/night", "--json").documents[0]["status"] == "paused"
    asyncio.run(declare())
    assert "paused" in call("schedules").out, "an engine that opens leaves it so"
    assert call("resume-schedule", "sweep/night", "--json").documents[0] == line
    unknown = call("pause-schedule", "sweep/day")
    assert (unknown.code, "there are: sweep/night" in unknown.err) == (1, True)
    assert call("schedules", "--user", "eve").out.strip() == "no schedules"
