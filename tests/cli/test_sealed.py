"""The command line on a sealed store: with the codec all is read, without it all that needs none still works."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast import Engine
from holdfast.cli import rules
from holdfast.integrations.aes_gcm import AesGcm
from holdfast.integrations.masked import Masked
from tests.cli.conftest import CODE, Answer, Call
from tests.cli.shop import HASH, settled, workflow

codec = AesGcm({"k1": bytes(32)}, current="k1")
other = AesGcm({"k2": bytes(32)}, current="k2")
for_operators = Masked(codec, fields=["item"])
no_codec = object()


def made() -> AesGcm:
    """A codec as a function gives it."""
    return codec


HERE = "tests.cli.test_sealed"
CODEC = ("--codec", f"{HERE}:codec")


@pytest.fixture(autouse=True)
def runs(store: str) -> None:
    """INC-0 in review, sealed."""

    async def fill() -> None:
        async with Engine(store, workflow, codec=codec) as engine:
            await engine.start("shop", "lamp", id="INC-0", user="ana")
            await settled(engine, "INC-0", "ana")

    asyncio.run(fill())


@pytest.mark.parametrize("place", ["codec", "made"])
def test_what_is_sealed_is_shown_by_its_codec(call: Call, place: str) -> None:
    (line,) = call("ps", "--json", "--codec", f"{HERE}:{place}").documents
    assert (line["ticket"], line["where"]) == ("INC-0", ["review:awaiting"])
    (page,) = call("show", "INC-0", "--json", "--codec", f"{HERE}:{place}").documents
    assert (page["data"]["item"], page["input"]) == ("lamp", "lamp")


def test_the_codec_comes_from_the_environment_or_the_file(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "holdfast.toml").write_text(f'codec = "{HERE}:codec"\n', "utf-8")
    assert call("ps").code == 0
    monkeypatch.setenv("HOLDFAST_CODEC", f"{HERE}:other")
    assert call("show", "INC-0").code == rules.USAGE, "the environment goes before the file"


def test_it_decides_and_an_engine_goes_on(call: Call, store: str) -> None:
    assert call("request-changes", "INC-0", "--about", f"{HASH}1", *CODEC, *CODE).code == 0
    (page,) = call("show", "INC-0", "--json", *CODEC).documents
    assert page["data"]["item"] == "lamp"


@pytest.mark.parametrize("words", [("ps",), ("show", "INC-0"), ("cancel", "INC-0"), ("worker", *CODE)])
def test_without_a_codec_it_says_what_to_do(call: Call, words: tuple[str, ...]) -> None:
    answer = call(*words)
    assert answer.code == rules.USAGE
    assert "--codec module:object, HOLDFAST_CODEC or `codec` in holdfast.toml" in " ".join(answer.err.split())


def test_without_the_key_it_says_which(call: Call) -> None:
    answer = call("show", "INC-0", "--codec", f"{HERE}:other")
    assert answer.code == rules.USAGE, "not damage: nobody is sent for his last backup"
    assert "expected key 'k1', saw only ['k2']" in " ".join(answer.err.split())


def test_one_run_under_another_key_does_not_hide_the_others(call: Call, store: str) -> None:
    async def fill() -> None:
        async with Engine(store, workflow, codec=other) as engine:
            await engine.start("shop", "flaky", id="INC-9", user="eve")
            await settled(engine, "INC-9", "eve")

    asyncio.run(fill())
    lines = {line["ticket"]: line for line in call("ps", "--json", *CODEC).documents}
    assert lines.keys() == {"INC-0", "INC-9"}
    assert (lines["INC-9"]["status"], lines["INC-9"]["where"], lines["INC-9"]["user"]) == (
        "waiting",
        ["error_handling"],
        "eve",
    )
    assert lines["INC-9"]["reason"] == "sealed under a key that this codec does not have"
    assert lines["INC-0"]["where"] == ["review:awaiting"]


def test_doctor_needs_no_key_but_for_the_locks(call: Call, store: str) -> None:
    async def hold_while(words: tuple[str, ...]) -> Answer:
        async with Engine(store, workflow, codec=codec) as engine, engine.lock("repository", "lamp", user="ana"):
            return await asyncio.to_thread(call, "doctor", "--json", *words)

    assert call("pause", "INC-0", *CODEC).code == 0
    for words, locks in (((), 0), (CODEC, 1)):
        (page,) = asyncio.run(hold_while(words)).documents
        assert len(page["facts"]["locks"]) == locks
        assert page["facts"]["counts"]["paused"] == 1


@pytest.mark.parametrize("place", ["nowhere:codec", f"{HERE}:lost", f"{HERE}:no_codec", "codec"])
def test_a_place_without_a_codec_is_refused(call: Call, place: str) -> None:
    answer = call("ps", "--codec", place)
    assert answer.code == rules.USAGE
    assert "codec" in answer.err


def test_what_an_operator_sees_is_masked_and_what_he_decides_loses_nothing(call: Call) -> None:
    masks = ("--codec", f"{HERE}:for_operators")
    (page,) = call("show", "INC-0", "--json", *masks).documents
    assert page["data"]["item"].startswith("***")
    assert call("pause", "INC-0", *masks).code == 0
    (page,) = call("show", "INC-0", "--json", *CODEC).documents
    assert (page["run"]["status"], page["data"]["item"]) == ("paused", "lamp")


def test_what_needs_no_key_works_without_one(call: Call, tmp_path: Path) -> None:
    assert call("verify").code == 0
    assert call("backup", str(tmp_path / "b.db")).code == 0
    (page,) = call("restore", str(tmp_path / "b.db"), "--drill", "--json").documents
    assert (page["is_good"], page["states"]) == (True, {"shop@1 sealed": 1})
    (page,) = call("restore", str(tmp_path / "b.db"), "--drill", "--json", *CODEC).documents
    assert (page["is_good"], page["states"]) == (True, {"shop@1 review:awaiting": 1})
    assert call("repair").code == 0
