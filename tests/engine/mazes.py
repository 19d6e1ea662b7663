"""A workflow with something of everything, for tests that wander through it at random."""

from __future__ import annotations

from holdfast import RunContext, Workflow

SIGNALS = ("left", "right", "back", "fail")


def maze() -> Workflow:
    """Regions, retries, a lock, timers, a deadline, escalation, and data that grows and shrinks."""
    workflow = Workflow("maze", data=dict, escalate_to="human", deadline="1h")

    @workflow.state("hall", start=True, to="doors", lock=lambda data: ("key", "maze"))
    async def hall(ctx: RunContext) -> None:
        ctx.data["rounds"] = ctx.data.get("rounds", 0) + 1
        ctx.data["path"] = [*ctx.data.get("path", []), "hall"][-3:]
        ctx.note("in the hall", rounds=ctx.data["rounds"])

    workflow.wait("doors", on={"left": "rooms", "right": "tower", "fail": "trap"}, after={"5s": "tower"}, sla="3s")
    workflow.parallel("rooms", to="hall", on={"back": "doors"})
    for room in ("red", "blue"):

        @workflow.state(f"rooms.{room}", timeout_s=30)
        async def visit(ctx: RunContext, room: str = room) -> None:
            await ctx.sleep(1 if room == "red" else 2)
            ctx.data[room] = {"seen": ctx.data.get(room, {}).get("seen", 0) + 1}

    @workflow.state("trap", to="hall")
    async def trap(ctx: RunContext) -> None:
        if ctx.data.pop("red", None) is None or ctx.attempt < 2:
            raise ConnectionError("caught")

    workflow.wait("tower", on={"back": "hall", "left": "out"})
    workflow.wait("human", on={"back": "hall"})
    workflow.final("out")
    return workflow
