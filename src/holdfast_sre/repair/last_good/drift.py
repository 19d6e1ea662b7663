"""What of the last known good is drift even where a finding blames its place: sizes that go the wrong way, and notes.

A finding blames a place, and its rule knows which way a size there has to go: a limit that was too low is not lowered
further because the last known good was lower still. An object that comes back comes as it was, without the notes that
people had put on it: labels and annotations without a domain, which no controller reads and no selector asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.diagnosis.manifest_paths import copied, leaves
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, dig

Manifests = Mapping[Ref, Manifest]

_UP, _DOWN = 1, -1
_WAYS: dict[str, tuple[tuple[str, int], ...]] = {
    "memory-limit-too-low": ((".limits.memory", _UP), (".requests.memory", _UP)),
    "cpu-request-too-large": ((".limits.cpu", _DOWN), (".requests.cpu", _DOWN)),
    "memory-request-too-large": ((".limits.memory", _DOWN), (".requests.memory", _DOWN)),
    "claim-capacity": ((".requests.storage", _DOWN), (".capacity.storage", _UP)),
    "pod-anti-affinity": (("spec.replicas", _DOWN),),
}
"""By rule and end of the path: which way a size must go to mend what the rule finds."""
_DEFAULTS = {"spec.replicas": "1"}


def goes_the_right_way(rule: str, field: Field, before: Manifest, after: Manifest) -> bool:
    """Whether putting a blamed size back helps; True for everything that is no size, or of which no way is known."""
    way = next((way for end, way in _WAYS.get(rule, ()) if field.path.endswith(end)), 0)
    if not way:
        return True
    default = _DEFAULTS.get(field.path)
    old, new = (quantity(leaves(manifest).get(field.path, default)) for manifest in (before, after))
    return old is None or new is None or (new - old) * way >= 0


def without_notes(manifest: Manifest, declared: Manifests) -> Manifest:
    """A copy of an object that comes back, without notes."""
    result: Any = copied(manifest)
    metadata = result.get("metadata")
    if not isinstance(metadata, dict):
        return dict(result)
    asked = _keys_of_selectors(declared.values())
    for table, kept in (("annotations", frozenset[str]()), ("labels", asked)):
        notes = metadata.get(table)
        if isinstance(notes, dict):
            left = {key: value for key, value in notes.items() if "/" in str(key) or key in kept}
            metadata[table] = left
            if not left:
                del metadata[table]
    return dict(result)


def _keys_of_selectors(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Keys of labels that some selector of the manifests asks for."""
    found: set[str] = set()
    for manifest in manifests:
        for place in ("spec.selector", "spec.template.spec.nodeSelector", "spec.podSelector"):
            selector = dig(manifest, place)
            if isinstance(selector, Mapping):
                labels = selector.get("matchLabels", selector)
                found.update(map(str, labels) if isinstance(labels, Mapping) else ())
                for expression in selector.get("matchExpressions") or ():
                    if isinstance(expression, Mapping):
                        found.add(str(expression.get("key")))
    return frozenset(found)
