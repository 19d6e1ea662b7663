"""The bot's work from a cause to an end: the patch, its review, the deployment, its proof, the ticket.

Each function is the handler of the state it is named after.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from holdfast import Conflict, ErrorSeverity, ErrorType, Rejected, RunContext, WorkflowError
from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.files import in_thread
from holdfast_sre.flow.incident import Incident
from holdfast_sre.flow.world import World
from holdfast_sre.ports import (
    Decision,
    DiffHash,
    Draft,
    PullRequest,
    ReviewRequest,
    Revision,
    TicketStatus,
    Verdict,
)
from holdfast_sre.repair.built.layouts import changed_files, is_built, reader_of
from holdfast_sre.repair.last_good.changelog import last_good
from holdfast_sre.repair.propose import Proposal, propose
from holdfast_sre.repair.wishes import as_wished

SAID_CHARS_MAX = 4_000
"""How much of what a reviewer said is kept."""


class Offer(msgspec.Struct, frozen=True):
    """The pull request as it was offered."""

    number: int
    branch: str
    diff: str
    diff_hash: str
    round: int


class Repair:
    """The handlers of remediation, review, deployment and escalation, for one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    # -- the patch ----------------------------------------------------------------------------------------------

    async def fix_generation(self, ctx: RunContext) -> None:
        incident: Incident = ctx.data
        proposal: Proposal = await ctx.step("propose", self._propose, incident)
        if proposal.action == "escalate":
            raise WorkflowError(proposal.reason, error_type=ErrorType.PERMANENT, severity=ErrorSeverity.HIGH)
        incident.changes = proposal.changes
        incident.proof, incident.blast, incident.tests = proposal.proof, proposal.blast.told, dict(proposal.tests)
        incident.reason = proposal.reason + _answers(incident.wishes, {change.path for change in proposal.changes})

    async def code_validation(self, ctx: RunContext) -> None:
        """The patched manifests must parse and differ in the patch's leaves alone, or the run is escalated."""
        await ctx.step("validate", self._patched, ctx.data)

    async def test_generation(self, ctx: RunContext) -> None:
        cause: Finding = ctx.data.cause
        rule = next(rule for rule in CATALOGUE if rule.id == cause.rule)
        ctx.data.checks = (
            f"the deployment of the merged revision is synced and healthy ({rule.proof})",
            f"{cause.rule} does not hold on {cause.object} any more",
            "no rule finds anything that did not hold before",
            *(f"in the manifests' own CI: {path}" for path in ctx.data.tests),
        )

    async def pr_creation(self, ctx: RunContext) -> None:
        incident: Incident = ctx.data
        branch = f"holdfast/{incident.ticket_id}-{ctx.run_id[-6:]}"
        await ctx.step("commit", self._commit, incident, branch)
        offer: Offer = await ctx.step("offer", self._offer, incident, branch, once="run")
        incident.branch, incident.pull = offer.branch, offer.number
        incident.diff, incident.diff_hash = offer.diff, offer.diff_hash

    async def remediation_complete(self, ctx: RunContext) -> None:
        text = f"Pull request #{ctx.data.pull} waits for review (diff {ctx.data.diff_hash[:12]}): {ctx.data.reason}"
        await ctx.step("tell-review", self._comment, ctx.data.ticket_id, text)

    # -- the review ---------------------------------------------------------------------------------------------

    async def changes_requested(self, ctx: RunContext) -> None:
        """Values that were asked for are kept over all further rounds; words are for people."""
        incident: Incident = ctx.data
        incident.wishes = incident.wishes | _wishes(ctx.signal)
        await self._decided(ctx, "request_changes")

    async def approved(self, ctx: RunContext) -> None:
        ctx.data.approved_by = (await self._decided(ctx, "approve")).by

    async def rejected(self, ctx: RunContext) -> None:
        decision = await self._decided(ctx, "reject")
        ctx.data.outcome = f"repair rejected by {decision.by}" + (f": {decision.text}" if decision.text else "")
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "rejected", ctx.data.outcome, once="run")

    async def _decided(self, ctx: RunContext, verdict: Verdict) -> Decision:
        incident: Incident = ctx.data
        decision = Decision(verdict, _by(ctx.signal), DiffHash(incident.diff_hash), _said(ctx.signal))
        place: int = await ctx.step("record", self._record, incident, decision)
        incident.decisions = (*incident.decisions, decision)
        incident.decided = place + 1
        return decision

    # -- the deployment -----------------------------------------------------------------------------------------

    async def triggering_deployment(self, ctx: RunContext) -> None:
        merged: str = await ctx.step("merge", self._merge, ctx.data, once="run")
        ctx.data.merged = merged
        await ctx.step("sync", self._sync, merged, once="run")

    async def deployment_in_progress(self, ctx: RunContext) -> None:
        ctx.data.deployment = await ctx.step("status", self._status)

    async def validation_in_progress(self, ctx: RunContext) -> str:
        """The proof: the rules look at the cluster again. Anything short of proven counts as failed."""
        doubt: str = await ctx.step("prove", self._doubt, ctx.data)
        ctx.data.validation = doubt or "proven: " + "; ".join(ctx.data.checks)
        return "failed" if doubt else "complete"

    async def deployment_complete(self, ctx: RunContext) -> None:
        ctx.data.outcome = f"repaired by pull request #{ctx.data.pull}, approved by {ctx.data.approved_by}"
        text = f"{ctx.data.outcome}. {ctx.data.validation}"
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "closed", text, once="run")

    async def deployment_failed(self, ctx: RunContext) -> None:
        """Back to what ran before, then a person's turn."""
        reverted = await ctx.step("revert", self._revert, ctx.data, once="run")
        await ctx.step("sync-back", self._sync, reverted, once="run")
        ctx.data.outcome = f"deployment not proven ({ctx.data.validation}); reverted by {reverted[:10]}"
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "escalated", ctx.data.outcome, once="run")

    async def escalation(self, ctx: RunContext) -> None:
        """Error handling gave up: a person's turn, with everything that is known."""
        why = ctx.reason.removeprefix(f"{WorkflowError.__name__}: ")
        ctx.data.outcome = f"escalated to a person: {why or 'nobody said why'}"
        await ctx.step("hand-over", self._hand_over, ctx.data, once="run")

    # -- steps --------------------------------------------------------------------------------------------------

    async def _propose(self, incident: Incident) -> Proposal:
        snapshot = await self._world.cluster.capture(incident.namespace)
        assert incident.cause is not None
        diagnosis = Diagnosis((incident.cause,), (), (), ())
        proposal = propose(snapshot, diagnosis, last_good=await self._last_good(incident))
        head = await self._world.repository.head(self._world.base_branch)
        files = await self._world.repository.files(head)
        wished = as_wished(proposal, incident.wishes, snapshot)
        if is_built(files, wished.changes, namespace=incident.namespace):
            return msgspec.structs.replace(wished, tests={})  # they read files as they stand
        return wished

    async def _last_good(self, incident: Incident) -> Mapping[Ref, Manifest] | None:
        """The manifests before the edit that is blamed, else those that were given as known to work."""
        if incident.culprit is not None:
            files = await self._world.repository.files(incident.culprit.commit.revision)
            declare = reader_of(files, self._world.renderer)
            namespace = incident.namespace
            return await last_good(self._world.repository, incident.culprit, namespace=namespace, declare=declare)
        return self._world.last_good or None

    async def _patched(self, incident: Incident) -> dict[str, str | None]:
        head = await self._world.repository.head(self._world.base_branch)
        files = await self._world.repository.files(head)
        changed = await in_thread(
            changed_files, files, incident.changes, namespace=incident.namespace, renderer=self._world.renderer
        )
        return {**changed, **incident.tests}

    async def _commit(self, incident: Incident, branch: str, *, key: str) -> str:
        assert incident.cause is not None
        base = await self._world.repository.head(self._world.base_branch)
        draft = Draft(
            branch=branch,
            base=base,
            files=await self._patched(incident),
            subject=f"{incident.ticket_id}: {incident.cause.rule} on {incident.cause.object}",
            body=incident.reason,
            expects=await self._head_of(incident.branch),
        )
        return (await self._world.repository.propose(draft, key=key)).revision

    async def _head_of(self, branch: str) -> Revision | None:
        return await self._world.repository.head(branch) if branch else None

    async def _offer(self, incident: Incident, branch: str, *, key: str) -> Offer:
        request = ReviewRequest(
            branch=branch,
            base=self._world.base_branch,
            title=f"{incident.ticket_id}: {incident.title}",
            body=_body(incident),
        )
        pull = await self._world.reviews.offer(request, key=key)
        return Offer(pull.number, branch, pull.diff.text, pull.diff.digest, pull.round)

    async def _record(self, incident: Incident, decision: Decision, *, key: str) -> int:
        """The place of a decision among the pull request's, put there unless it was made there."""
        pull = await self._world.reviews.read(incident.pull)
        place = _place_of(decision, pull, incident.decided)
        if place is None or pull.state == "open":  # open: offered again since, so what stands there is of before
            pull = await self._world.reviews.decide(incident.pull, msgspec.structs.replace(decision, key=key))
            place = _place_of(decision, pull, incident.decided)
        assert place is not None, f"{pull.number}: the decision of {key} was taken and is not there"
        return place

    async def _merge(self, incident: Incident, *, key: str) -> str:
        try:
            pull = await self._world.reviews.merge(incident.pull, diff_hash=DiffHash(incident.diff_hash), key=key)
        except (Conflict, Rejected) as error:
            raise WorkflowError(str(error), error_type=ErrorType.PERMANENT, severity=ErrorSeverity.HIGH) from error
        assert pull.merged is not None
        return pull.merged

    async def _sync(self, revision: str, *, key: str) -> str:
        return (await self._world.deployment.sync(Revision(revision), key=key)).phase

    async def _status(self) -> str:
        status = await self._world.deployment.status()
        return f"{status.phase}, {status.health}" + (f": {status.message}" if status.message else "")

    async def _doubt(self, incident: Incident) -> str:
        """Why the repair is not proven, or ""."""
        assert incident.cause is not None
        status = await self._world.deployment.status()
        if status.phase != "synced" or status.revision != incident.merged:
            return f"revision {incident.merged[:10]} is not live: {status.phase} {status.message}".strip()
        now = diagnose(await self._world.cluster.capture(incident.namespace)).ranked
        still = [finding for finding in now if (finding.rule, finding.object) == _identity(incident.cause)]
        if still:
            return f"{incident.cause.rule} still holds on {incident.cause.object}"
        before = {_identity(finding) for finding in incident.findings}
        fresh = [finding for finding in now if _identity(finding) not in before]
        if fresh:
            return f"a new finding: {fresh[0].rule} on {fresh[0].object}"
        return "" if status.health == "healthy" else f"the cluster is {status.health}: {status.message}"

    async def _revert(self, incident: Incident, *, key: str) -> str:
        reason = f"{incident.ticket_id}: {incident.validation}"
        commit = await self._world.repository.revert(
            Revision(incident.merged), branch=self._world.base_branch, reason=reason, key=key
        )
        return commit.revision

    async def _comment(self, ticket_id: str, text: str, *, key: str) -> None:
        await self._world.tickets.comment(ticket_id, text, by=self._world.assignee, key=key)

    async def _finish(self, ticket_id: str, status: TicketStatus, text: str, *, key: str) -> None:
        try:
            await self._world.tickets.finish(ticket_id, status, text, by=self._world.assignee, key=key)
        except Conflict:  # a person ended it meanwhile; what there is to say belongs there all the same
            await self._comment(ticket_id, text, key=key)

    async def _hand_over(self, incident: Incident, *, key: str) -> None:
        text = incident.outcome
        if incident.pull:
            pull = await self._world.reviews.read(incident.pull)
            text += f"\nPull request #{pull.number} is {pull.state}" + (
                "; whether it works is not proven." if pull.state == "merged" else "."
            )
        await self._finish(incident.ticket_id, "escalated", text, key=key)


def _body(incident: Incident) -> str:
    """The pull request's text: the reason, whom it touches, what was proven and what will be."""
    lines = [incident.reason, "", f"Blast radius: {incident.blast}", "", "Proven on the patched manifests:"]
    lines += [*(f"- {proof}" for proof in incident.proof), "", "After deployment:"]
    return "\n".join([*lines, *(f"- {check}" for check in incident.checks)])


def _identity(finding: Finding) -> tuple[str, Ref]:
    return finding.rule, finding.object


def _place_of(wanted: Decision, pull: PullRequest, start: int) -> int | None:
    """Where the same person said the same of the same diff last, from `start` on."""
    places = [
        place
        for place, each in enumerate(pull.decisions)
        if place >= start and (each.verdict, each.by, each.diff_hash) == (wanted.verdict, wanted.by, wanted.diff_hash)
    ]
    return places[-1] if places else None


def _by(signal: Mapping[str, object] | None) -> str:
    return str(signal["by"]) if signal else "unknown"


def _said(signal: Mapping[str, object] | None) -> str:
    """The reviewer's words, bounded: the signal's data, as text or as {"text": ..., "values": {...}}."""
    data = signal.get("data") if signal else None
    text = data.get("text") if isinstance(data, Mapping) else data
    return "" if text is None else str(text)[:SAID_CHARS_MAX]


def _wishes(signal: Mapping[str, object] | None) -> dict[str, str]:
    """Values that a reviewer asked for: {"values": {"PATH": "VALUE"}} in the signal's data."""
    data = signal.get("data") if signal else None
    values = data.get("values") if isinstance(data, Mapping) else None
    return {str(path): str(value) for path, value in values.items()} if isinstance(values, Mapping) else {}


def _answers(wishes: Mapping[str, str], paths: Collection[str]) -> str:
    """What became of the values that reviewers asked for, in words."""
    taken = [f"{path} = {value}" for path, value in wishes.items() if path in paths]
    other = [path for path in wishes if path not in paths]
    return (f". As reviewers asked: {', '.join(taken)}" if taken else "") + (
        f". Asked for, but no part of this repair: {', '.join(other)}" if other else ""
    )
