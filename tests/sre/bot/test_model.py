"""A model's second opinion: what becomes of a run while the model is down, and what its words may do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast import BreakerOpen, Dependencies, InvalidInput, RunHandle
from holdfast.store.memory import MemoryStore
from holdfast.testing import FailingAgent, Lab, Spell, VirtualClock
from holdfast_sre.__main__ import app
from holdfast_sre.cli.workspace import MODEL_FILE, open_world
from holdfast_sre.flow.bot import USER, Bot, workflow_for
from holdfast_sre.flow.chart import AWAITING_REVIEW, CLOSED, SECOND_OPINION
from holdfast_sre.flow.opinion import Opinion, model_dependency
from holdfast_sre.flow.world import World
from holdfast_sre.local.http_model import HttpModel, ModelSettings
from holdfast_sre.ports import Material, ModelAnswer, ModelFault, ModelRequest
from holdfast_sre.report.data import RunReport
from holdfast_sre.report.page import render
from holdfast_sre.report.story import parking, report_of
from tests.sre.bot.bench import TICKET, TO_REVIEW, lines, states

QUESTION = ModelRequest("which cause", ("a", "b"), by_rules="b", material=(Material("a", "log line"),))


class ScriptedModel:
    """Prefers the choice at `place`, while its agent is well."""

    def __init__(self, agent: FailingAgent, *, place: int = 0) -> None:
        self.agent, self.place = agent, place

    async def choose(self, request: ModelRequest, *, key: str) -> ModelAnswer:
        await self.agent(request.task)
        return ModelAnswer(request.choices[self.place], "model", "it came first\u202e" + "x" * 2000)

    async def check(self) -> None:
        await self.agent("models")


def make_doubtful(workspace: Path) -> None:
    """A second deployment is killed for memory as well: the rules find both, and leave a choice."""
    path = workspace / "cluster.json"
    cluster = json.loads(path.read_text())
    named = [(item["metadata"]["name"], item) for item in cluster["items"]]
    twins = [json.loads(json.dumps(item).replace("booking", "mail")) for name, item in named if "booking" in name]
    others = [item for name, item in named if not name.startswith("mail")]
    path.write_text(json.dumps(cluster | {"items": others + twins}))


async def world_with(workspace: Path, model: ScriptedModel, clock: VirtualClock) -> World:
    await asyncio.to_thread(make_doubtful, workspace)
    world = await open_world(workspace)
    return replace(world, model=model, dependencies=Dependencies(model_dependency(model), clock=clock))


AWAY = {
    "fails": Spell("fails", until_s=600),
    "throttles": Spell("throttles", until_s=600, retry_after_s=60),
}


async def begun(lab: Lab, world: World) -> RunHandle:
    bot = Bot(lab.engine, world)
    await bot.take_tickets()
    await bot.watch_runs()
    await lab.settle()
    return await lab.client.get(TICKET)


async def report(run: RunHandle, world: World) -> RunReport:
    return report_of(run, await lines(run), workflow_for(world), deaths=(), is_verified=None)


@pytest.mark.parametrize("trouble", AWAY)
async def test_a_run_whose_model_is_down_parks_and_goes_on(workspace: Path, trouble: str) -> None:
    """It parks with the reason, spends nothing while it waits, tells so, and reaches its end when the model is back."""
    clock = VirtualClock()
    model = ScriptedModel(FailingAgent(AWAY[trouble], clock=clock))
    world = await world_with(workspace, model, clock)
    async with Lab(workflow_for(world), user=USER, clock=clock) as lab:
        run = await begun(lab, world)
        await lab.skip("30s")
        assert ((await run.refresh()).status, run.state) == ("waiting", SECOND_OPINION)
        (leaf,) = run.run.leaves.values()
        assert leaf.parked is not None
        assert leaf.parked.on == "llm"
        told = [parking(line) for line in await lines(run) if line.name == "parked"]
        assert told
        assert all(each.startswith("parked: waits for llm (") for each in told)
        assert "still waits: " in render(await report(run, world))
        attempts = run.run.retry_count
        await lab.skip("9m")
        assert ((await run.refresh()).status, run.run.retry_count) == ("waiting", attempts), "it spent its retries"
        assert len(model.agent.calls) < 40, "the model is left alone but for probes"

        await lab.skip("4m")
        assert (await run.refresh()).state == AWAITING_REVIEW
        assert (run.data.chosen_by, len(run.data.chosen_because)) == ("model", 500)
        (waited,) = [value for name, value in (await report(run, world)).facts if name == "waited for llm"]
        assert int(waited.split(" s:")[0]) > 500
        await run.send("approve", by="ana")
        await lab.settle()
        assert (await run.refresh()).run.is_ended


async def test_without_its_model_a_parked_run_goes_on_by_the_rules(workspace: Path) -> None:
    """The model is taken out of the workspace, and the bot started anew."""
    clock = VirtualClock()
    model = ScriptedModel(FailingAgent(Spell("fails"), clock=clock))
    world = await world_with(workspace, model, clock)
    store = MemoryStore(clock=clock)
    async with Lab(workflow_for(world), user=USER, clock=clock, store=store) as lab:
        run = await begun(lab, world)
        await lab.skip("30s")
        assert (await run.refresh()).state == SECOND_OPINION
    async with Lab(workflow_for(await open_world(workspace)), user=USER, clock=clock, store=store) as lab:
        await lab.skip("11m")
        run = await lab.client.get(TICKET)
        assert (run.state, run.data.chosen_by) == (AWAITING_REVIEW, "rules")


async def test_a_run_whose_rules_decide_does_not_wait_for_a_model(workspace: Path) -> None:
    """Its breaker is open before the run begins."""
    world = await open_world(workspace)
    model = ScriptedModel(FailingAgent(Spell("fails")))
    dependencies = Dependencies(model_dependency(model))
    dependencies.force("llm", "forced_open", reason="a test")
    world = replace(world, model=model, dependencies=dependencies)
    async with Lab(workflow_for(world), user=USER) as lab:
        run = await begun(lab, world)
        assert await states(run) == TO_REVIEW
        assert model.agent.calls == []


async def test_a_model_prefers_among_what_is_about_as_likely(workspace: Path) -> None:
    clock = VirtualClock()
    model = ScriptedModel(FailingAgent(clock=clock), place=-1)
    world = await world_with(workspace, model, clock)
    async with Lab(workflow_for(world), user=USER, clock=clock) as lab:
        run = await begun(lab, world)
        assert str(run.data.cause.object) == "Deployment/mail"
        assert run.data.chosen_by == "model"


async def test_without_a_model_nothing_is_needed(workspace: Path) -> None:
    world = await open_world(workspace)
    assert world.dependencies is None
    async with Lab(workflow_for(world), user=USER) as lab:
        run = await begun(lab, world)
        assert await states(run) == TO_REVIEW
        assert run.data.chosen_by == "rules"
        await run.send("approve", by="ana")
        await lab.settle()
        assert (await run.refresh()).outcome == CLOSED


async def test_a_model_that_does_not_answer_in_time_counts_as_down() -> None:
    model = ScriptedModel(FailingAgent(Spell("hangs")))
    opinion = Opinion(model, Dependencies(model_dependency(model)))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await opinion.choose(replace_deadline(QUESTION, 0.01), key="k")
    with pytest.raises(BreakerOpen):
        await opinion.choose(QUESTION, key="k")


def replace_deadline(request: ModelRequest, deadline_s: float) -> ModelRequest:
    return ModelRequest(request.task, request.choices, request.by_rules, request.material, deadline_s)


class Api:
    """A server of the usual shape; `said` is what it answers with next, `seen` the questions."""

    def __init__(self) -> None:
        self.said: tuple[int, str, dict[str, str]] = (200, "", {})
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults = 0
        """How many questions it answers with 503 first."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(json.dumps({"data": []}))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.seen.append(json.loads(body))
                api.keys.append(self.headers["Authorization"])
                if api.faults:
                    api.faults -= 1
                    self.send_error(503)
                    return
                self._answer(api.said[1])

            def _answer(self, text: str) -> None:
                code, _, headers = api.said
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def say(self, content: str, **usage: int) -> None:
        self.said = (200, json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}), {})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


async def test_the_choice_of_a_model_over_http_is_a_number(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "secret")
    model = HttpModel(ModelSettings(api.url, "small", "MODEL_KEY"))
    api.say('Sure: {"choice": 1, "reason": "it\\n came first"}', prompt_tokens=7, completion_tokens=3)
    answer = await model.choose(QUESTION, key="run-1")
    assert answer == ModelAnswer("a", "model", "it came first", 7, 3)
    assert api.keys == ["Bearer secret"]
    assert '{"of": "a", "text": "log line"}' in api.seen[0]["messages"][1]["content"]
    assert "secret" not in repr(model)
    await model.check()


@pytest.mark.parametrize(
    "content", ["", "a", '{"choice": 3}', '{"choice": 0}', '{"choice": true}', '{"choice": "rm -rf"}', "{[", "[1]"]
)
async def test_what_is_no_choice_leaves_it_to_the_rules(api: Api, content: str) -> None:
    api.say(content)
    answer = await HttpModel(ModelSettings(api.url, "small")).choose(QUESTION, key="k")
    assert (answer.choice, answer.source) == ("b", "rules")


@pytest.mark.parametrize(
    ("said", "status", "after"),
    [((503, "", {}), 503, None), ((429, "", {"Retry-After": "7"}), 429, 7.0), ((200, "no JSON", {}), None, None)],
)
async def test_a_server_that_does_not_answer_is_a_fault(api: Api, said: Any, status: int, after: float) -> None:
    api.said = said
    with pytest.raises(ModelFault) as caught:
        await HttpModel(ModelSettings(api.url, "small")).choose(QUESTION, key="k")
    assert (caught.value.status_code, caught.value.retry_after_s) == (status, after)


async def test_a_server_that_is_not_there_is_a_fault(api: Api) -> None:
    url = api.url
    api.close()
    with pytest.raises(ModelFault, match="expected an answer, saw none"):
        await HttpModel(ModelSettings(url, "small")).check()


async def test_a_workspace_names_its_model(workspace: Path) -> None:
    path = workspace / MODEL_FILE
    await asyncio.to_thread(path.write_text, '{"url": "http://127.0.0.1:1/v1", "model": "small"}')
    world = await open_world(workspace)
    assert repr(world.model) == "HttpModel('small' at 'http://127.0.0.1:1/v1')"
    assert world.dependencies is not None
    for wrong in ('{"url": "ftp://x", "model": "m"}', '{"url": 1}', '{"url": "http://x", "model": "m", "keys": ""}'):
        await asyncio.to_thread(path.write_text, wrong)
        with pytest.raises(InvalidInput):
            await open_world(workspace)


@pytest.mark.slow
def test_whoever_watches_sees_it_parked_and_going_on(workspace: Path, api: Api) -> None:
    """The command with a worker of its own, over a model that answers 503 until it was asked twice."""
    make_doubtful(workspace)
    (workspace / MODEL_FILE).write_text(json.dumps({"url": api.url, "model": "small"}))
    api.say('{"choice": 1, "reason": "it was trimmed yesterday"}')
    api.faults = 2
    shown = CliRunner().invoke(app, ["run", str(workspace)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 3, shown.output
    parts = ("second_opinion", "parked: waits for llm", "llm is back", "waits for review")
    told = [shown.output.find(part) for part in parts]
    assert -1 not in told, shown.output
    assert told == sorted(told)
    report = (workspace / "report.html").read_text()
    assert "waited for llm" in report
    assert "the model: it was trimmed yesterday" in report
