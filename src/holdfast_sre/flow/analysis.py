"""The bot's work up to a cause: taking the ticket, looking at the cluster and at the manifests' history.

Each function is the handler of the state it is named after. What they ask of the world are steps, so that a crash
repeats none that was finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from holdfast import Conflict, ErrorSeverity, ErrorType, NotFound, RunContext, WorkflowError
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.flow.incident import Collected, Incident, called
from holdfast_sre.flow.opinion import Opinion
from holdfast_sre.flow.world import World
from holdfast_sre.history.past import Past, Suspected, past_of, suspected
from holdfast_sre.history.sources import SourcePast
from holdfast_sre.ports import Material, ModelRequest, Revision, Ticket
from holdfast_sre.repair.built.layouts import reader_of
from holdfast_sre.repair.last_good.changelog import COMMITS_BUILT_MAX, COMMITS_MAX, Edit, culprit, recent_edits

CULPRIT_BONUS = 0.5
"""How much of the remaining doubt goes away when history names the edit that brought the blamed value."""
CHOICES_MAX = 3
DOUBT_SPAN = 0.2
"""Findings whose confidence is no more than this below the first one's are a matter of opinion."""
TEXT_CHARS_MAX = 4_000
"""How much of a ticket's text a run keeps, for its report."""


class Analysis:
    """The handlers of ticket acceptance and analysis, for one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._opinion = Opinion(world.model, world.dependencies)

    # -- the ticket ---------------------------------------------------------------------------------------------

    async def ticket_detected(self, ctx: RunContext) -> None:
        ticket: Ticket = await ctx.step("read-ticket", self._world.tickets.read, ctx.input["ticket"])
        incident: Incident = ctx.data
        incident.ticket_id = ticket.id
        incident.title = ticket.title
        incident.text = ticket.text[:TEXT_CHARS_MAX]
        incident.namespace = ticket.namespace
        incident.service = ticket.service
        incident.repository = self._world.repository_name

    async def validating_ticket(self, ctx: RunContext) -> None:
        ctx.data.problem = await ctx.step("validate", self._problem_of, ctx.data.ticket_id)

    async def accepting_ticket(self, ctx: RunContext) -> str:
        if not ctx.data.problem:
            ctx.data.problem = await ctx.step("accept", self._accept, ctx.data.ticket_id, once="run")
        return "rejected" if ctx.data.problem else "accepted"

    async def ticket_accepted(self, ctx: RunContext) -> None:
        text = f"Taken over as run {ctx.run_id}. The evidence, the repair and every decision will be told here."
        await ctx.step("tell-taken", self._comment, ctx.data.ticket_id, text, once="run")

    async def ticket_rejected(self, ctx: RunContext) -> None:
        ctx.data.outcome = f"not taken: {ctx.data.problem}"
        await ctx.step("finish", self._reject, ctx.data.ticket_id, ctx.data.outcome, once="run")

    # -- looking ------------------------------------------------------------------------------------------------

    async def data_collection(self, ctx: RunContext) -> None:
        ctx.data.collected = await ctx.step("collect", self._collect, ctx.data.namespace)

    async def k8s_event_analysis(self, ctx: RunContext) -> None:
        ctx.data.findings = await ctx.step("diagnose", self._diagnose, ctx.data.namespace)
        for finding in ctx.data.findings[:CHOICES_MAX]:
            ctx.note(f"{finding.rule} on {finding.object}", confidence=round(finding.confidence, 3))

    async def source_code_analysis(self, ctx: RunContext) -> None:
        collected: Collected = ctx.data.collected
        ctx.data.edits = await ctx.step("edits", self._edits, collected.revision, ctx.data.namespace)
        if self._world.sources:
            ctx.data.pasts = await ctx.step("sources", self._pasts, ctx.data.namespace, ctx.data.edits)

    async def correlation(self, ctx: RunContext) -> None:
        """Which of the recent edits brought a value that the first findings blame, and which change comes first when
        one looks for what broke it."""
        if ctx.data.edits or ctx.data.pasts:
            ctx.data.suspected = await ctx.step("suspect", self._suspected, ctx.data)
        for finding in ctx.data.findings[:CHOICES_MAX]:
            found = culprit(ctx.data.edits, finding.blames)
            if found is not None:
                ctx.data.culprit = found
                ctx.note(
                    f"{finding.rule}: brought by {found.commit.revision[:10]}",
                    author=found.commit.author,
                    subject=found.commit.subject,
                )
                return

    async def root_cause_generation(self, ctx: RunContext) -> str:
        """The cause by the rules' order; whether others are about as likely, and there is somebody to ask."""
        findings: tuple[Finding, ...] = ctx.data.findings
        if not findings:
            raise _for_people("no known fault holds now; a person has to look")
        ctx.data.cause, ctx.data.chosen_by = findings[0], "rules"
        return "doubtful" if self._opinion.is_there and len(_choices(findings)) > 1 else "certain"

    async def second_opinion(self, ctx: RunContext) -> None:
        """The cause among those that are about as likely, as a model prefers. It can choose none that is not there."""
        choices = _choices(ctx.data.findings)
        request = ModelRequest(
            task="Which of these findings is the root cause of the incident?",
            choices=tuple(choices),
            by_rules=next(iter(choices)),
            material=tuple(
                Material(name, "\n".join(f"{quote.source}: {quote.text}" for quote in finding.evidence))
                for name, finding in choices.items()
            ),
        )
        answer = await ctx.step("choose", self._opinion.choose, request)
        ctx.data.cause = choices[answer.choice]
        ctx.data.chosen_by, ctx.data.chosen_because = answer.source, answer.reason
        if answer.source == "model":
            ctx.note(f"the model prefers {answer.choice}", reason=answer.reason)

    async def confidence_calculation(self, ctx: RunContext) -> None:
        cause: Finding = ctx.data.cause
        is_in_history = culprit(ctx.data.edits, cause.blames) is not None
        doubt = (1 - cause.confidence) * (CULPRIT_BONUS if is_in_history else 1.0)
        ctx.data.confidence = round(1 - doubt, 3)

    async def analysis_complete(self, ctx: RunContext) -> None:
        await ctx.step("tell-cause", self._comment, ctx.data.ticket_id, _told(ctx.data), once="run")

    # -- steps --------------------------------------------------------------------------------------------------

    async def _problem_of(self, ticket_id: str) -> str:
        """Why the ticket cannot be worked on, or "" where it can."""
        ticket = await self._world.tickets.read(ticket_id)
        if not ticket.namespace:
            return "it names no namespace; say where the service runs"
        if ticket.status not in ("open", "in_progress"):
            return f"it is {ticket.status} already"
        try:
            await self._world.cluster.capture(ticket.namespace)
        except NotFound as error:
            return str(error)
        return ""

    async def _accept(self, ticket_id: str, *, key: str) -> str:
        """Take the ticket: why it cannot be had, or ""."""
        try:
            await self._world.tickets.accept(ticket_id, assignee=self._world.assignee, key=key)
        except Conflict as error:
            return str(error)
        return ""

    async def _comment(self, ticket_id: str, text: str, *, key: str) -> None:
        await self._world.tickets.comment(ticket_id, text, by=self._world.assignee, key=key)

    async def _reject(self, ticket_id: str, text: str, *, key: str) -> None:
        ticket = await self._world.tickets.read(ticket_id)
        if ticket.status != "open" or ticket.assignee not in (None, self._world.assignee):
            return  # somebody else's, or ended already: nothing of ours to end
        with suppress(Conflict):
            await self._world.tickets.finish(ticket_id, "rejected", text, by=self._world.assignee, key=key)

    async def _collect(self, namespace: str) -> Collected:
        snapshot = await self._world.cluster.capture(namespace)
        looked = diagnose(snapshot, rules=())
        head = await self._world.repository.head(self._world.base_branch)
        return Collected(head, looked.looked_at, looked.missing)

    async def _diagnose(self, namespace: str) -> tuple[Finding, ...]:
        return diagnose(await self._world.cluster.capture(namespace)).ranked

    async def _edits(self, revision: str, namespace: str) -> tuple[Edit, ...]:
        head = Revision(revision)
        declare = reader_of(await self._world.repository.files(head), self._world.renderer)
        commits_max = COMMITS_MAX if declare is None else COMMITS_BUILT_MAX
        return await recent_edits(
            self._world.repository, head, namespace=namespace, commits_max=commits_max, declare=declare
        )

    async def _pasts(self, namespace: str, edits: tuple[Edit, ...]) -> tuple[SourcePast, ...]:
        snapshot = await self._world.cluster.capture(namespace)
        return (await past_of(snapshot, self._world.sources, edits)).pasts

    async def _suspected(self, incident: Incident) -> dict[str, Suspected]:
        snapshot = await self._world.cluster.capture(incident.namespace)
        past = Past(incident.edits, incident.pasts)
        return {
            called(finding): await suspected(snapshot, finding, past, self._world.sources)
            for finding in incident.findings[:CHOICES_MAX]
        }


def _choices(findings: Sequence[Finding]) -> dict[str, Finding]:
    """The findings that are about as likely as the first, by what they are called."""
    near = [each for each in findings[:CHOICES_MAX] if findings[0].confidence - each.confidence <= DOUBT_SPAN]
    return {called(each): each for each in near}


def _told(incident: Incident) -> str:
    """The analysis for the ticket: the cause, why, since when."""
    assert incident.cause is not None
    lines = [f"Cause: {incident.cause.rule} on {incident.cause.object} (confidence {incident.confidence:.2f})."]
    lines += [f"- {quote.source}: {quote.text}" for quote in incident.cause.evidence]
    lines += incident.origin_told
    return "\n".join(lines)


def _for_people(text: str) -> WorkflowError:
    return WorkflowError(text, error_type=ErrorType.PERMANENT, severity=ErrorSeverity.HIGH)
