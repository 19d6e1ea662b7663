"""What the rules about probes find: the probe as written, the fields to blame, its sibling's handler as a remedy."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.probes.failing import Failing, Probe, failing
from holdfast_sre.diagnosis.rules.probes.faults import HANDLERS, Fault, fault_of, handler_of, is_hasty, port_of
from holdfast_sre.diagnosis.symptoms import container_path
from holdfast_sre.evidence.snapshot import Snapshot

_TIMINGS = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold")


def faulty(snapshot: Snapshot, probe: Probe, fault: Fault) -> Iterator[Finding]:
    """What the rule `PROBE-probe-FAULT` finds: the probes of this kind that fail for this fault."""
    for found in failing(snapshot, probe):
        if fault_of(found) == fault:
            written = ", ".join(f"{path}={text}" for path, text in leaves(found.body).items())
            ports = [entry.get("containerPort") for entry in found.container.get("ports") or ()]
            evidence = (*found.evidence, quote(found.workload, f"{probe}Probe: {written}; container ports: {ports}"))
            is_sure = fault != "timing" or is_hasty(found.body)
            confidence = (0.95 if is_sure else 0.7) if found.text else 0.75
            blames, remedy = _blames(found, fault), _remedy(found, fault)
            yield Finding(f"{probe}-probe-{fault}", found.workload, confidence, evidence, blames, remedy)


def _blames(found: Failing, fault: Fault) -> tuple[Field, ...]:
    if fault == "timing":
        prefix = container_path(str(found.container["name"]))
        # How long a start takes stands in every probe; a last known good holds these together.
        present = [probe for probe in ("readinessProbe", "startupProbe") if found.container.get(probe)]
        others = [f"{prefix}.{probe}.initialDelaySeconds" for probe in present]
        return tuple(Field(found.workload, path) for path in [*(f"{found.path}.{key}" for key in _TIMINGS), *others])
    return tuple(Field(found.workload, f"{found.path}.{handler}") for handler in HANDLERS)


def _remedy(found: Failing, fault: Fault) -> tuple[Change, ...]:
    """The sibling probe's handler, where that one is sound; timings are not computed."""
    handler, port = port_of(found.container, found.other)
    if fault == "timing" or handler is None or port not in found.opened:
        return ()
    before = {path: text for path, text in leaves(found.body).items() if path.split(".")[0] in HANDLERS}
    if fault == "port" and handler_of(found.body) == handler:
        path = f"{handler}.port"
        return (Change(str(found.workload), f"{found.path}.{path}", before.get(path), str(port)),)
    after = {path: text for path, text in leaves(found.other).items() if path.split(".")[0] in HANDLERS}
    return tuple(
        Change(str(found.workload), f"{found.path}.{path}", before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    )
