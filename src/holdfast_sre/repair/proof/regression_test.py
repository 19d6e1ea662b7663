"""A check for the manifests' own CI, made for each repair: what broke once does not come back unseen.

One Python file that needs pytest and PyYAML and nothing of ours. It holds its facts as data; names and values from the
cluster never become code. It forbids the value that broke and states what must hold between objects; it does not nail
down the value that was put back, so that people go on changing it. Values of secrets are held as digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Change, Finding, Rule
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.repair.proof.regression_source import SOURCE

FOLDER = "holdfast-checks"
CHECKS_MAX = 40
_STEP = re.compile(r"[^a-z0-9]+")
_BETWEEN = {
    "service-selector": "selects",
    "service-target-port": "leads",
    "service-protocol": "leads",
}
_PROBES = re.compile(
    r"spec\.template\.spec\.containers\[(?P<container>[^\]]+)\]\.(?:liveness|readiness|startup)Probe\."
)

Manifests = Mapping[Ref, Manifest]
Check = dict[str, Any]


def regression_tests(
    rule: Rule, finding: Finding, changes: Iterable[Change], before: Manifests, after: Manifests, *, namespace: str
) -> dict[str, str]:
    """The check for a repair: its path in the repository and its text. None where there is nothing to state."""
    checks = [check for change in changes for check in _checks(finding, change, before, after)]
    unique = list({json.dumps(check, sort_keys=True): check for check in checks}.values())[:CHECKS_MAX]
    if not unique:
        return {}
    facts = {"namespace": namespace, "checks": unique}
    data = json.dumps(facts, indent=2, ensure_ascii=True).replace("'", "\\u0027").replace("\x7f", "\\u007f")
    about = _plain(f"{rule.title} ({finding.rule} on {finding.object})")
    name = _STEP.sub("_", f"{finding.object.name}_{finding.rule}".lower()).strip("_")[:80]
    text = SOURCE.replace("@ABOUT@", about).replace("@DATA@", data)
    return {f"{FOLDER}/test_{name}.py": text}


def _plain(text: str) -> str:
    """Words that may stand in a docstring."""
    kept = "".join(sign if sign.isascii() and sign.isprintable() and sign not in '\\"@' else " " for sign in text)
    return " ".join(kept.split())[:200]


def _checks(finding: Finding, change: Change, before: Manifests, after: Manifests) -> Iterator[Check]:
    kind, _, name = change.object.partition("/")
    ref = Ref(kind, name)
    if ref not in after:
        return  # a misnamed object went: that its right name is there is what the other changes say
    if ref not in before:
        yield {"what": "exists", "kind": kind, "name": name}
        return
    yield from _value_checks(finding, change, ref, before[ref], after[ref])
    between = _BETWEEN.get(finding.rule)
    if between and kind == "Service":
        yield {"what": between, "kind": kind, "name": name}
    probe = _PROBES.match(change.path)
    if probe and finding.rule.endswith(("-probe-port", "-probe-protocol")):
        yield {"what": "probes", "kind": kind, "name": name, "container": probe["container"]}


def _value_checks(finding: Finding, change: Change, ref: Ref, before: Manifest, after: Manifest) -> Iterator[Check]:
    steps = steps_of(before if change.after is None else after, change.path)
    if steps is None or change.before is None:
        return
    place: Check = {"kind": ref.kind, "name": ref.name, "steps": steps}
    if ref.kind == "Secret":
        yield {"what": "differs", **place, "sha256": hashlib.sha256(change.before.encode()).hexdigest()}
        return
    old, new = quantity(change.before), quantity(change.after)
    grows = 0.0
    if change.path.endswith((".memory", ".cpu", ".storage")) and old is not None and new is not None:
        grows = new - old
    if grows > 0 and finding.rule == "memory-limit-too-low":
        yield {"what": "at least", **place, "size": change.after}
    elif grows < 0:
        yield {"what": "at most", **place, "size": change.after}
    else:
        yield {"what": "differs", **place, "value": change.before}


def steps_of(manifest: Manifest, path: str) -> list[Any] | None:
    """The way to a leaf as keys, `{"name": ...}` for named list items and numbers for others; None where it is not."""
    for steps, found in _ways(manifest, [], ""):
        if found == path:
            return steps
    return None


def _ways(value: Any, steps: list[Any], path: str) -> Iterator[tuple[list[Any], str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _ways(item, [*steps, str(key)], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            name = item.get("name") if isinstance(item, Mapping) else None
            step: Any = index if name is None else {"name": str(name)}
            yield from _ways(item, [*steps, step], f"{path}[{index if name is None else name}]")
    elif value is not None:
        yield steps, path
