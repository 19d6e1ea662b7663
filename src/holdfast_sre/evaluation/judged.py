"""One judged case and the shares over many.

A@1 and A@3: the first answer, or one of the first three, has the exact root cause and object. object@1: the first
answer has the object. Brier: mean squared distance of the first answer's confidence from 1 if right, 0 if not.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast_sre.evaluation.opsbench_labels import Answer


class Judged(msgspec.Struct, frozen=True):
    """One case: the truth, the ranked answers with rule and confidence of each, and how long it took."""

    case: str
    truth: Answer
    answers: tuple[Answer, ...]
    rules: tuple[str, ...]
    confidences: tuple[float, ...]
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the first answer is the truth."""
        return self.answers[:1] == (self.truth,)

    @property
    def confidence(self) -> float:
        """How sure the first answer is; 0 where there is none."""
        return self.confidences[0] if self.confidences else 0.0

    @property
    def system(self) -> str:
        """The first part of the case's name."""
        return self.case.split("/")[0]


class Score(msgspec.Struct, frozen=True):
    """Shares of 1 over `cases`."""

    cases: int
    first: float = msgspec.field(name="A@1")
    first_three: float = msgspec.field(name="A@3")
    object_first: float = msgspec.field(name="object@1")
    brier: float
    seconds_mean: float
    seconds_max: float


def score(judged: Sequence[Judged]) -> Score:
    """The shares over some cases; at least one."""
    count = len(judged)
    return Score(
        cases=count,
        first=share(sum(case.is_right for case in judged), count),
        first_three=share(sum(case.truth in case.answers[:3] for case in judged), count),
        object_first=share(
            sum(bool(case.answers) and case.answers[0].fault_object == case.truth.fault_object for case in judged),
            count,
        ),
        brier=round(sum((case.confidence - case.is_right) ** 2 for case in judged) / count, 4),
        seconds_mean=round(sum(case.seconds for case in judged) / count, 4),
        seconds_max=round(max(case.seconds for case in judged), 4),
    )


def share(part: int, whole: int) -> float:
    """A share of 1, to four places."""
    return round(part / whole, 4)
