"""Runs at desks of their own, in a module that any process can import; the work of number 0 kills its process.

Where a file `slow` lies beside the ledger, the killer stays at work instead. Where HOLDFAST_TEST_REFUSES names a
program, this module cannot be imported in any other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from holdfast import RunContext, Workflow
from holdfast.integrations.aes_gcm import AesGcm
from tests.engine.crash.ledger import Ledger

WORK_S = 0.05
LEDGER = Path(os.environ["HOLDFAST_TEST_LEDGER"])
if "HOLDFAST_TEST_REFUSES" in os.environ and os.environ["HOLDFAST_TEST_REFUSES"] not in sys.argv[0]:
    raise ImportError("this module works in one program only")

ledger = Ledger(LEDGER)
codec = AesGcm({"k": bytes(32)}, current="k")
wf = Workflow("killers", data=dict)


@wf.state("work", start=True, to="done")
async def work(ctx: RunContext) -> None:
    async def toil(*, key: str) -> None:
        ledger.add("work", key)
        if ctx.input["number"] == 0:
            if LEDGER.with_name("slow").exists():
                ledger.add("stuck")
                await asyncio.Event().wait()
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(WORK_S)

    await ctx.step("toil", toil)


wf.final("done")
