"""A proposal for people: what shall be done and why, the diff in colours, the proof, and whom it touches.

Text from clusters is data: it moves no cursor and is no markup. Values of secrets are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from holdfast_sre.cli.terminal import printable
from holdfast_sre.repair.last_good.history import LookBack
from holdfast_sre.repair.offer import Offer
from holdfast_sre.telling import tell

DIFF_LINES_MAX = 200
MISSING_MAX = 12
SINCE_MAX = 8

_STYLES = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))


def show_proposal(
    console: Console, case: str, offered: Offer, looked: LookBack | None, *, missing: Iterable[str] = ()
) -> None:
    """Print it."""
    proposal, finding = offered.proposal, offered.proposal.finding
    is_patch = proposal.action == "patch"
    head = Text.assemble(
        (printable(case), "bold"), "  ", (proposal.action, "bold green" if is_patch else "bold yellow")
    )
    if finding is not None:
        head.append(
            f"  {printable(finding.rule)} on {printable(str(finding.object))}, {finding.confidence:.2f} sure", "dim"
        )
    _say(console, head)
    tell(console, Text("  "), Text(printable(proposal.reason)))
    for item in finding.evidence[:4] if finding is not None else ():
        tell(console, Text("  evidence  ", "dim"), Text(printable(f"{item.source}: {item.text}")))
    if looked is not None:
        tell(console, Text("  history   ", "dim"), Text(printable(looked.told)))
        for commit in looked.since[:SINCE_MAX]:
            tell(console, Text("  also then ", "dim"), Text(printable(f"{commit.revision[:10]} {commit.subject}")))
    if is_patch:
        for line in _diff(offered.shown):
            _say(console, line)
        for proof in proposal.proof:
            tell(console, Text("  proof     ", "dim"), Text(printable(proof)))
        tell(console, Text("  touches   ", "dim"), Text(printable(proposal.blast.told)))
        for path in proposal.tests:
            tell(console, Text("  test      ", "dim"), Text(printable(path)))
    _missing(console, tuple(missing))


def _say(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)


def _missing(console: Console, missing: tuple[str, ...]) -> None:
    for text in missing[:MISSING_MAX]:
        tell(console, Text("  missing   ", "dim"), Text(printable(text)))
    if len(missing) > MISSING_MAX:
        _say(console, Text(f"  and {len(missing) - MISSING_MAX} more; --json has all", "dim"))


def _diff(diff: str) -> Iterator[Text]:
    """The diff's manifests line by line; tests are told by their paths alone."""
    lines = [line for block in _blocks(diff) if not _is_test(block) for line in block]
    for line in lines[:DIFF_LINES_MAX]:
        style = next((style for sign, style in _STYLES if line.startswith(sign)), "")
        yield Text(f"  {printable(line)}", style)
    if len(lines) > DIFF_LINES_MAX:
        yield Text(f"  and {len(lines) - DIFF_LINES_MAX} more lines; --json has all", "dim")


def _blocks(diff: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in diff.splitlines():
        if line.startswith("--- ") and block:
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _is_test(block: list[str]) -> bool:
    return len(block) > 1 and block[1].startswith("+++ b/holdfast-checks/")
