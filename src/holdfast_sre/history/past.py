"""Asking every history that is there about one snapshot, once: edits of the manifests, commits of the sources."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from holdfast import InvalidInput, Unavailable
from holdfast_sre.diagnosis.findings import Finding, quote
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.history.key_users import Changed, Elsewhere, KeyUse, changed_keys, key_users
from holdfast_sre.history.keys import Key
from holdfast_sre.history.sources import SourcePast, Sources, blamed_services, neighbours, questions
from holdfast_sre.history.suspects import WHY_TOLD, Suspect, nearest, suspects
from holdfast_sre.repair.last_good.changelog import Edit


class Suspected(msgspec.Struct, frozen=True):
    """The change to look at first with a finding, None where history has none, and who else uses what it changed."""

    suspect: Suspect | None = None
    key_users: tuple[KeyUse, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """Lines for people."""
        if self.suspect is None:
            return ()
        others = tuple(f"Also used: {use.told}" for use in self.key_users if use.users)
        return (f"Suspect: {self.suspect.told} ({WHY_TOLD[self.suspect.why]})", *others)


class Past(msgspec.Struct, frozen=True):
    """What the histories say: the manifests' edits, newest first, and each source's commits. `faults` are sources that
    did not answer."""

    edits: tuple[Edit, ...] = ()
    pasts: tuple[SourcePast, ...] = ()
    healthy_at_s: float | None = None
    faults: tuple[str, ...] = ()

    def missing(self, services: Collection[str] | None = None) -> tuple[str, ...]:
        """What is not known, of some services or of all."""
        told = (text for past in self.pasts if services is None or past.service in services for text in past.missing)
        return (*self.faults, *told)

    def suspects(self, snapshot: Snapshot, finding: Finding) -> tuple[Suspect, ...]:
        """The commits that may have to do with a finding, the first one to look at first."""
        return suspects(snapshot, finding, edits=self.edits, pasts=self.pasts, healthy_at_s=self.healthy_at_s)

    def changed_keys(self, snapshot: Snapshot, finding: Finding, found: Iterable[Suspect]) -> Changed:
        """The blamed keys that suspects touched."""
        revisions = [each.revision for each in found if each.touches]
        return changed_keys(snapshot, finding, self.edits, self.pasts, revisions)


async def suspected(snapshot: Snapshot, finding: Finding, past: Past, sources: Sources) -> Suspected:
    """The one suspect of a finding to name, and who else uses the blamed keys that it touched."""
    first = nearest(past.suspects(snapshot, finding))
    if first is None:
        return Suspected()
    return Suspected(first, await users_of_keys(snapshot, finding, past, [first], sources))


async def past_of(
    snapshot: Snapshot,
    sources: Sources,
    edits: Sequence[Edit] = (),
    *,
    findings: Collection[Finding] | None = None,
    healthy_at_s: float | None = None,
) -> Past:
    """Ask the sources that matter to some findings (all of them where none are given). What does not answer is told
    in `faults`."""
    wanted = sources if findings is None else _near(snapshot, sources, findings)
    pasts, faults = [], []
    for question in questions(snapshot, wanted, edits, healthy_at_s=healthy_at_s):
        try:
            pasts.append(await wanted[question.service].past(question))
        except (InvalidInput, Unavailable) as error:
            faults.append(quote("", f"source of {question.service}: {error.message}").text)
    return Past(tuple(edits), tuple(pasts), healthy_at_s, tuple(faults))


def _near(snapshot: Snapshot, sources: Sources, findings: Iterable[Finding]) -> Sources:
    names: set[str] = set()
    for finding in findings:
        mine = blamed_services(snapshot, finding)
        names |= {*mine, *neighbours(snapshot, mine)}
    return {name: source for name, source in sources.items() if name in names}


async def users_of_keys(
    snapshot: Snapshot, finding: Finding, past: Past, found: Iterable[Suspect], sources: Sources
) -> tuple[KeyUse, ...]:
    """Who else uses the blamed keys that suspects touched: in the cluster, in its manifests, and in other sources."""
    changed = past.changed_keys(snapshot, finding, found)
    mine = blamed_services(snapshot, finding)
    places: dict[Key, tuple[str, ...]] = {}
    for key in changed:
        if key.kind in ("setting", "service"):  # a number or a path stands in any program
            told = [await _in_source(name, sources, key) for name in sorted(sources) if name not in mine]
            places[key] = tuple(filter(None, told))
    elsewhere: Elsewhere = places
    return key_users(snapshot, finding, changed, elsewhere)


async def _in_source(name: str, sources: Sources, key: Key) -> str:
    try:
        files = await sources[name].users(key.name)
    except (InvalidInput, Unavailable):
        return ""
    return f"source of {name} ({', '.join(files)})" if files else ""
