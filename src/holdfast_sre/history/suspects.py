"""Which change comes first when one looks for what broke it: what was touched, then how near before it. Pure.

An edit of the manifests is compared leaf by leaf with the fields that a finding blames. Of a source only names can be
compared: a commit that touches a blamed key is looked at first, and nothing here says that it is the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.findings import Change, Finding, Moment, quote
from holdfast_sre.diagnosis.timeline import DAY_S, first_symptom_age_s, taken_at_s
from holdfast_sre.durations import duration
from holdfast_sre.evidence.snapshot import Ref, Snapshot
from holdfast_sre.history.keys import Key, blamed_keys, known_keys
from holdfast_sre.history.sources import SourcePast, blamed_services, neighbours
from holdfast_sre.ports import Commit
from holdfast_sre.repair.last_good.changelog import Edit, culprit, is_blamed
from holdfast_sre.repair.tree.secret_values import Hidden, hidden_values

CHANGED_MAX = 4
PATHS_TOLD_MAX = 3
VALUE_CHARS_MAX = 80

Why = Literal["brought it", "touches it", "same object", "neighbour", "since then"]
_ORDER: dict[Why, int] = {"brought it": 0, "touches it": 1, "same object": 2, "neighbour": 3, "since then": 4}
WHY_TOLD: dict[Why, str] = {
    "brought it": "brought what is blamed",
    "touches it": "touches what is blamed",
    "same object": "the same object",
    "neighbour": "a neighbour",
    "since then": "changed since",
}
_ABOUT_IT = frozenset(("brought it", "touches it", "same object"))


class Suspect(msgspec.Struct, frozen=True):
    """A commit that may have to do with a finding.

    `why`: it brought the blamed value (manifests), touches what is blamed, changed the same object or its source, was
    made to a neighbour's source, or came when all was not well. `place` is `manifests` or `source of NAME`; `touches`
    are the blamed keys or fields, `changed` what it did to them or else. `rollout` names what ran before and after it
    came into the cluster, where that is known. `age_s` counts back from the recording,
    `before_symptom_s` from the first symptom on record (negative: after it); None where the time is not known.
    """

    why: Why
    place: str
    revision: str
    author: str
    at_s: int
    subject: str
    changed: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    files_count: int = 0
    rollout: str = ""
    age_s: float | None = None
    before_symptom_s: float | None = None

    @property
    def told(self) -> str:
        """One line for people: when, which commit, what it changed, by whom."""
        what = ", ".join(f"`{text}`" for text in self.changed[:2]) or f'"{self.subject}"'
        more = f" and {len(self.changed) - 2} more" if len(self.changed) > 2 else ""
        where = "" if self.place == "manifests" else f" ({self.place})"
        when = f"{self._when}, rolled out by {self.rollout}" if self.rollout else self._when
        who = self.author.partition(" <")[0]
        said = f": {self.subject}" if self.changed else ""
        return quote("", f"{when}: commit {self.revision[:10]}{where} {what}{more}, by {who}{said}").text

    @property
    def _when(self) -> str:
        if self.before_symptom_s is not None:
            side = "before" if self.before_symptom_s >= 0 else "after"
            return f"changed {duration(abs(self.before_symptom_s))} {side} the first symptom"
        if self.age_s is not None:
            return f"changed {duration(self.age_s)} before the recording"
        return f"changed {datetime.fromtimestamp(self.at_s, UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def moment(self) -> Moment | None:
        """Its place on the line of time; None where that is not known."""
        if self.age_s is None:
            return None
        said = self.subject
        if self.place != "manifests" and self.changed:
            said += f" [{', '.join(self.changed)}]"
        said += f" ({WHY_TOLD[self.why]})" if self.touches else ""
        place = "" if self.place == "manifests" else f" to the {self.place}"
        source = quote("", f"commit {self.revision[:10]} of {self.author}{place}").text
        return Moment(self.age_s, "change", source, quote("", said).text)


def suspects(
    snapshot: Snapshot,
    finding: Finding,
    *,
    edits: Sequence[Edit] = (),
    pasts: Iterable[SourcePast] = (),
    healthy_at_s: float | None = None,
) -> tuple[Suspect, ...]:
    """The commits that may have to do with a finding, the first one to look at first.

    Edits of the manifests are newest first. What came before all was well, or after the recording, is none. Where it is
    not known when all was well, what touches nothing that is blamed counts for a day before the first symptom.
    """
    judge = _Judge(snapshot, finding, healthy_at_s)
    found = [*judge.edits(edits), *(each for past in pasts for each in judge.source(past))]
    return tuple(sorted(found, key=_place))


def nearest(found: Sequence[Suspect]) -> Suspect | None:
    """The one to name with a finding: of those that are about it the first; None where there is none."""
    return next((each for each in found if each.why in _ABOUT_IT), None)


def _place(suspect: Suspect) -> tuple[int, bool, int, str]:
    """By why; before the first symptom goes before after it; the latest first."""
    is_after = suspect.before_symptom_s is not None and suspect.before_symptom_s < 0
    return _ORDER[suspect.why], is_after, -suspect.at_s, suspect.revision


class _Judge:
    """What is the same for all commits of one finding."""

    def __init__(self, snapshot: Snapshot, finding: Finding, healthy_at_s: float | None) -> None:
        self._snapshot, self._finding, self._healthy_at_s = snapshot, finding, healthy_at_s
        self._taken_s = taken_at_s(snapshot)
        self._symptom_age_s = first_symptom_age_s(snapshot, finding)

    @cached_property
    def _keys(self) -> frozenset[Key]:
        return blamed_keys(self._snapshot, self._finding, known_keys(self._snapshot))

    @cached_property
    def _mine(self) -> frozenset[str]:
        return blamed_services(self._snapshot, self._finding)

    @cached_property
    def _near(self) -> frozenset[str]:
        return self._mine | frozenset(neighbours(self._snapshot, self._mine))

    @property
    def _since_s(self) -> float | None:
        """From when on a commit counts that touches nothing blamed; None where that cannot be said."""
        if self._healthy_at_s is not None or self._taken_s is None:
            return self._healthy_at_s
        return self._taken_s - (self._symptom_age_s or 0.0) - DAY_S

    def edits(self, edits: Sequence[Edit]) -> Iterator[Suspect]:
        finding, healthy_at_s = self._finding, self._healthy_at_s
        origin = culprit(edits, finding.blames, healthy_at_s=healthy_at_s)
        if healthy_at_s is None and origin is not None:
            since_s: float | None = origin.commit.at_s - 1.0
        else:
            since_s = self._since_s
        for edit in edits:
            if not self._is_recorded(edit.commit) or since_s is None or edit.commit.at_s <= since_s:
                continue
            blamed = tuple(change for change in edit.changes if is_blamed(change, finding.blames))
            own = tuple(change for change in edit.changes if change.object == str(finding.object))
            is_origin = origin is not None and origin.commit.revision == edit.commit.revision
            why: Why = "brought it" if is_origin else "touches it" if blamed else "same object" if own else "since then"
            said = _texts(blamed or own or edit.changes, finding.object)
            touched = tuple(dict.fromkeys(change.path for change in blamed))[:CHANGED_MAX]
            yield self._suspect(why, "manifests", edit.commit, said, touched, len(edit.commit.paths))

    def source(self, past: SourcePast) -> Iterator[Suspect]:
        for each in past.commits if past.service in self._near else ():
            touching = tuple(change for change in each.keys if self._keys.intersection(change.keys))
            is_recent = bool(past.rollout) or (self._since_s is not None and each.commit.at_s > self._since_s)
            is_new = bool(past.rollout) or self._healthy_at_s is None or each.commit.at_s > self._healthy_at_s
            if not self._is_recorded(each.commit) or not is_new or not (touching or is_recent):
                continue
            why: Why = "touches it" if touching else "same object" if past.service in self._mine else "neighbour"
            touched = self._keys.intersection(key for change in touching for key in change.keys)
            said = tuple(f"{change.told} in {change.file}" for change in touching)[:CHANGED_MAX]
            names = tuple(str(key) for key in sorted(touched))[:CHANGED_MAX]
            found = self._suspect(why, f"source of {past.service}", each.commit, said, names, each.files)
            yield msgspec.structs.replace(found, rollout=quote("", past.rollout).text)

    def _suspect(
        self, why: Why, place: str, commit: Commit, changed: tuple[str, ...], touches: tuple[str, ...], files: int
    ) -> Suspect:
        age_s = None if self._taken_s is None else self._taken_s - commit.at_s
        is_timed = age_s is not None and self._symptom_age_s is not None
        return Suspect(
            why=why,
            place=place,
            revision=commit.revision,
            author=quote("", commit.author).text,
            at_s=commit.at_s,
            subject=quote("", commit.subject).text,
            changed=tuple(quote("", text).text for text in changed),
            touches=touches,
            files=tuple(quote("", path).text for path in commit.paths[:PATHS_TOLD_MAX]),
            files_count=files,
            age_s=age_s,
            before_symptom_s=age_s - (self._symptom_age_s or 0.0) if age_s is not None and is_timed else None,
        )

    def _is_recorded(self, commit: Commit) -> bool:
        """Whether it was made when the recording was taken."""
        return self._taken_s is None or commit.at_s <= self._taken_s


def _texts(changes: Sequence[Change], about: Ref) -> tuple[str, ...]:
    """Changes of manifests in short, values of secrets hidden: `image: shop:2 -> shop:3`."""
    hidden = hidden_values(changes)
    found = []
    for change in changes[:CHANGED_MAX]:
        owner = "" if change.object == str(about) else f"{change.object} "
        is_secret = change.object.startswith("Secret/")
        before, after = (_value(text, hidden, is_secret=is_secret) for text in (change.before, change.after))
        found.append(f"{owner}{_short(change.path)}: {before} -> {after}")
    return tuple(found)


def _short(path: str) -> str:
    """The end of a path, from the container on where there is one."""
    for head in ("spec.template.spec.", "spec."):
        if path.startswith(head):
            path = path.removeprefix(head)
            break
    place, _, below = path.partition("].")
    return below if place.startswith("containers[") and below else path


def _value(text: str | None, hidden: Hidden, *, is_secret: bool) -> str:
    if text is None:
        return "nothing"
    if is_secret:
        return "(a secret value)"
    masked = hidden.masked(text)
    return masked if len(masked) <= VALUE_CHARS_MAX else f"{masked[: VALUE_CHARS_MAX - 1]}…"
