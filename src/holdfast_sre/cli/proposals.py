"""The command `propose`: the repair as a diff, with its proof and its blast radius, or the step that a person takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from holdfast import HoldfastError, InvalidInput
from holdfast_sre.cli.examine import (
    AsJson,
    Baseline,
    Examined,
    Namespace,
    Paths,
    examine,
    fail_input,
    load_baseline,
    print_json,
)
from holdfast_sre.cli.given_manifests import GivenManifests, open_manifests
from holdfast_sre.cli.proposal_view import show_proposal
from holdfast_sre.cli.terminal import console_on
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.dump_events import seconds_of
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.repair.built.renderers import Programs
from holdfast_sre.repair.last_good.history import LookBack
from holdfast_sre.repair.offer import Offer, offer
from holdfast_sre.repair.proof.blast_radius import BlastRadius
from holdfast_sre.repair.propose import Manifests, Proposal, propose

ManifestsAt = Annotated[
    Path | None,
    typer.Option("--manifests", help="The manifests: a folder, or a git repository whose history is the baseline."),
]
Releases = Annotated[
    list[str] | None,
    typer.Option(
        "--release",
        metavar="CHART=[NAMESPACE/]NAME[:VALUES,...]",
        help="A release of a chart among the manifests, with its value files; may be repeated. Argo CD Applications "
        "in the tree name theirs.",
    ),
]
HealthyAt = Annotated[
    str | None,
    typer.Option("--healthy-at", help="When all was well, as 2026-11-27T14:05:00Z."),
]


class ProposalLine(msgspec.Struct, frozen=True):
    """One incident in the output of `propose --json`."""

    case: str
    action: str
    reason: str
    changes: tuple[Change, ...]
    rule: str = ""
    object: str = ""
    confidence: float = 0.0
    source: str = ""
    proof: tuple[str, ...] = ()
    blast_radius: BlastRadius = BlastRadius()
    next_step: str = ""
    diff: str = ""
    tests: Mapping[str, str] = {}
    history: str = ""
    since: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def propose_command(
    paths: Paths,
    as_json: AsJson = False,
    baseline: Baseline = None,
    manifests: ManifestsAt = None,
    releases: Releases = None,
    healthy_at: HealthyAt = None,
    namespace: Namespace = None,
) -> None:
    """Propose a patch of the manifests for the first cause, or say why a person must decide.

    Nothing is written. Exit code 0, or 2 where a path holds no incident or one cannot be read.
    """
    last_good = load_baseline(baseline)
    given = open_given(manifests, releases)
    healthy_at_s = moment_of(healthy_at)
    console = console_on()

    def tell(found: Examined) -> None:
        proposal, looked = _proposed(found, given, last_good, healthy_at_s)
        missing = (*found.diagnosis.missing, *dict.fromkeys(given.faults if given is not None else ()))
        offered = _offered(found.incident.snapshot, proposal, given)
        if as_json:
            print_json(_line(found, offered, looked, missing))
        else:
            show_proposal(console, found.case.name, offered, looked, missing=missing)

    examine(paths, tell, namespace=namespace, declared=given.declared if given is not None else None)


def open_given(path: Path | None, releases: Sequence[str] | None) -> GivenManifests | None:
    """The manifests that were named, if any. Ends the command where there are none at the path."""
    if path is None:
        if releases:
            fail_input(InvalidInput("--release: expected --manifests beside it, which hold the chart"))
        return None
    try:
        return open_manifests(path, Programs(), releases or ())
    except InvalidInput as error:
        fail_input(error)


def moment_of(text: str | None) -> float | None:
    """Epoch seconds of `--healthy-at`, if given. Ends the command where it is no time."""
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is None:
        fail_input(InvalidInput(f"--healthy-at: expected a time such as 2026-11-27T14:05:00Z, saw {text!r}"))
    return seconds


def _proposed(
    found: Examined, given: GivenManifests | None, last_good: Manifests | None, healthy_at_s: float | None
) -> tuple[Proposal, LookBack | None]:
    """The proposal, and what history said where it was asked; a baseline that was given goes before history's."""
    snapshot = found.incident.snapshot
    looked = None
    if given is not None and found.diagnosis.ranked:
        cause = found.diagnosis.ranked[0]
        looked = given.look_back(cause, namespace=snapshot.namespace, healthy_at_s=healthy_at_s)
    if last_good is None and looked is not None:
        last_good = looked.last_good
    return propose(snapshot, found.diagnosis, last_good=last_good), looked


def _offered(snapshot: Snapshot, proposal: Proposal, given: GivenManifests | None) -> Offer:
    try:
        if given is None:
            return offer(snapshot, proposal)
        releases = given.releases_in(snapshot.namespace)
        return offer(snapshot, proposal, files=given.files, renderer=given.renderer, releases=releases)
    except HoldfastError as error:
        # The patch is right and its place in the sources is not to be found: for a person, with all that is known.
        reason = f"{proposal.reason}. It cannot be written: {error.message}"
        escalated = msgspec.structs.replace(proposal, action="escalate", reason=reason, changes=())
        return Offer(escalated)


def _line(found: Examined, offered: Offer, looked: LookBack | None, missing: tuple[str, ...]) -> ProposalLine:
    proposal = offered.proposal
    cause = proposal.finding
    return ProposalLine(
        case=found.case.name,
        action=proposal.action,
        reason=proposal.reason,
        changes=proposal.changes,
        rule=cause.rule if cause else "",
        object=str(cause.object) if cause else "",
        confidence=cause.confidence if cause else 0.0,
        source=proposal.source,
        proof=proposal.proof,
        blast_radius=proposal.blast,
        next_step=proposal.next_step,
        diff=offered.diff,
        tests=proposal.tests,
        history=looked.told if looked else "",
        since=tuple(f"{commit.revision[:10]} {told_time(commit.at_s)} {commit.subject}" for commit in looked.since)
        if looked
        else (),
        missing=missing,
    )


def told_time(at_s: float) -> str:
    """A moment, UTC, to the minute."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
