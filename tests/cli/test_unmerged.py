"""unmerged: what an outage of Redis left aside is listed, drawn and dropped; a command itself falls back on nothing."""

from __future__ import annotations

import asyncio

from holdfast.store.contract.records import Change, Record
from holdfast.store.fallback.rules import Found, Kept, Written, kept_changes
from holdfast.store.open import open_store
from holdfast.testing.conformance.samples import ANA, change, event, key, put
from holdfast.testing.servers import free_port
from tests.cli.conftest import Call


async def leave_aside(url: str) -> None:
    """What an outage leaves that wrote run `a`, as others did."""
    store = open_store(url)
    await store.commit(ANA, change(put("a", body=b'"theirs"')))
    (theirs,) = await store.read(ANA, [key("a")])
    sent = change(put("a", body=b'"ours"'), event("a"), change_id="c1")
    ours = await _alone(sent)
    entry = Written(scope=ANA, change=sent, before={key("a"): None}, after={key("a"): ours}, at=1.0)
    kept = Kept("others changed run a meanwhile", {key("a"): ("",)})
    for each in kept_changes(entry, {key("a"): Found(theirs)}, kept, rows_max=100):
        await store.commit(ANA, each)
    await store.close()


async def _alone(sent: Change) -> Record | None:
    store = open_store("memory:")
    await store.commit(ANA, sent)
    return (await store.read(ANA, [key("a")]))[0]


def test_it_is_listed_drawn_and_dropped(call: Call, store: str) -> None:
    asyncio.run(leave_aside(store))
    (line,) = call("unmerged", "--json").documents
    assert (line["id"], line["of_kind"], line["of_id"], line["value"]) == ("c1/0", "run", "a", "ours")
    assert (line["expected"], line["seen"], line["is_deleted"]) == (0, 1, False)
    drawn = call("unmerged").out
    assert '"ours"' in drawn
    assert "others changed run a" in drawn
    assert call("unmerged", "c1/0", "--json").documents == [line]
    assert call("unmerged", "--drop").code == 1
    assert call("unmerged", "nothing").code == 1
    assert "dropped" in call("unmerged", "c1/0", "--drop").out
    assert call("unmerged", "--json").documents == []
    assert "nothing was left aside" in call("unmerged").out


def test_a_command_shows_redis_or_nothing(call: Call) -> None:
    answer = call("ps", "--store", f"redis://127.0.0.1:{free_port()}/0?fallback=memory")
    assert (answer.code, "expected a server that answers" in answer.err) == (3, True)
