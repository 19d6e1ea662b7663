"""How good repairs are where it is hard: a last known good that has drifted, and none at all.

Drift is planted into the baseline by a seed: other limits, annotations, labels, images and replicas, everywhere but in
the leaves that are known to mend the case. A repair that puts drift back changes what nobody asked for: collateral.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from holdfast import InvalidInput
from holdfast_sre.diagnosis.diagnose import Diagnosis
from holdfast_sre.diagnosis.manifest_paths import copied, leaves
from holdfast_sre.evaluation.evaluate import JudgedRepair, Repair, RepairReport, judge_repair, report_repairs
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref, Snapshot, dig
from holdfast_sre.repair.propose import Manifests, propose

_LIMITS = {"cpu": ("50m", "150m", "350m", "900m"), "memory": ("96Mi", "160Mi", "320Mi", "768Mi")}


class Planted(msgspec.Struct, frozen=True):
    """A baseline with drift, and the leaves that drifted, as `Kind/name.path`."""

    manifests: Manifests
    leaves: frozenset[str]


class RepairTrial(msgspec.Struct, frozen=True):
    """The output of `eval --repairs`. Without a baseline a patch is `unsafe` where it touches a leaf that is no part of
    the known repair, or where no repair is known; `other_values` are cases in which it gives a leaf of the known repair
    another value than the healthy one had, such as a port's name for its number."""

    seed: int
    share: float
    drifted_leaves_mean: float
    with_drift: RepairReport
    without_baseline: RepairReport
    patched_without_baseline: int
    unsafe_without_baseline: tuple[str, ...]
    other_values_without_baseline: tuple[str, ...]


def plant(manifests: Manifests, *, seed: int, share: float, spared: frozenset[str]) -> Planted:
    """The manifests with drift in `share` of the places where it can be, none of it in the spared leaves."""
    if not 0 <= share <= 1:
        raise InvalidInput(f"drift: expected a share of places between 0 and 1, saw {share}")
    found: dict[Ref, Manifest] = {}
    touched: set[str] = set()
    for ref, manifest in manifests.items():
        drifted = copied(manifest)
        for place, put in _places(ref, drifted):
            if _draw(seed, ref, place, "whether") >= share * _WHOLE:
                continue
            before = copied(drifted)
            put(_draw(seed, ref, place, "what"))
            changed = _changed(ref, before, drifted)
            if changed & spared:
                drifted.clear()
                drifted.update(before)
            else:
                touched |= changed
        found[ref] = drifted
    return Planted(found, frozenset(touched))


_WHOLE = 1 << 32


def _draw(seed: int, *about: object) -> int:
    """A number below 2**32 that seed and words decide."""
    text = ":".join(map(str, (seed, *about)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _changed(ref: Ref, before: Manifest, after: Manifest) -> frozenset[str]:
    old, new = leaves(before), leaves(after)
    return frozenset(f"{ref}.{path}" for path in {*old, *new} if old.get(path) != new.get(path))


def _places(ref: Ref, manifest: Any) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Where drift can be in an object, and what a number puts there. Each works on the object as it is by then."""
    notes, template = ("metadata",), ("spec", "template", "metadata")
    yield "annotation", lambda number: _put(manifest, (*notes, "annotations"), "team", f"t{number % 9}")
    yield "label", lambda number: _put(manifest, (*notes, "labels"), "tier", f"r{number % 9}")
    if ref.kind not in WORKLOAD_KINDS:
        return
    yield "replicas", lambda number: _put(manifest, ("spec",), "replicas", 2 + number % 4)
    yield "note", lambda number: _put(manifest, (*template, "annotations"), "note", f"n{number % 99}")
    boxes = dig(manifest, "spec.template.spec.containers")
    for index in range(len(boxes) if isinstance(boxes, list) else 0):
        yield f"image {index}", partial(_retag, manifest, index)
        for part in ("limits", "requests"):
            for resource in _LIMITS:
                yield f"{part} {resource} {index}", partial(_resize, manifest, index, part, resource)


def _put(manifest: Any, steps: tuple[str, ...], key: str, value: object) -> None:
    for step in steps:
        below = manifest.get(step)
        if not isinstance(below, dict):
            below = manifest[step] = {}
        manifest = below
    manifest[key] = value


def _box(manifest: Any, index: int) -> Any:
    return manifest["spec"]["template"]["spec"]["containers"][index]


def _retag(manifest: Any, index: int, number: int) -> None:
    box = _box(manifest, index)
    name = str(box.get("image", "")).rpartition(":")[0]
    if name:
        box["image"] = f"{name}:drift-{number % 90}"


def _resize(manifest: Any, index: int, part: str, resource: str, number: int) -> None:
    box = _box(manifest, index)
    sizes = _LIMITS[resource]
    _put(box, ("resources", part), resource, sizes[number % len(sizes)])


class Trial:
    """Proposes for case after case, each with its own drifted baseline and without one."""

    def __init__(self, baseline: Manifests, known: Mapping[str, Repair], *, seed: int, share: float) -> None:
        self._baseline = baseline
        self._known = known
        self._seed = seed
        self._share = share
        self._drifted: list[int] = []
        self._with: list[JudgedRepair] = []
        self._without: list[JudgedRepair] = []
        self._patched = 0
        self._unsafe: list[str] = []
        self._other: list[str] = []

    def weigh(self, case: str, snapshot: Snapshot, diagnosis: Diagnosis) -> None:
        """Propose for one case and judge it."""
        known = self._known.get(case)
        spared = frozenset(leaf.path for leaf in known.diffs) if known is not None else frozenset()
        planted = plant(self._baseline, seed=_draw(self._seed, case), share=self._share, spared=spared)
        self._drifted.append(len(planted.leaves))
        proposal = propose(snapshot, diagnosis, last_good=planted.manifests)
        self._with.append(judge_repair(case, proposal.changes, known, _all_leaves(planted.manifests)))
        alone = propose(snapshot, diagnosis)
        self._without.append(judge_repair(case, alone.changes, known, None))
        if alone.changes:
            self._patched += 1
            healthy = {leaf.path: leaf.healthy for leaf in known.diffs} if known is not None else {}
            names = [(f"{change.object}.{change.path}", change.after) for change in alone.changes]
            if any(name not in healthy for name, _ in names):
                self._unsafe.append(case)
            elif any(healthy[name] != after for name, after in names):
                self._other.append(case)

    def report(self) -> RepairTrial:
        """What came of it. Raises InvalidInput where there was no case."""
        if not self._with:
            raise InvalidInput("eval --repairs: expected incidents, saw none")
        return RepairTrial(
            seed=self._seed,
            share=self._share,
            drifted_leaves_mean=round(sum(self._drifted) / len(self._drifted), 1),
            with_drift=report_repairs(self._with),
            without_baseline=report_repairs(self._without),
            patched_without_baseline=self._patched,
            unsafe_without_baseline=tuple(self._unsafe),
            other_values_without_baseline=tuple(self._other),
        )


def _all_leaves(manifests: Manifests) -> dict[str, str]:
    return {f"{ref}.{path}": text for ref, manifest in manifests.items() for path, text in leaves(manifest).items()}
