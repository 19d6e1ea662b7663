"""Everything about the past that somebody names on the command line, asked about one incident at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import InvalidInput
from holdfast_sre.cli.examine import fail_input
from holdfast_sre.cli.given_manifests import GivenManifests
from holdfast_sre.cli.given_sources import GivenSources, open_sources
from holdfast_sre.cli.proposals import moment_of, open_given
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.timeline import taken_at_s
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.evidence.sources import Declared
from holdfast_sre.history.key_users import KeyUse
from holdfast_sre.history.past import Past, past_of, users_of_keys
from holdfast_sre.history.sources import blamed_services
from holdfast_sre.history.suspects import Suspect


@dataclass(frozen=True)
class GivenPast:
    """The manifests and sources that were named, and when all was well."""

    manifests: GivenManifests | None
    sources: GivenSources | None
    healthy_at_s: float | None

    def __bool__(self) -> bool:
        return self.manifests is not None or self.sources is not None

    @property
    def declared(self) -> Declared | None:
        """What the manifests declare, in place of what an incident has."""
        return self.manifests.declared if self.manifests is not None else None

    @property
    def faults(self) -> tuple[str, ...]:
        """What of the manifests could not be used, told once."""
        return tuple(dict.fromkeys(self.manifests.faults)) if self.manifests is not None else ()

    def ask(self, snapshot: Snapshot, findings: Sequence[Finding]) -> Past:
        """What the histories say about some findings of an incident."""
        edits = self.manifests.edits(namespace=snapshot.namespace) if self.manifests is not None else None
        by_name = {} if self.sources is None else self.sources.by_name
        if self.sources is not None:
            self.sources.meet(snapshot)
        work = past_of(snapshot, by_name, edits or (), findings=findings, healthy_at_s=self.healthy_at_s)
        return asyncio.run(work)

    def users_of_keys(
        self, snapshot: Snapshot, finding: Finding, past: Past, found: Sequence[Suspect]
    ) -> tuple[KeyUse, ...]:
        """Who else uses the blamed keys that suspects touched."""
        by_name = {} if self.sources is None else self.sources.by_name
        return asyncio.run(users_of_keys(snapshot, finding, past, found, by_name))

    def missing(self, snapshot: Snapshot, finding: Finding, past: Past, found: Sequence[Suspect]) -> tuple[str, ...]:
        """What could not be known about a finding's past, and how it may be."""
        told = [*past.missing(), *self.faults]
        if self.manifests is None:
            told.append("the history of the manifests: name their repository by --manifests")
        elif self.manifests.repository is None:
            told.append(f"a history: git does not keep {self.manifests.folder}")
        elif finding.blames and not any(each.why == "brought it" for each in found):
            head = self.manifests.revision[:10]
            told.append(f"what brought it: no edit up to {head} touched what is blamed, of {len(past.edits)} looked at")
        if self.manifests is not None and (note := self.manifests.shallow_note(self.healthy_at_s)):
            told.append(f"the history of the manifests: {note}")
        asked = {each.service for each in past.pasts}
        unasked = sorted(blamed_services(snapshot, finding) - asked)[:1] if self else []
        told += [f"the history of the source of {name}: name it by --source {name}=PATH" for name in unasked]
        if found and taken_at_s(snapshot) is None:
            told.append("when the recording was taken: commits have no place on its line of time")
        return tuple(told)

    def finish(self) -> None:
        """End the command where a source was named that is of nobody."""
        if self.sources is not None:
            self.sources.finish()


def open_past(
    manifests: Path | None, releases: Sequence[str] | None, sources: Sequence[str] | None, healthy_at: str | None
) -> GivenPast:
    """The past that was named. Ends the command where something is not what it should be."""
    past = GivenPast(open_given(manifests, releases), open_sources(sources), moment_of(healthy_at))
    if healthy_at is not None and not past:
        fail_input(InvalidInput("--healthy-at: expected --manifests or --source beside it, whose history it is for"))
    return past
