"""Word from one process to another about a run it owns: look at its inbox, or: it is not yours any more.

Only hints: whoever misses one finds out from the store, by the epoch or at the next sweep.
"""

from __future__ import annotations

from typing import Literal

from holdfast import codec
from holdfast.errors import HoldfastError
from holdfast.store.records import SYSTEM_TENANT, Change, Key, Put, Query, RemovePrefix, Scope
from holdfast.workflow.run import NOTICE
from holdfast.workflow.runtime import Runtime

Word = Literal["look", "lost"]


async def leave_notice(runtime: Runtime, owner: str, run_id: str, word: Word) -> None:
    """Leave `word` about a run for the process `owner`."""
    put = Put(key=Key(SYSTEM_TENANT, "", NOTICE, f"{owner}/{run_id}"), body=codec.encode({"word": word}), expect=None)
    try:
        await runtime.store.commit(Scope.system(), Change(change_id=runtime.change_id(), writes=(put,)))
    except HoldfastError:
        return


async def take_notices(runtime: Runtime) -> list[tuple[str, Word]]:
    """What others left for this process, once."""
    prefix = f"{runtime.process_id}/"
    page = await runtime.store.scan(Scope.system(), Query(kind=NOTICE, prefix=prefix), limit=1000)
    if not page.records:
        return []
    clear = RemovePrefix(tenant=SYSTEM_TENANT, user="", kind=NOTICE, prefix=prefix)
    await runtime.store.commit(Scope.system(), Change(change_id=runtime.change_id(), removes=(clear,)))
    return [(record.key.id.removeprefix(prefix), codec.decode(record.body)["word"]) for record in page.records]
