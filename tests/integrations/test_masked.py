"""Masks: what is stored is whole, what is shown is not, and what comes back through a mask is what it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import About, CannotOpen, Engine, InvalidInput, Rejected, RunContext, Workflow
from holdfast.integrations import masked as room
from holdfast.integrations.aes_gcm import AesGcm
from holdfast.integrations.masked import Masked

MASK = re.compile(r"\*\*\*[0-9a-f]{8}")
MAIL = r"[\w.]+@[\w.]+"
RUN = About("main", "ana", "run", "r-1", "record")
MEMO = RUN._replace(kind="memo")
INNER = AesGcm({"k": bytes(32)}, current="k")


def masked(*fields: str, patterns: tuple[str, ...] = ()) -> Masked:
    return Masked(INNER, fields=fields, patterns=patterns)


def shown(codec: Masked, value: Any, about: About = RUN) -> Any:
    """A value as it is shown that was sealed by whoever has no masks."""
    return json.loads(codec.decode(INNER.encode(json.dumps(value).encode(), about), about))


def returned(codec: Masked, value: Any, about: About = RUN) -> Any:
    """What is stored when a shown value comes back."""
    return json.loads(INNER.decode(codec.encode(json.dumps(value).encode(), about), about))


def test_named_fields_are_masked_at_any_depth_and_in_any_case() -> None:
    value = {"data": {"iban": "DE1", "inner": [{"IBAN": {"deep": 1}}], "open": "x"}, "input": {"iban": None}}
    seen = shown(masked("Iban"), value)
    assert MASK.fullmatch(seen["data"]["iban"])
    assert MASK.fullmatch(seen["data"]["inner"][0]["IBAN"])
    assert (seen["data"]["open"], seen["input"]["iban"]) == ("x", None)


def test_patterns_are_masked_within_their_text_and_in_messages() -> None:
    value = {
        "data": {"note": "ask ana@shop.de or bob@shop.de"},
        "leaves": {"s": {"failure": {"message": "no bob@shop.de"}}},
    }
    seen = shown(masked(patterns=(MAIL,)), value)
    assert re.fullmatch(rf"ask {MASK.pattern} or {MASK.pattern}", seen["data"]["note"])
    assert seen["data"]["note"].endswith(seen["leaves"]["s"]["failure"]["message"].removeprefix("no "))


def test_what_the_engine_works_by_is_never_masked() -> None:
    """A field of one's own may be called as one of its."""
    value = {"id": "ana@shop.de", "status": "running", "name": "n", "data": {"id": "1", "status": "2", "name": "3"}}
    seen = shown(masked("id", "status", "name", patterns=(MAIL,)), value)
    assert (seen["id"], seen["status"], seen["name"]) == ("ana@shop.de", "running", "n")
    assert all(MASK.fullmatch(text) for text in seen["data"].values())


def test_results_of_steps_are_payload_all_of_them() -> None:
    assert MASK.fullmatch(shown(masked("iban"), {"iban": "DE1"}, MEMO)["iban"])
    assert MASK.fullmatch(shown(masked(patterns=(MAIL,)), "ana@shop.de", MEMO))


def test_the_same_value_has_the_same_mask_and_another_process_has_others() -> None:
    one, other = masked("a"), masked("a")
    value = {"data": {"a": "x", "b": {"a": "x"}}}
    seen = shown(one, value)["data"]
    assert seen["a"] == seen["b"]["a"] == shown(one, value)["data"]["a"] != shown(other, value)["data"]["a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(["ana@shop.de", "***0123abcd", "x***0123abcdy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "iban", "data"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([RUN, MEMO]))
def test_what_comes_back_is_what_was_stored(value: Any, about: About) -> None:
    """Also what only looks like a mask."""
    codec = masked("iban", patterns=(MAIL, r"\d+"))
    body = {"data": value, "message": "to ana@shop.de"}
    assert returned(codec, shown(codec, body, about), about) == body


def test_a_mask_that_is_not_known_writes_nothing() -> None:
    with pytest.raises(Rejected, match="saw \\*\\*\\*0123abcd"):
        masked("a").encode(b'{"data":{"a":"***0123abcd"}}', RUN)


def test_a_forgotten_mask_is_refused_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MASKS_MAX", 2)
    codec = masked("a")
    first, *_, last = (shown(codec, {"data": {"a": number}}) for number in range(5))
    assert returned(codec, last) == {"data": {"a": 4}}
    with pytest.raises(Rejected):
        codec.encode(json.dumps(first).encode(), RUN)


def test_what_is_kept_in_chunks_is_not_shown() -> None:
    chunk = RUN._replace(kind="blob")
    with pytest.raises(CannotOpen, match="part of a big value"):
        masked("a").decode(INNER.encode(b'"AAAA"', chunk), chunk)


@pytest.mark.parametrize("wrong", [{}, {"patterns": ["("]}, {"patterns": ["x*"]}])
def test_masks_that_hide_nothing_or_everything_are_refused(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInput, match=r"masked: expected"):
        Masked(INNER, **wrong)


async def test_an_operator_decides_through_masks_and_the_handlers_miss_nothing(tmp_path: Path) -> None:
    wf = Workflow("transfer", data=dict)
    paid: list[str] = []

    @wf.state("prepare", start=True, to="review")
    async def prepare(ctx: RunContext) -> None:
        ctx.data["iban"] = ctx.input["iban"]

    wf.wait("review", on={"approve": "pay"})

    @wf.state("pay", to="done")
    async def pay(ctx: RunContext) -> None:
        paid.extend([ctx.data["iban"], ctx.input["iban"], ctx.signal["data"]["note"]])

    wf.final("done")
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(url, wf, codec=INNER) as engine:
        run = await engine.start("transfer", {"iban": "DE1"}, id="T-1", user="ana")
        await run.reach("review")
        operating = Engine(url, wf, codec=Masked(INNER, fields=["iban"], patterns=[MAIL]), works=False)
        async with operating:
            operator = operating.operator("olga")
            seen = await operator.get("T-1")
            assert MASK.fullmatch(seen.data["iban"])
            assert MASK.fullmatch(json.loads(bytes(seen.run.input))["iban"])
            await seen.pause(by="olga")
            await seen.resume(by="olga")
            await (await operator.get("T-1")).send("approve", by="olga", data={"note": "olga@shop.de says yes"})
        await run.result()
    assert paid == ["DE1", "DE1", "olga@shop.de says yes"]
    assert run.data == {"iban": "DE1"}
