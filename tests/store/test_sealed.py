"""A store whose bodies are sealed: nothing plain reaches the disk, and only the right key in the right place opens."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast import About, CannotOpen, Codec, Corrupt, Engine, InvalidInput, Retry, RunContext, SealedStore, Workflow
from holdfast.integrations.aes_gcm import AesGcm
from holdfast.store.contract.records import Query
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_sealed, open_store
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance import AdminContract, StoreContract
from holdfast.testing.conformance.samples import ANA, change, event, key, put, read_one
from holdfast.testing.servers import ValkeyServer
from tests.cli import shop

OLD, NEW = os.urandom(32), os.urandom(32)
CANARY = "canary-5f1d"
BODY = b'{"secret":"canary-5f1d"}'
TWICE = 2 * 1024 * 1024


def sealed(inner: Any, current: str = "old") -> SealedStore:
    return SealedStore(inner, AesGcm({"old": OLD, "new": NEW}, current=current))


def bytes_below(folder: Path) -> bytes:
    """The database, its log, and all that lies beside it."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


class TestContract(StoreContract, AdminContract):
    @pytest.fixture(params=["memory", "sqlite"])
    def open_store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        if request.param == "memory":
            return lambda clock=None: sealed(MemoryStore(clock=clock, payload_bytes_max=TWICE))
        return lambda clock=None: sealed(SqliteStore(tmp_path / "s.db", clock=clock, payload_bytes_max=TWICE))


class TestOnTheMirror(StoreContract, AdminContract):
    """PostgreSQL, with a cache that holds sealed bodies too."""

    @pytest.fixture
    def open_store(self, database: str, valkey_server: ValkeyServer) -> Any:
        url, codec = f"hybrid+{database}?cache={valkey_server.url}", AesGcm({"old": OLD}, current="old")
        return lambda clock=None: open_sealed(url, codec, clock=clock)


class TestOnRedis(StoreContract, AdminContract):
    @pytest.fixture
    def open_store(self, valkey_server: ValkeyServer, namespace: str) -> Any:
        url, codec = f"{valkey_server.url}?namespace={namespace}", AesGcm({"old": OLD}, current="old")
        return lambda clock=None: open_sealed(url, codec, clock=clock)


async def test_a_new_key_writes_and_the_old_one_still_reads() -> None:
    inner = MemoryStore(payload_bytes_max=TWICE)
    await sealed(inner).commit(ANA, change(put("a", body=BODY)))
    newer = sealed(inner, "new")
    assert (await read_one(newer, "a")).body == BODY
    await newer.commit(ANA, change(put("b", body=BODY)))
    only_new = SealedStore(inner, AesGcm({"new": NEW}, current="new"))
    assert (await read_one(only_new, "b")).body == BODY
    with pytest.raises(CannotOpen, match="expected key 'old', saw only"):
        await read_one(only_new, "a")
    page = await only_new.scan(ANA, Query(kind=key("a").kind))
    assert [record.body == BODY for record in page.records] == [False, True], "one that is locked stops no others"


async def test_a_wrong_key_under_the_right_id_is_refused() -> None:
    inner = MemoryStore(payload_bytes_max=TWICE)
    await sealed(inner).commit(ANA, change(put("a", body=BODY)))
    with pytest.raises(CannotOpen, match="another key"):
        await read_one(SealedStore(inner, AesGcm({"old": NEW}, current="old")), "a")


async def test_a_body_moved_to_another_record_does_not_open() -> None:
    inner = MemoryStore(payload_bytes_max=TWICE)
    await sealed(inner).commit(ANA, change(put("a", body=BODY)))
    (found,) = await inner.read(ANA, [key("a")])
    assert found is not None
    await inner.commit(ANA, change(put("b", body=found.body)))
    with pytest.raises(CannotOpen):
        await read_one(sealed(inner), "b")


async def test_the_store_inside_verifies_and_its_journal_is_read_plain() -> None:
    inner = MemoryStore(payload_bytes_max=TWICE)
    store = sealed(inner)
    await store.commit(ANA, change(put("a", body=BODY), event("a", body=b'{"by":1}', delta=b'{"full":%b}' % BODY)))
    assert (await inner.verify()).is_clean
    (told,) = await store.events(ANA, record=key("a"))
    assert (told.body, told.delta) == (b'{"by":1}', b'{"full":%b}' % BODY)


async def test_what_was_there_before_the_codec_is_read_and_sealed_by_its_next_write() -> None:
    inner = MemoryStore(payload_bytes_max=TWICE)
    await inner.commit(ANA, change(put("a", body=BODY)))
    store = sealed(inner)
    assert (await read_one(store, "a")).body == BODY
    await store.commit(ANA, change(replace(put("a", body=BODY), expect=1)))
    assert CANARY.encode() not in (await read_one(inner, "a")).body


async def test_no_secret_of_a_run_reaches_the_disk(tmp_path: Path) -> None:
    wf = Workflow("letter", data=dict)

    async def fetch(text: str) -> str:
        return text * 100_000

    @wf.state("write", to="sent", start=True, retry=Retry(attempts_max=1), on_error="failed")
    async def write(ctx: Any) -> None:
        ctx.data["copy"] = ctx.input["text"]
        await ctx.step(fetch, ctx.input["text"])
        raise ValueError(f"cannot send {CANARY}")

    wf.final("sent", "failed")
    place = tmp_path / "runs.db"
    store = sealed(open_store(f"sqlite:///{place}", payload_bytes_max=TWICE))
    async with Engine(store, wf) as engine:
        run = await engine.start("letter", {"text": CANARY}, id="L-1", user="ana")
        await run.reach("failed")
        assert CANARY.encode() not in bytes_below(tmp_path)
    await store.close()
    assert CANARY.encode() not in bytes_below(tmp_path)


class Rot13:
    """A codec of one's own; no secret."""

    def __init__(self) -> None:
        self.seen: set[About] = set()

    def encode(self, data: bytes, about: About) -> bytes:
        self.seen.add(about)
        return codecs.encode(data.decode(), "rot13").encode()

    def decode(self, data: bytes, about: About) -> bytes:
        return codecs.decode(data.decode(), "rot13").encode()


async def test_a_codec_of_ones_own_is_told_what_it_seals() -> None:
    codec = Rot13()
    given: Codec = codec
    store = SealedStore(MemoryStore(payload_bytes_max=TWICE), given)
    await store.commit(ANA, change(put(at=key("one"), body=BODY)))
    record = await read_one(store, key("one"))
    assert record is not None
    assert record.body == BODY
    assert {about.user for about in codec.seen} == {key("one").user}
    await store.close()


async def test_a_run_goes_on_under_the_keys_in_another_engine_and_not_without_them(tmp_path: Path) -> None:
    """The first engine is gone in mid-run; one without the key harms nothing, and works on the others."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    workflow = Workflow("letter", data=dict)
    written: list[str] = []

    @workflow.state("write", start=True, to="review")
    async def write(ctx: RunContext) -> None:
        ctx.data["text"] = await ctx.step("text", str.upper, ctx.input["text"])
        written.append(ctx.data["text"])

    workflow.wait("review", on={"send": "sent"})
    workflow.final("sent")
    inner = open_store(url, payload_bytes_max=TWICE)
    async with Engine(sealed(inner), workflow) as engine:
        run = await engine.start("letter", {"text": CANARY}, id="L-1")
        await run.reach("review")
    await inner.close()
    assert CANARY.encode() not in bytes_below(tmp_path)
    assert CANARY.upper().encode() not in bytes_below(tmp_path)

    inner = open_store(url, payload_bytes_max=TWICE)
    lost = SealedStore(inner, AesGcm({"other": NEW}, current="other"))
    async with Engine(lost, workflow) as engine:
        with pytest.raises(Corrupt):
            await (await engine.get("L-1")).refresh()
        other = await engine.start("letter", {"text": "plain"}, id="L-2")
        await other.reach("review")
    await inner.close()

    inner = open_store(url, payload_bytes_max=TWICE)
    async with Engine(sealed(inner, current="new"), workflow) as engine:
        again = await engine.get("L-1")
        await again.send("send", by="ana")
        assert await again.result() == {"text": CANARY.upper()}
    assert (await inner.verify()).is_clean
    await inner.close()
    assert written == [CANARY.upper(), "PLAIN"]


async def test_an_engine_seals_what_its_url_names(tmp_path: Path) -> None:
    """And one without a codec is refused there, before it writes anything plain."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    workflow = Workflow("letter", data=dict)
    workflow.wait("review", start=True, on={"send": "sent"})
    workflow.final("sent")
    codec = AesGcm({"old": OLD}, current="old")
    async with Engine(url, workflow, codec=codec) as engine:
        await engine.start("letter", {"text": CANARY * 30_000}, id="L-1")
        await engine.start("letter", {"text": CANARY}, id="L-2")
    assert CANARY.encode() not in bytes_below(tmp_path)
    for works in (True, False):
        with pytest.raises(CannotOpen, match=r"expected a codec.*Engine\(url, ..., codec=...\)"):
            async with Engine(url, workflow, works=works):
                pass
    async with Engine(url, workflow, codec=codec, works=False) as door:
        run = await door.client().get("L-1")
        await run.send("send", by="ana")
        assert run.state == "sent"


async def test_a_store_is_sealed_once_and_takes_what_sealing_makes_of_the_largest_body() -> None:
    with pytest.raises(InvalidInput, match="open_store\\(url, payload_bytes_max=2097152\\)"):
        sealed(MemoryStore())
    with pytest.raises(InvalidInput, match="without a codec, saw one before it"):
        sealed(sealed(MemoryStore(payload_bytes_max=TWICE)))
    store = sealed(MemoryStore(payload_bytes_max=TWICE))
    largest = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    await store.commit(ANA, change(put("a", body=largest), event("a")))
    assert (await read_one(store, "a")).body == largest


async def test_suspects_are_not_tried_apart_where_the_codec_cannot_be_found_again() -> None:
    """A store that the caller opened cannot be opened by another process, nor can a codec that is in no module."""
    workflow = Workflow("letter", data=dict)
    workflow.final("sent")
    workflow.wait("review", start=True, on={"send": "sent"})
    inner = open_store("memory:", payload_bytes_max=TWICE)
    async with Engine(sealed(inner), workflow) as engine:
        assert engine.inside.recovery.quarantine is None


async def test_a_codec_in_no_module_is_named_where_suspects_would_be_tried(tmp_path: Path) -> None:
    codec = AesGcm({"old": OLD}, current="old")
    async with Engine(f"sqlite:///{tmp_path / 'runs.db'}", shop.workflow, codec=codec) as engine:
        quarantine = engine.inside.recovery.quarantine
        assert quarantine is not None
        assert not quarantine.send()
        assert "codec AesGcm(['old'], current='old') is not an attribute of a module" in str(quarantine.why_not)


async def test_a_checkpoint_puts_its_run_back_without_a_key(tmp_path: Path) -> None:
    """`repair` of the store inside; the contract has the ways in which a journal fails to tell."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    codec = AesGcm({"old": OLD}, current="old")
    async with Engine(url, shop.workflow, codec=codec) as engine:
        run = await engine.start("shop", "lamp", id="INC-0", user="ana")
        await run.reach("review.awaiting")
        await engine.client("ana").checkpoint("INC-0", "kept")
    inner = open_store(url, payload_bytes_max=TWICE)
    key_ = run.run.key
    async with inner.snapshot() as view:
        history = await anext(each async for each in view.histories() if each.key == key_)
    assert history.row is not None
    spoilt = replace(history.row.record, body=b'"lost"')
    await inner.load([replace(history, row=history.row._replace(record=spoilt), events=())])
    (words,) = await inner.repair()
    assert "rebuilt from its copy 'kept'" in words
    await inner.close()
    async with Engine(url, shop.workflow, codec=codec) as engine:
        again = await engine.get("INC-0", user="ana")
        assert again.data.item == "lamp"
        (copy,) = [each for each in await engine.client("ana").checkpoints("INC-0") if each.name]
        assert copy.state == "review:awaiting"
