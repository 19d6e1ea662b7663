"""Which pods a policy's selector takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast_sre.diagnosis.scheduling import is_selected
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig


def labels_of(snapshot: Snapshot, workload: Ref) -> dict[str, str]:
    """The labels that a workload's pods get."""
    labels = dig(snapshot.manifest(workload), "spec.template.metadata.labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, Mapping) else {}


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector of the API takes these labels; an empty one takes all."""
    if not isinstance(selector, Mapping):
        return False
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return all(labels.get(str(key)) == str(value) for key, value in wanted.items()) and all(
        is_selected(expression, labels) for expression in expressions
    )
