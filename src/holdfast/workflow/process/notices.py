"""Word from one process to another about a run it owns: look at its inbox, or: it is not yours any more.

Only hints: whoever misses one finds out from the store, by the epoch or at the next sweep.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from holdfast import codec
from holdfast.errors import HoldfastError
from holdfast.store.contract.records import SYSTEM_TENANT, Change, Delete, Key, Put, Query, Scope
from holdfast.workflow.model.run import NOTICE
from holdfast.workflow.process.runtime import Runtime

Word = Literal["look", "lost"]


class Notice(NamedTuple):
    """Word about a run as of its epoch `epoch`: who owns it by a later one has heard of a past that is over."""

    run_id: str
    word: Word
    epoch: int


async def leave_notice(runtime: Runtime, owner: str, run_id: str, word: Word, *, epoch: int) -> None:
    """Leave `word` about a run, whose epoch is `epoch` now, for the process `owner`."""
    body = codec.encode({"word": word, "epoch": epoch})
    put = Put(key=Key(SYSTEM_TENANT, "", NOTICE, f"{owner}/{run_id}"), body=body, expect=None)
    try:
        await runtime.store.commit(Scope.system(), Change(change_id=runtime.change_id(), writes=(put,)))
    except HoldfastError:
        return


async def take_notices(runtime: Runtime) -> list[Notice]:
    """What others left for this process, once. Raises Conflict, and takes nothing, where more came in meanwhile about
    the same run: look again."""
    prefix = f"{runtime.process_id}/"
    page = await runtime.store.scan(Scope.system(), Query(kind=NOTICE, prefix=prefix), limit=1000)
    if not page.records:
        return []
    seen = tuple(Delete(key=record.key, expect=record.version) for record in page.records)
    await runtime.store.commit(Scope.system(), Change(change_id=runtime.change_id(), writes=seen))
    told = [(record.key.id.removeprefix(prefix), codec.decode(record.body)) for record in page.records]
    return [Notice(run_id, body["word"], body.get("epoch", 0)) for run_id, body in told]
