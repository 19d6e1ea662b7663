"""What creating a workload's pods is refused with, as long as pods are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.symptoms import desired, events_by_reason, is_short
from holdfast_sre.evidence.snapshot import Ref, Snapshot


def refused(snapshot: Snapshot, pattern: re.Pattern[str]) -> Iterator[tuple[Ref, Ref, str, re.Match[str]]]:
    """Workloads with fewer pods than desired, and what the latest refusal says."""
    for workload in snapshot.workloads:
        live = snapshot.live.get(workload, {})
        if not is_short(snapshot, workload) or len(snapshot.pods_of(workload)) >= desired(live):
            continue
        for event in events_by_reason(snapshot, workload, "FailedCreate"):
            match = pattern.search(event.message)
            if match:
                yield workload, event.about, event.message, match
                break
