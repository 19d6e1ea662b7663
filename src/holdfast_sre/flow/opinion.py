"""A model's second opinion: asked through its breaker, in bounded time, and admitted only where the rules allow it."""

from __future__ import annotations

import asyncio

from holdfast import Dependencies, Dependency, preset
from holdfast_sre.flow.chart import LLM
from holdfast_sre.local.model import admit, check_request
from holdfast_sre.ports import LanguageModelPort, ModelAnswer, ModelRequest

FAILURES_IN_ROW = 2
"""After how many failed questions the model is taken to be away. A bot asks seldom: a run that met more of them would
have spent its retries, and gone to people, before it is parked."""


def model_dependency(model: LanguageModelPort) -> Dependency:
    """The model as a dependency, with a breaker, and probed by its `check`."""
    options = preset("llm", failures_in_row=FAILURES_IN_ROW, throttle_opens=True)  # the bot has one key
    return Dependency(name=LLM, kind="llm", options=options, probe=model.check)


class Opinion:
    """Asks `model` through its breaker, which is among `dependencies`; where there are none nobody is asked."""

    def __init__(self, model: LanguageModelPort, dependencies: Dependencies | None) -> None:
        self._model = model
        self._door = dependencies.on(LLM) if dependencies is not None else None

    @property
    def is_there(self) -> bool:
        """Whether there is anybody to ask."""
        return self._door is not None

    async def choose(self, request: ModelRequest, *, key: str) -> ModelAnswer:
        """The choice that may be acted upon: the model's where it is one of the request's, else the rules'.

        Raises InvalidInput for a request whose `by_rules` is not among its choices, ModelFault or TimeoutError where
        the model gave no answer, BreakerOpen where it is known not to.
        """
        check_request(request)
        if self._door is None:
            return ModelAnswer(request.by_rules, source="rules", reason="no language model is configured")
        return admit(request, await self._door.call(self._ask, request, key))

    async def _ask(self, request: ModelRequest, key: str) -> ModelAnswer:
        async with asyncio.timeout(request.deadline_s):
            return await self._model.choose(request, key=key)

    def __repr__(self) -> str:
        return f"Opinion({self._model!r})"
