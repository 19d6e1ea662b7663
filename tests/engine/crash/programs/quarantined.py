"""Works on the runs of `killers` until each has ended or was set aside; `stays`: until its input ends. It holds
"sealed": on a sealed store."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from tests.engine.crash.programs.world import USER, Plan

plan = msgspec.json.decode(sys.argv[1], type=Plan)
os.environ["HOLDFAST_TEST_LEDGER"] = plan.ledger
if "refuses" in plan.holds:
    os.environ["HOLDFAST_TEST_REFUSES"] = os.path.basename(sys.argv[0])

from holdfast import Engine, WorkflowError  # noqa: E402
from tests.engine.crash.programs import killers  # noqa: E402 - it reads what was set above


async def main() -> None:
    codec = killers.codec if "sealed" in plan.holds else None
    async with Engine(plan.url, killers.wf, codec=codec, **plan.engine) as engine:
        for number in range(plan.starts):
            await engine.start("killers", {"number": number}, id=f"T-{number}", user=USER)
        if plan.stays:
            await asyncio.to_thread(sys.stdin.read)
            return
        for number in range(plan.awaits):
            run = await engine.get(f"T-{number}", user=USER)
            try:
                await run.result()
            except WorkflowError:
                killers.ledger.add("set aside", run.ticket_id)
        if (quarantine := engine.inside.recovery.quarantine) is not None:
            killers.ledger.add("settled", quarantine.why_not or "")


if __name__ == "__main__":
    asyncio.run(main())
