"""What a repair may touch, and how far a computed value may go from the one that it replaces.

A value that worked is trusted further than one that was worked out: limits here are for computed values, the list of
kinds is for both.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast import InvalidInput
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.quantities import quantity

KINDS_FOR_PEOPLE = frozenset(
    {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ResourceQuota", "LimitRange", "Namespace", "Node"}
    | {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "CustomResourceDefinition", "PriorityClass"}
)
"""Kinds that decide about rights, shares and everybody's cluster: a person changes them."""

_NEVER_COMPUTED = ("securityContext", "image", "hostNetwork", "hostPID", "hostPath", "command", "args")
_SIZES = ("cpu", "memory", "storage", "replicas", "maxReplicas", "minReplicas")


@dataclass(frozen=True)
class Policy:
    """Bounds for computed values: the largest factor up or down for a size, and the most replicas."""

    computed_factor_max: float = 2.0
    replicas_max: int = 20

    def __post_init__(self) -> None:
        if self.computed_factor_max < 1 or self.replicas_max < 1:
            raise InvalidInput(
                "policy: expected computed_factor_max and replicas_max of at least 1, "
                f"saw {self.computed_factor_max} and {self.replicas_max}"
            )


def refusal(change: Change, policy: Policy, *, is_computed: bool) -> str:
    """Why a change is for a person; empty where it is not."""
    kind = change.object.partition("/")[0]
    if kind in KINDS_FOR_PEOPLE:
        return f"{change.object} is of a kind that people change"
    if not is_computed:
        return ""
    steps = change.path.replace("[", ".").split(".")
    forbidden = next((step for step in steps if step in _NEVER_COMPUTED), None)
    if forbidden:
        return f"{change.object} {change.path}: {forbidden} is never computed"
    if kind == "Secret" and not steps[-1].upper().endswith(("PORT", "HOST")):
        return f"{change.object} {change.path}: values of secrets are never computed"
    return _size_refusal(change, steps[-1], policy)


def _size_refusal(change: Change, field: str, policy: Policy) -> str:
    if field not in _SIZES:
        return ""
    before, after = quantity(change.before), quantity(change.after)
    if before is None or after is None:
        return f"{change.object} {change.path}: a size is computed from another one only"
    if field.lower().endswith("replicas") and after > policy.replicas_max:
        return f"{change.object} {change.path}: {after:g} replicas are more than {policy.replicas_max}"
    low, high = sorted((before, after))
    if low <= 0 or high / low > policy.computed_factor_max:
        return f"{change.object} {change.path}: {change.after} is further from {change.before} than policy allows"
    return ""
