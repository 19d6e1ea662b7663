"""holdfast with and without a codec: a line of states, whose runs carry data of BENCH_BYTES; BENCH_CODEC says which.

With a codec a journal row holds the whole sealed body instead of a patch: what is measured has both prices.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import FileWitness, Witness
from holdfast import Codec, Engine, Workflow
from holdfast.integrations.aes_gcm import AesGcm
from holdfast.workflow.actors.steps import RunContext

CODECS: dict[str, Codec | None] = {"": None, "aes": AesGcm({"k": bytes(range(32))}, current="k")}


def workflow(size: Size, witness: Witness, data_bytes: int) -> Workflow:
    """A line of states, each with one step, that hand on a text."""
    wf = Workflow("count")

    async def add(number: int) -> int:
        witness.saw_body()
        return number + 1

    async def count(ctx: RunContext) -> None:
        ctx.data.setdefault("text", "x" * data_bytes)
        ctx.data["number"] = await ctx.step("add", add, ctx.data.get("number", ctx.input))

    for place in range(size.steps):
        wf.state(f"s{place}", start=place == 0, to=f"s{place + 1}")(count)
    wf.final(f"s{size.steps}")
    return wf


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave started at once, by one user."""
    path = Path(place) / "holdfast.db"
    witness = FileWitness(path, "SELECT count(*) FROM events WHERE name = 'transition'")
    wf = workflow(size, witness, int(os.environ["BENCH_BYTES"]))
    async with Engine(f"sqlite:///{path}", wf, codec=CODECS[os.environ["BENCH_CODEC"]]) as engine:

        async def one(number: int) -> int:
            handle = await engine.start("count", number)
            result: int = (await handle.result())["number"]
            return result

        found = await measured(one, size, witness)
    file_bytes = sum(file.stat().st_size for file in Path(place).iterdir())
    return Measured(found.seconds, str(file_bytes), found.cpu_s)
