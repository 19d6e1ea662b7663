"""The language model that is not there: the rules decide. The default, and what every budget falls back to."""

from __future__ import annotations

import msgspec

from holdfast import InvalidInput
from holdfast_sre.ports import ModelAnswer, ModelRequest

REASON_CHARS_MAX = 500
"""How much of a model's reason is kept: it is shown to people and acted upon by nobody."""


class NoModel:
    """Answers each question with what the rules say, at no cost."""

    async def choose(self, request: ModelRequest, *, key: str) -> ModelAnswer:
        """The request's `by_rules`. The same request gets the same answer, whatever the key."""
        check_request(request)
        return ModelAnswer(request.by_rules, source="rules", reason="no language model is configured")

    async def check(self) -> None:
        """It is always there."""

    def __repr__(self) -> str:
        return "NoModel()"


def check_request(request: ModelRequest) -> None:
    """Raises InvalidInput for a request that offers nothing, or whose own answer is not on offer."""
    if request.by_rules not in request.choices:
        offered = ", ".join(request.choices) or "nothing"
        raise InvalidInput(
            f"model request {request.task!r}: expected the rules' answer among the choices ({offered}), "
            f"saw {request.by_rules!r}",
            seen=request.by_rules,
        )


def admit(request: ModelRequest, answer: ModelAnswer) -> ModelAnswer:
    """What may be acted upon: a model's choice where it is on the list, else the rules' answer, with the reason.

    Every adapter of a real model passes its answers through here: a model prefers, it never invents.
    """
    if answer.choice in request.choices:
        return msgspec.structs.replace(answer, reason=answer.reason[:REASON_CHARS_MAX])
    return ModelAnswer(
        request.by_rules,
        source="rules",
        reason="the model's answer was not among the choices",
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
    )
