"""The street, pure rules, sizes, front door and banned calls; and, for each check, that it finds a planted fault.

The checks themselves are in `tests/architecture`. Here stand the numbers and the exemptions, so that a change of one of
them is a change that a reviewer sees.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from tests.architecture.bans import banned, catch_alls
from tests.architecture.purity import impure
from tests.architecture.shape import long_functions, long_modules, missing_furniture, without_purpose
from tests.architecture.source import Module, Modules, imports, load, planted
from tests.architecture.street import cycles, deep_application_imports, hidden_imports, uphill, upstairs

ROOT = Path(__file__).resolve().parents[1]

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

LONGEST_MODULE_LINES = 500
LONGEST_FUNCTION_LINES = 60
"""Ratchets, over all Python here: whoever shortens the longest lowers the number. They never go up."""

PURE_ROOMS = frozenset({"chart"})
"""Rooms that are pure as a whole."""

ROOMS_WITHOUT_RULES = frozenset({"integrations", "testing"})
"""They decide nothing: they carry others' decisions out, or try them."""

EXEMPT = {
    "time": ["holdfast/clock.py", "holdfast/faults.py"],
    "random": ["holdfast/clock.py"],
    # A nonce that comes again gives the key away; a mask that can be guessed is exchanged for somebody's secret.
    "os.urandom": ["holdfast/clock.py", "holdfast/integrations/aes_gcm.py", "holdfast/integrations/masked.py"],
    "create_task": ["holdfast/tasks.py"],
}
"""Who may use what is banned: the one place that everybody else goes through."""

BOUNDARIES = {
    "holdfast/agents/tools/child.py: main": "a tool's own process: what it raises is its answer",
    "holdfast/agents/tools/dispatcher.py: ToolDispatcher._body": "a user's tool: what it raises is told to its caller",
    "holdfast/agents/events.py: Outbox._awaited": "a receiver of events: what it raises is counted, and falls back",
    "holdfast/agents/events.py: Outbox._fall_back": "a user's fallback for events: what it raises is logged",
    "holdfast/agents/events.py: Outbox._send": "a receiver of events: what it raises is counted, and falls back",
    "holdfast/agents/network.py: _NetworkRun._attempt": "an agent's error: kept, or told, by its policy",
    "holdfast/agents/supervision.py: Supervision._leave_behind": "a user's `recycle`: what it raises is logged",
    "holdfast/agents/supervision.py: Supervision._report": "a user's listener: what it raises is logged",
    "holdfast/agents/threads.py: DaemonThreads.submit.job": "a body: what it raises is its future's",
    "holdfast/app.py: _imported": "a user's module: what its import raises is told, with its place",
    "holdfast/chart/step.py: _Judge._ask": "a user's guard: what it raises is the reason of the refusal",
    "holdfast/integrations/celery/publisher.py: Publisher._work": "a broker's client: what it raises is logged",
    "holdfast/loops.py: LoopBound._is_alive": "a client's check: one that cannot answer is opened anew",
    "holdfast/resilience/breaker/breaker.py: CircuitBreaker._tell_one": "a user's listener: what it raises is logged",
    "holdfast/resilience/breaker/breaker.py: CircuitBreaker.classify": "a user's function: a failure, and logged",
    "holdfast/resilience/dependencies.py: Dependencies.tell": "a user's listener: what it raises is logged",
    "holdfast/resilience/dependencies.py: Door.call_or": "a call that is only wanted: its fallback is told",
    "holdfast/resilience/healer.py: Healer._probe_until_decided": "a user's probe: its breaker counts what it raises",
    "holdfast/resilience/traffic/retry.py: retry": "a user's call: tried again, or raised as it is",
    "holdfast/state/rules.py: fold": "a writer's function: what it raises is his own, and the others go on",
    "holdfast/store/sqlite/reader.py: Reader._answer": "a question: what it raises is told to whoever asked",
    "holdfast/testing/simulation/loop.py: SimulatedLoop.run_in_executor.run": "a job: what it raises is its waiter's",
    "holdfast/testing/simulation/loop.py: _bury": "last words of tasks that lost their power: they reach nobody",
    "holdfast/testing/simulation/node.py: Node._answer": "a call to a node: what it raises is its caller's",
    "holdfast/users/cleaning.py: _run": "an agent's clean-up: what it raises is told to whoever asked for it",
    "holdfast/users/emitter.py: UserEmitter._sent": "a user's bridge: what it raises is logged, the stream has it",
    "holdfast/users/engine.py: ExecutionEngine.run_pipeline": "an agent's call: raised with its stage and what is done",
    "holdfast/workflow/actors/actor.py: Actor._work": "a user's handler: what it raises goes into the run's journal",
    "holdfast/workflow/decisions/advance.py: ask": "a user's function: what it raises is a permanent failure",
    "holdfast/workflow/board/board.py: Board._attend": "the board: what ends one look degrades health alone",
    "holdfast/workflow/upkeep/keeper.py: Keeper.keep": "retention: what ends one pass degrades health alone",
    "holdfast/workflow/process/ownership.py: Ownership.keep": "the heartbeat: what ends a beat degrades health alone",
    "holdfast/workflow/recovery/scheduler.py: Scheduler._keep": "a schedule: what ends one look degrades health alone",
    "holdfast/workflow/recovery/recovery.py: RecoveryManager.keep": "the sweep: it degrades health alone",
    "holdfast/workflow/recovery/recovery.py: RecoveryManager.listen": "the look-out: it degrades health",
}
"""Functions ("place: qualified.name") that catch everything, and how each of them records it."""

LOADED_BY_NAME = frozenset(
    {
        "holdfast/agents/tools/child.py",
        "holdfast/app.py",
        "holdfast/cli/commands/soaking.py",
        "holdfast/store/servers/redis_clients.py",
        "holdfast/store/open.py",
        "holdfast/workflow/suspects.py",
        "holdfast_sre/diagnosis/rules/__init__.py",
        "holdfast_sre/repair/tree/schema.py",
    }
)
"""Places that may load a module by its name: a catalogue that grows by files, the workflows that a setting names, the
stores and the client whose drivers are extras, schemas that are slow to load, a tool in the process that runs it, what
only tests or their command need."""

NOT_AT_THE_FRONT_DOOR = frozenset(
    "asyncpg celery click cryptography fastapi hypothesis jinja2 kubernetes opentelemetry prometheus_client pydantic "
    "pytest redis ruamel typer uvicorn".split()
)
"""What `import holdfast` must not load: extras, the command line, and what only tests use. (structlog brings rich.)"""


# Fixtures: to parse it all takes seconds, which whoever only collects the tests need not spend; and while the trees are
# there, each look for garbage goes through millions of nodes.


@pytest.fixture(scope="module")
def library() -> Modules:
    return load(ROOT / "src", "holdfast")


@pytest.fixture(scope="module")
def bot() -> Modules:
    return load(ROOT / "src", "holdfast_sre")


@pytest.fixture(scope="module")
def sources(library: Modules, bot: Modules) -> Modules:
    return {**library, **bot}


@pytest.fixture(scope="module")
def everything(sources: Modules) -> Modules:
    return {**sources, **load(ROOT, "tests"), **load(ROOT, "benchmarks"), **load(ROOT, "examples")}


class TestStreet:
    def test_imports_point_downhill(self, library: Modules) -> None:
        assert uphill(library) == []

    def test_imports_within_a_room_point_down_its_stairs(self, library: Modules, bot: Modules) -> None:
        assert upstairs(library) + upstairs(bot) == []

    @pytest.mark.parametrize(
        ("importer", "statement"),
        [
            ("holdfast/workflow/model/run.py", "from holdfast.workflow.decisions.rules import decide"),
            ("holdfast/workflow/decisions/rules.py", "from holdfast.workflow.engine import Engine"),
            ("holdfast/workflow/board/board.py", "import holdfast.workflow.actors.actor"),
            ("holdfast/workflow/misc/text.py", ""),
            ("holdfast/store/decisions/rules.py", "from holdfast.store.sqlite import store"),
            ("holdfast/store/redis/store.py", "from holdfast.store.open import open_store"),
            ("holdfast_sre/evidence/dump.py", "from holdfast_sre.diagnosis.explain import explain"),
            ("holdfast_sre/repair/tree/roots.py", "from holdfast_sre.repair.propose import propose"),
            ("holdfast_sre/misc.py", ""),
        ],
    )
    def test_an_import_up_the_stairs_is_found(self, importer: str, statement: str) -> None:
        there = ("workflow/decisions/rules.py", "workflow/engine.py", "workflow/actors/actor.py")
        others = {f"holdfast/{place}": "" for place in (*there, "store/sqlite/store.py", "store/open.py")}
        others |= {f"holdfast_sre/{place}": "" for place in ("diagnosis/explain.py", "repair/propose.py")}
        (violation,) = upstairs(planted({**others, importer: statement}))
        assert violation.startswith(importer)

    def test_no_modules_import_each_other_in_a_ring(self, library: Modules, bot: Modules) -> None:
        assert cycles(library) + cycles(bot) == []

    def test_the_bot_uses_public_names_only(self, library: Modules, bot: Modules) -> None:
        assert deep_application_imports(bot, library, package="holdfast") == []

    def test_imports_stand_at_the_top(self, sources: Modules) -> None:
        assert hidden_imports(sources, may_load_by_name=LOADED_BY_NAME) == []

    @pytest.mark.parametrize(
        ("importer", "statement", "reason"),
        [
            ("holdfast/store/sqlite.py", "from holdfast.workflow.engine import Engine", "above store"),
            ("holdfast/store/sqlite.py", "import holdfast.workflow.engine", "above store"),
            ("holdfast/chart/step.py", "from holdfast.resilience import breaker", "beside chart"),
            ("holdfast/loops.py", "from holdfast.tasks import Supervisor", "beside loops"),
            ("holdfast/errors.py", "import holdfast.store", "above errors"),
            ("holdfast/store/sqlite.py", "from holdfast import Conflict", "the front door is for users"),
            ("holdfast/app.py", "from holdfast.testing import lab", "above app"),
            ("holdfast/__init__.py", "from holdfast.testing import lab", "leaves testing closed"),
            ("holdfast/integrations/server.py", "from holdfast.store import sqlite", "use the front door only"),
            ("holdfast/store/sqlite.py", "from holdfast.helpers import retry", "no place on the street"),
        ],
    )
    def test_an_uphill_import_is_found(self, importer: str, statement: str, reason: str) -> None:
        (violation,) = uphill(planted({importer: statement, "holdfast/resilience/breaker.py": ""}))
        assert violation.startswith(f"{importer}:1: ")
        assert reason in violation

    @pytest.mark.parametrize(
        ("importer", "statement"),
        [
            ("holdfast/clock.py", "from holdfast.errors import InvalidInput"),
            ("holdfast/store/sqlite.py", "from holdfast.store.decisions.rules import decide"),
            ("holdfast/workflow/engine.py", "from holdfast.chart import step"),
            ("holdfast/testing/lab.py", "from holdfast.app import run"),
            ("holdfast/integrations/server.py", "from holdfast import Engine"),
            ("holdfast/__init__.py", "from holdfast.app import run"),
        ],
    )
    def test_a_downhill_import_is_not(self, importer: str, statement: str) -> None:
        assert uphill(planted({importer: statement})) == []

    def test_a_room_without_a_place_is_found(self) -> None:
        assert "no place on the street" in uphill(planted({"holdfast/utils/text.py": ""}))[0]

    def test_a_ring_is_found_once(self) -> None:
        ring = {"a/x.py": "from a.y import f", "a/y.py": "from a import z", "a/z.py": "import a.x"}
        assert cycles(planted(ring)) == ["imports in a ring: a.x -> a.y -> a.z -> a.x"]

    @pytest.mark.parametrize(
        "statement",
        [
            "from holdfast.store import Store",
            "import holdfast",
            "import holdfast.errors",
            "from holdfast import secret",
        ],
    )
    def test_an_application_that_reaches_past_the_front_door_is_found(self, statement: str) -> None:
        front_door = planted({"holdfast/__init__.py": "__all__ = ['Engine']"})
        bot = planted({"bot/work.py": f"from holdfast import Engine\n{statement}"})
        (violation,) = deep_application_imports(bot, front_door, package="holdfast")
        assert violation.startswith("bot/work.py:2: ")

    @pytest.mark.parametrize(
        "text",
        [
            "def f():\n    import json",
            "try:\n    import json\nexcept ImportError:\n    json = None",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass",
            "import typing\nif typing.TYPE_CHECKING:\n    pass",
            "from . import rules",
            "import importlib\nimportlib.import_module('json')",
            "__import__('json')",
        ],
    )
    def test_a_hidden_import_is_found(self, text: str) -> None:
        assert len(hidden_imports(planted({"holdfast/chart/step.py": text}))) == 1


def is_pure_by_promise(module: Module) -> bool:
    """Whether the module promised to be pure: every `rules`, and what stands in a pure room; catalogues are not."""
    return ("rules" in module.name.split(".") or module.room in PURE_ROOMS) and module.place not in LOADED_BY_NAME


class TestPurity:
    def test_rules_and_pure_rooms_are_pure(self, library: Modules, bot: Modules) -> None:
        for modules in (library, bot):
            pure = [module for module in modules.values() if is_pure_by_promise(module)]
            assert [fault for module in pure for fault in impure(module, modules)] == []

    @pytest.mark.parametrize(
        "text",
        [
            "async def decide(): ...",
            "import asyncio",
            "import time",
            "from random import random",
            "import structlog",
            "import logging",
            "from os import environ",
            "from pathlib import Path",
            "import sqlite3",
            "from holdfast.clock import SystemClock",
            "from holdfast import clock",
            "def decide():\n    global seen",
            "def decide(path):\n    return open(path)",
            "def decide():\n    print()",
        ],
    )
    def test_an_impure_rule_is_found(self, text: str) -> None:
        modules = planted({"holdfast/locks/rules.py": text, "holdfast/clock.py": "import time"})
        assert len(impure(modules["holdfast.locks.rules"], modules)) == 1

    def test_impurity_is_found_through_an_import(self) -> None:
        modules = planted(
            {
                "holdfast/locks/rules.py": "from holdfast.locks.queue import f",
                "holdfast/locks/queue.py": "import socket",
            }
        )
        (violation,) = impure(modules["holdfast.locks.rules"], modules)
        assert violation.startswith("holdfast/locks/queue.py:1: ")
        assert "imported by holdfast/locks/rules.py" in violation

    def test_a_pure_rule_passes(self) -> None:
        text = "from datetime import datetime\nfrom holdfast.clock import utc\ndef decide(now): return utc(now)"
        modules = planted({"holdfast/locks/rules.py": text, "holdfast/clock.py": "import time"})
        assert impure(modules["holdfast.locks.rules"], modules) == []


class TestShape:
    def test_no_module_is_longer_than_the_ratchet(self, everything: Modules) -> None:
        assert long_modules(everything, LONGEST_MODULE_LINES) == []

    def test_no_function_is_longer_than_the_ratchet(self, everything: Modules) -> None:
        assert long_functions(everything, LONGEST_FUNCTION_LINES) == []

    def test_the_ratchets_are_within_the_limits(self) -> None:
        assert LONGEST_MODULE_LINES <= MODULE_LINES_MAX
        assert LONGEST_FUNCTION_LINES <= FUNCTION_LINES_MAX

    def test_rooms_have_their_furniture(self, library: Modules) -> None:
        assert missing_furniture(library, rooms_without_rules=ROOMS_WITHOUT_RULES) == []

    def test_every_module_opens_with_its_purpose(self, everything: Modules) -> None:
        assert without_purpose(everything) == []

    def test_a_long_module_is_found(self) -> None:
        modules = planted({"a/long.py": "x = 1\n" * 11, "a/short.py": "x = 1\n" * 10})
        assert [line.partition(":")[0] for line in long_modules(modules, 10)] == ["a/long.py"]

    def test_a_long_function_is_found_wherever_it_hides(self) -> None:
        text = "class A:\n    async def long(self):\n" + "        x = 1\n" * 10 + "    def short(self): ...\n"
        (violation,) = long_functions(planted({"a/b.py": text}), 10)
        assert violation.startswith("a/b.py:2: A.long has 11 lines")

    def test_missing_furniture_is_found(self) -> None:
        room = {f"holdfast/locks/{part}.py": "" for part in ("leases", "queue")}
        found = "\n".join(missing_furniture(planted({"holdfast/locks/__init__.py": '"""Locks."""', **room})))
        assert "needs 3 modules" in found
        assert "opens with a paragraph" in found
        assert "has no rules.py" in found

    def test_a_module_without_purpose_is_found(self) -> None:
        assert len(without_purpose(planted({"a/b.py": "x = 1", "a/c.py": '"""Says why."""'}))) == 1


class TestBans:
    def test_nobody_uses_what_is_banned(self, sources: Modules) -> None:
        assert banned(sources, exempt=EXEMPT) == []

    def test_everything_is_caught_at_the_boundaries_only(self, sources: Modules) -> None:
        seen = catch_alls(sources)
        assert {owner: lines for owner, lines in seen.items() if owner not in BOUNDARIES} == {}, "name the errors"

    def test_every_exemption_is_used(self, sources: Modules) -> None:
        by_place = {module.place: {module.name: module} for module in sources.values()}
        unused = [
            place for places in EXEMPT.values() for place in places if not banned(by_place.get(place, {}), exempt={})
        ]
        unused += [place for place in LOADED_BY_NAME if not hidden_imports(by_place.get(place, {}))]
        unused += BOUNDARIES.keys() - catch_alls(sources).keys()
        assert unused == [], "take these off the lists"

    @pytest.mark.parametrize(
        "text",
        [
            "import asyncio\nasyncio.wait_for(f(), 1)",
            "from asyncio import wait_for as patiently\npatiently(f(), 1)",
            "import asyncio\nasyncio.create_task(f())",
            "import asyncio\nasyncio.get_running_loop().create_task(f())",
            "def start(loop): loop.create_task(f())",
            "from datetime import datetime\ndatetime.now()",
            "import datetime as dt\nstamp = dt.datetime.utcnow",
            "from datetime import date\ndate.today()",
            "import time",
            "from time import monotonic",
            "import random",
            "from uuid import uuid4\nfield(default_factory=uuid4)",
            "import uuid\nuuid.uuid4()",
            "import os\nos.urandom(8)",
            "print('hello')",
        ],
    )
    def test_a_banned_call_is_found(self, text: str) -> None:
        assert len(banned(planted({"holdfast/workflow/engine.py": text}), exempt=EXEMPT)) == 1

    def test_a_task_group_is_not_naked(self) -> None:
        text = "async def f():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(g())"
        assert banned(planted({"holdfast/workflow/engine.py": text}), exempt={}) == []

    @pytest.mark.parametrize(
        "text",
        [
            "try:\n    f()\nexcept Exception:\n    pass",
            "try:\n    f()\nexcept (ValueError, BaseException) as error:\n    raise Other() from error",
            "try:\n    f()\nexcept:\n    g()",
            "import contextlib\nwith contextlib.suppress(Exception):\n    f()",
        ],
    )
    def test_a_catch_all_is_found(self, text: str) -> None:
        body = text.replace("\n", "\n        ")
        source = f"class Steps:\n    def run(self):\n        {body}"
        assert list(catch_alls(planted({"holdfast/x.py": source}))) == ["holdfast/x.py: Steps.run"]
        assert list(catch_alls(planted({"holdfast/x.py": text}))) == ["holdfast/x.py: the module"]

    @pytest.mark.parametrize(
        "text",
        [
            "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
            "try:\n    f()\nexcept ValueError:\n    pass",
            "import contextlib\nwith contextlib.suppress(KeyError):\n    f()",
        ],
    )
    def test_what_passes_on_or_names_its_error_is_not(self, text: str) -> None:
        assert catch_alls(planted({"holdfast/x.py": text})) == {}


class TestFrontDoor:
    def test_names_are_sorted_and_there(self) -> None:
        assert list(holdfast.__all__) == sorted(set(holdfast.__all__))
        assert [name for name in holdfast.__all__ if not hasattr(holdfast, name)] == []

    def test_every_name_has_a_docstring_of_its_own(self) -> None:
        assert undocumented({name: getattr(holdfast, name) for name in holdfast.__all__}) == []

    def test_every_name_is_imported_by_a_test(self) -> None:
        tests = load(ROOT, "tests").values()
        imported = {i.name for m in tests for i in imports(m) if i.module.partition(".")[0] == "holdfast"}
        assert sorted(set(holdfast.__all__) - imported) == []

    def test_it_loads_no_extras(self) -> None:
        assert loaded_by("import holdfast") & NOT_AT_THE_FRONT_DOOR == set()

    def test_a_missing_docstring_is_found(self) -> None:
        class Bare(ValueError):
            pass

        def told() -> None:
            """Says what it gives."""

        assert undocumented({"Bare": Bare, "told": told}) == ["Bare"]

    def test_a_loaded_extra_is_found(self) -> None:
        assert "typer" in loaded_by("import typer.main") & NOT_AT_THE_FRONT_DOOR


def undocumented(names: dict[str, object]) -> list[str]:
    """Names whose class or function has no docstring of its own. Plain values are told in their module."""
    texts = {
        name: vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
        for name, thing in names.items()
        if inspect.isclass(thing) or inspect.isroutine(thing)
    }
    return [name for name, text in texts.items() if not text]


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))
