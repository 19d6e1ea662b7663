"""The catalogue as a page for people, made from the rules themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from holdfast_sre.diagnosis.findings import Rule

INTRODUCTION = """# The catalogue of the bot's rules

{rules} rules, {patches} of which the manifests can mend. A rule finds nothing unless all that is told under *holds* is
so at the moment of the recording: an event of half an hour ago is history. What a rule cannot look at because it was
not recorded, it does not guess; the diagnosis names it as missing.

*Patch* means that the bot proposes a change of the manifests where a last known good or the cluster's own objects prove
it, and escalates where neither does. *Escalate* means that no manifest can mend it: the bot never patches, and a person
takes the step.

This page is made from the rules by `holdfast-sre catalogue --markdown`. A rule is one file, named by its id, in its
family's folder below `holdfast_sre/diagnosis/rules`: `image-not-found` is `images/image_not_found.py`. To add one, add
its file, and its tests as `test_` and the same name below `tests/sre/diagnosis/rules`; nothing else lists it.
"""


def page(families: Mapping[str, Sequence[Rule]]) -> str:
    """The page as Markdown: a section for each family of rules, in the order of the catalogue."""
    rules = [rule for family in families.values() for rule in family]
    patches = sum(rule.repair == "patch" for rule in rules)
    parts = [INTRODUCTION.format(rules=len(rules), patches=patches)]
    parts += ["\n".join(_family(text, family)) for text, family in families.items()]
    return "\n".join(parts)


def _family(text: str, rules: Sequence[Rule]) -> Iterator[str]:
    yield f"## {text.partition(':')[0].rstrip('.')}"
    yield ""
    for rule in rules:
        yield f"### `{rule.id}`"
        yield ""
        yield f"{rule.title}."
        yield ""
        yield f"- holds: {rule.holds}"
        yield f"- {rule.repair}: {rule.mending}"
        yield f"- proof: {rule.proof}"
        yield ""
