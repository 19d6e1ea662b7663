"""The bot's work from a cause to an end: the patch, its review, the deployment, its proof, the ticket.

Each function is the handler of the state it is named after.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast import Conflict, ErrorSeverity, ErrorType, Rejected, RunContext, WorkflowError
from holdfast_sre.changelog import last_good
from holdfast_sre.diagnose import Diagnosis, diagnose
from holdfast_sre.findings import Change, Finding
from holdfast_sre.incident import Incident
from holdfast_sre.manifests import apply
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
from holdfast_sre.propose import Proposal, propose
from holdfast_sre.rules import CATALOGUE
from holdfast_sre.snapshot import Manifest, Ref
from holdfast_sre.world import World


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
        wished = _wishes(ctx.signal) if incident.requests else {}
        incident.changes = tuple(_as_wished(change, wished) for change in proposal.changes)
        incident.reason = proposal.reason

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
        await ctx.step("tell", self._comment, ctx.data.ticket_id, text)

    # -- the review ---------------------------------------------------------------------------------------------

    async def changes_requested(self, ctx: RunContext) -> None:
        said = _said(ctx.signal)
        ctx.data.requests = (*ctx.data.requests, said)
        await ctx.step("record", self._decide, ctx.data, "request_changes", _by(ctx.signal), said)

    async def approved(self, ctx: RunContext) -> None:
        await ctx.step("record", self._decide, ctx.data, "approve", _by(ctx.signal), _said(ctx.signal))
        ctx.data.approved_by = _by(ctx.signal)

    async def rejected(self, ctx: RunContext) -> None:
        by, said = _by(ctx.signal), _said(ctx.signal)
        await ctx.step("record", self._decide, ctx.data, "reject", by, said)
        ctx.data.outcome = f"repair rejected by {by}" + (f": {said}" if said else "")
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "rejected", ctx.data.outcome, once="run")

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
        await ctx.step("sync", self._sync, reverted, once="run")
        ctx.data.outcome = f"deployment not proven ({ctx.data.validation}); reverted by {reverted[:10]}"
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "escalated", ctx.data.outcome, once="run")

    async def escalation(self, ctx: RunContext) -> None:
        """Error handling gave up: a person's turn, with everything that is known."""
        ctx.data.outcome = ctx.data.outcome or "escalated to a person"
        text = f"Escalated by run {ctx.run_id}: {ctx.reason or ctx.data.outcome}"
        await ctx.step("finish", self._finish, ctx.data.ticket_id, "escalated", text, once="run")

    # -- steps --------------------------------------------------------------------------------------------------

    async def _propose(self, incident: Incident) -> Proposal:
        snapshot = await self._world.cluster.capture(incident.namespace)
        assert incident.cause is not None
        diagnosis = Diagnosis((incident.cause,), (), (), ())
        return propose(snapshot, diagnosis, last_good=await self._last_good(incident))

    async def _last_good(self, incident: Incident) -> Mapping[Ref, Manifest] | None:
        """The manifests before the edit that is blamed, else those that were given as known to work."""
        if incident.culprit is not None:
            return await last_good(self._world.repository, incident.culprit, namespace=incident.namespace)
        return self._world.last_good or None

    async def _patched(self, incident: Incident) -> dict[str, str | None]:
        head = await self._world.repository.head(self._world.base_branch)
        files = await self._world.repository.files(head)
        return apply(files, incident.changes, namespace=incident.namespace)

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
            body="\n".join([incident.reason, "", "After deployment:", *(f"- {check}" for check in incident.checks)]),
        )
        pull = await self._world.reviews.offer(request, key=key)
        return Offer(pull.number, branch, pull.diff.text, pull.diff.digest, pull.round)

    async def _decide(self, incident: Incident, verdict: Verdict, by: str, text: str, *, key: str) -> str:
        """The decision stands in the review too, wherever it was made."""
        pull = await self._world.reviews.read(incident.pull)
        if _has_decided(pull, verdict, by, incident.diff_hash):
            return pull.state
        decision = Decision(verdict, by, DiffHash(incident.diff_hash), text, key)
        return (await self._world.reviews.decide(incident.pull, decision)).state

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
        await self._world.tickets.finish(ticket_id, status, text, by=self._world.assignee, key=key)


def _identity(finding: Finding) -> tuple[str, Ref]:
    return finding.rule, finding.object


def _has_decided(pull: PullRequest, verdict: Verdict, by: str, diff_hash: str) -> bool:
    return any((each.verdict, each.by, each.diff_hash) == (verdict, by, diff_hash) for each in pull.decisions)


def _by(signal: Mapping[str, object] | None) -> str:
    return str(signal["by"]) if signal else "unknown"


def _said(signal: Mapping[str, object] | None) -> str:
    """The reviewer's words: the signal's data, as text or as {"text": ..., "values": {...}}."""
    data = signal.get("data") if signal else None
    if isinstance(data, Mapping):
        return str(data.get("text", ""))
    return "" if data is None else str(data)


def _wishes(signal: Mapping[str, object] | None) -> dict[str, str]:
    """Values that a reviewer asked for: {"values": {"PATH": "VALUE"}} in the signal's data."""
    data = signal.get("data") if signal else None
    values = data.get("values") if isinstance(data, Mapping) else None
    return {str(path): str(value) for path, value in values.items()} if isinstance(values, Mapping) else {}


def _as_wished(change: Change, wished: Mapping[str, str]) -> Change:
    """A change with the reviewer's value, where one was named for its very path."""
    return msgspec.structs.replace(change, after=wished[change.path]) if change.path in wished else change
