"""Where does the money for models go, and what may be had cheaper without getting slower? Four agents find out.

The chain triage -> supervisor -> data -> optimization, as one state of a durable workflow: the request is understood,
the work shared out, a day of model calls added up side by side, and for each service the cheapest model found that
keeps its latency objective. The calls are drawn from a seed, 20,000 of them; no model is asked, so that it runs
anywhere:

    python -m examples.spend
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast import (
    Agent,
    AgentCall,
    AgentEvent,
    AgentExecutionCore,
    AgentNetwork,
    Engine,
    RunContext,
    Workflow,
    agent,
)
from holdfast.clock import seeded_randomness

CALLS = 20_000
SEED = 7


class Model(msgspec.Struct, frozen=True):
    """What a model costs for a million tokens, how fast it writes, how long it thinks first, and how good it is."""

    usd_per_million: float
    tokens_per_s: float
    first_token_s: float
    quality: int


MODELS = {
    "grand": Model(30.0, 45.0, 1.1, 5),
    "solid": Model(6.0, 85.0, 0.6, 4),
    "swift": Model(1.2, 160.0, 0.35, 3),
    "tiny": Model(0.2, 300.0, 0.2, 2),
}


class Service(msgspec.Struct, frozen=True):
    """What a service asks for: tokens of a usual answer, the quality that it cannot do without, its latency
    objective."""

    model: str
    tokens: int
    quality_min: int
    p95_max_s: float
    share: float


SERVICES = {
    "support chat": Service("grand", 220, 3, 4.0, 0.46),
    "code review": Service("grand", 900, 5, 45.0, 0.08),
    "search rewriting": Service("solid", 30, 2, 0.8, 0.31),
    "summaries": Service("solid", 400, 3, 9.0, 0.15),
}


class Usage(msgspec.Struct, frozen=True):
    """One call of a model."""

    service: str
    tokens: int
    jitter: float


@dataclass
class Request:
    """What somebody wants, in words."""

    text: str


class Goal(msgspec.Struct, frozen=True):
    """What the request comes to."""

    wants: str
    keeps_latency: bool


class Order(msgspec.Struct, frozen=True):
    """What the supervisor has each source of data do."""

    goal: Goal
    services: tuple[str, ...]


class Figures(msgspec.Struct, frozen=True):
    """Of one service: how many calls, what they cost, and how long 95 of 100 took at most, with each model."""

    calls: int
    cost_usd: dict[str, float]
    p95_s: dict[str, float]


class Advice(msgspec.Struct, frozen=True):
    """One line of the plan."""

    service: str
    now: str
    then: str
    cost_usd: float
    saves_usd: float
    p95_s: float


def a_day_of_calls(seed: int = SEED, calls: int = CALLS) -> list[Usage]:
    """The calls of one day, always the same for the same seed."""
    chance = seeded_randomness(seed)
    names, shares = list(SERVICES), [service.share for service in SERVICES.values()]
    found = []
    for _ in range(calls):
        draw, name = chance.random(), names[-1]
        for each, share in zip(names, shares, strict=True):
            draw -= share
            if draw < 0:
                name = each
                break
        usual = SERVICES[name].tokens
        found.append(Usage(name, int(usual * (0.3 + 1.4 * chance.random())), 0.8 + 0.6 * chance.random()))
    return found


@agent(type="triage")
async def triage(request: Request) -> Goal:
    """What is asked for: less money, or less waiting; and whether latency has to be kept."""
    words = request.text.lower()
    wants = "cost" if any(word in words for word in ("cost", "spend", "cheap", "money")) else "latency"
    return Goal(wants, keeps_latency="whatever it takes" not in words)


@agent(type="supervisor")
async def supervisor(goal: Goal) -> Order:
    """Shares the work out: the services with the most calls first."""
    return Order(goal, tuple(sorted(SERVICES, key=lambda name: -SERVICES[name].share)))


def data_of(service: str) -> Agent:
    """The agent that adds one service's calls up, as each model would have served them."""

    async def add_up(order: Order, call: AgentCall) -> Figures:
        mine = [usage for usage in a_day_of_calls() if usage.service == service]
        cost: dict[str, float] = defaultdict(float)
        took: dict[str, list[float]] = defaultdict(list)
        for number, usage in enumerate(mine):
            for name, model in MODELS.items():
                cost[name] += usage.tokens * model.usd_per_million / 1_000_000
                took[name].append((model.first_token_s + usage.tokens / model.tokens_per_s) * usage.jitter)
            if number % 2_000 == 1_999:
                call.progress(calls=number + 1)
                await asyncio.sleep(0)
        p95 = {name: sorted(each)[int(len(each) * 0.95)] for name, each in took.items()}
        return Figures(len(mine), dict(cost), p95)

    return Agent(add_up, name=f"data: {service}", type="data")


@agent(type="optimization")
async def optimization(found: dict[str, Any], call: AgentCall) -> list[Advice]:
    """For each service the cheapest model that is good enough and keeps the objective; for latency, the fastest."""
    order = msgspec.convert(found["supervisor"], Order)
    plan = []
    for name in order.services:
        figures, service = msgspec.convert(found[f"data: {name}"], Figures), SERVICES[name]
        fit = [
            model
            for model, what in MODELS.items()
            if what.quality >= service.quality_min
            and (figures.p95_s[model] <= service.p95_max_s or not order.goal.keeps_latency)
        ]
        by = figures.cost_usd if order.goal.wants == "cost" else figures.p95_s
        best = min(fit, key=by.__getitem__, default=service.model)
        saves = figures.cost_usd[service.model] - figures.cost_usd[best]
        plan.append(Advice(name, service.model, best, figures.cost_usd[best], saves, figures.p95_s[best]))
        call.progress(f"{name}: {best}")
    return sorted(plan, key=lambda advice: -advice.saves_usd)


DATA = [data_of(service) for service in SERVICES]
network = AgentNetwork(
    "spend",
    [[triage], [supervisor], DATA, [optimization]],
    [
        ("triage", "supervisor"),
        *[("supervisor", each.name) for each in DATA],
        *[(each.name, "optimization") for each in DATA],
        ("supervisor", "optimization"),
    ],
)


def in_words(plan: list[Advice]) -> str:
    """The plan as a person wants to read it."""
    lines = [f"{'service':<18}{'now':<8}{'then':<8}{'a day':>10}{'saves':>10}{'p95':>8}"]
    lines += [
        f"{each.service:<18}{each.now:<8}{each.then:<8}"
        f"{each.cost_usd:>8.2f} ${each.saves_usd:>8.2f} ${each.p95_s:>6.1f} s"
        for each in plan
    ]
    saved, left = sum(each.saves_usd for each in plan), sum(each.cost_usd for each in plan)
    lines.append(f"{saved:.2f} $ of {saved + left:.2f} $ a day are saved: {100 * saved / (saved + left):.0f} %")
    return "\n".join(lines)


def told(event: AgentEvent) -> str:
    """An event in a line."""
    facts = {name: value for name, value in event.facts.items() if name not in ("took_s", "type")}
    return f"  {event.agent:<24}{event.kind:<10}{' '.join(str(value) for value in facts.values())}".rstrip()


async def main(url: str = "memory:", text: str = "What do our models cost, and how do we spend less?") -> str:
    """Run it as a durable workflow on the store at `url`; what there is to read."""
    lines: list[str] = []
    async with AgentExecutionCore() as core:
        wf = Workflow("spend", data=dict)

        @wf.state("advise", start=True, to="advised")
        async def advise(ctx: RunContext) -> None:
            request = Request(ctx.input["text"])
            result = await network.run_in(ctx, request, core=core, emit=lambda event: lines.append(told(event)))
            ctx.data["plan"] = result.output

        wf.final("advised")
        async with Engine(url, wf, durable=not url.startswith("memory")) as engine:
            run = await engine.start("spend", {"text": text}, id="SPEND-1", user="ana")
            data = await run.result()
    return "\n".join([text, *lines, "", in_words(msgspec.convert(data["plan"], list[Advice]))])


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(main()) + "\n")
