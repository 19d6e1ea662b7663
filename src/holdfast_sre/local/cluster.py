"""A recorded cluster that answers to a GitOps folder: the snapshot as taken, then with what was deployed since."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from holdfast import NotFound
from holdfast_sre.diagnosis.diagnose import rank
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import Manifest, Snapshot, containers_of
from holdfast_sre.files import in_thread
from holdfast_sre.ports import Health
from holdfast_sre.repair.built.layouts import declared_in
from holdfast_sre.repair.propose import as_if_applied
from holdfast_sre.repair.rollout import Outlook, changed_objects, outlook
from holdfast_sre.repair.rollout_effects import rolled_out
from holdfast_sre.repair.tree.roots import Renderer

Judge = Callable[[Snapshot], Iterable[Finding]]
"""All findings about a snapshot."""


class Condition(msgspec.Struct, frozen=True):
    """How the cluster is since the deployment: `changed` are the objects it changed, `message` says what is wrong."""

    health: Health
    message: str
    changed: tuple[str, ...]


def judge_by_catalogue(snapshot: Snapshot) -> list[Finding]:
    """Every finding of every rule."""
    return rank([finding for rule in CATALOGUE for finding in rule.find(snapshot)])


class ReplayCluster:
    """One namespace as it was recorded, plus the effects of the manifests that are live now. Implements `ClusterPort`.

    `live` gives the files that were deployed, None before the first deployment. `images_seen` are images known to run,
    besides those that run in the snapshot: for any other a replay cannot vouch, and says so. `renderer` builds the
    files where a program has to.
    """

    def __init__(
        self,
        recorded: Snapshot,
        live: Callable[[], Awaitable[Mapping[str, str] | None]],
        *,
        images_seen: Iterable[str] = (),
        judge: Judge = judge_by_catalogue,
        renderer: Renderer | None = None,
    ) -> None:
        self._recorded = recorded
        self._live = live
        self._judge = judge
        self._renderer = renderer
        self._images_seen = frozenset(images_seen) | running_images(recorded)

    async def capture(self, namespace: str) -> Snapshot:
        """What is there now. Raises NotFound for another namespace than the recorded one."""
        if namespace != self._recorded.namespace:
            raise NotFound(
                f"namespace {namespace!r}: expected {self._recorded.namespace!r}, the one that was recorded",
                namespace=namespace,
            )
        files = await self._live()
        return (await in_thread(self._replay, files))[0]

    async def condition(self) -> Condition:
        """How what was deployed does, by the rules."""
        files = await self._live()
        return await in_thread(self._condition, files)

    def __repr__(self) -> str:
        return f"ReplayCluster({self._recorded.namespace!r})"

    def _replay(self, files: Mapping[str, str] | None) -> tuple[Snapshot, Outlook | None]:
        if files is None:
            return self._recorded, None
        wanted = declared_in(files, self._recorded.namespace, self._renderer)
        if not changed_objects(self._recorded.declared, wanted):
            return self._recorded, None
        plan = outlook(
            self._recorded,
            wanted,
            found_before=self._judge(self._recorded),
            found_after=self._judge(as_if_applied(self._recorded, wanted)),
            images_seen=self._images_seen,
        )
        return rolled_out(self._recorded, wanted, plan), plan

    def _condition(self, files: Mapping[str, str] | None) -> Condition:
        now, plan = self._replay(files)
        found = list(self._judge(now))
        if plan is None:
            return Condition("degraded" if found else "healthy", _told(found), ())
        changed = tuple(str(ref) for ref in plan.changed)
        if plan.unproven:
            names = ", ".join(str(ref) for ref in plan.unproven)
            return Condition("unknown", f"{names}: the image was never seen running, a replay cannot tell", changed)
        # Another trouble that was there before does not count against a change that mended its own.
        known = {(finding.rule, finding.object) for finding in self._judge(self._recorded)} if plan.mended else set()
        wrong = [one for one in found if one.object in plan.changed or (one.rule, one.object) not in known]
        return Condition("degraded" if wrong else "healthy", _told(wrong), changed)


def running_images(snapshot: Snapshot) -> frozenset[str]:
    """The images of containers that run, or did, in the snapshot."""
    found = set()
    for _, pod in snapshot.of_kind("Pod"):
        statuses = {status.get("name"): status for status in (pod.get("status") or {}).get("containerStatuses") or ()}
        for container in containers_of(pod):
            status = statuses.get(container.get("name"), {})
            if status.get("ready") or status.get("restartCount"):
                found.add(str(container.get("image")))
    return frozenset(found)


def images_in(manifests: Iterable[Manifest]) -> frozenset[str]:
    """The images that manifests name."""
    return frozenset(
        str(container["image"])
        for manifest in manifests
        for container in containers_of(manifest)
        if "image" in container
    )


def _told(findings: Iterable[Finding]) -> str:
    return "; ".join(f"{finding.object}: {finding.rule}" for finding in findings)
