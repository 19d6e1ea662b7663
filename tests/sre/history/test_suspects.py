"""Suspects: what touched the blamed thing goes first, then what is near; nothing from before or after is one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.findings import EVIDENCE_TEXT_MAX, Change, Field, Finding, quote
from holdfast_sre.diagnosis.timeline import CHANGES_MAX, MOMENTS_MAX, first_symptom_age_s, taken_at_s, timeline
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot
from holdfast_sre.history.keys import Key
from holdfast_sre.history.sources import SourceCommit, SourcePast, blamed_services, neighbours
from holdfast_sre.history.suspects import Suspect, nearest, suspects
from holdfast_sre.history.touched import KeyChange
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.changelog import Edit
from tests.sre.history.shops import DAY, HOUR, MINUTE, SHOP, SYMPTOM_AGE_S, TAKEN_S, world
from tests.sre.repair.hostile import strings

LIMIT = "spec.template.spec.containers[app].resources.limits.memory"
BLAMING = Finding("r", SHOP, 0.9, (quote("log of shop", "DATABASE_HOST is not set"),), (Field(SHOP, LIMIT),))


def commit(number: int, age_s: float, subject: str = "Change", author: str = "Ana <ana@shop.test>") -> Commit:
    return Commit(Revision(f"{number:040x}"), (), author, int(TAKEN_S - age_s), subject, ("app/a.py",))


def edit(
    number: int, age_s: float, path: str = LIMIT, of: str = str(SHOP), values: tuple[str, str] = ("1", "2")
) -> Edit:
    return Edit(commit(number, age_s), (Change(of, path, *values),))


def past(service: str, *commits: tuple[int, float, str], rollout: str = "") -> SourcePast:
    """Commits as (number, age, the variable that each adds)."""
    found = [
        SourceCommit(commit(number, age_s), 1, (KeyChange(Key("setting", name), "added", "a.py"),) if name else ())
        for number, age_s, name in commits
    ]
    return SourcePast(service, tuple(found), Revision("f" * 40), "", rollout)


def whys(found: tuple[Suspect, ...]) -> list[tuple[str, int]]:
    return [(each.why, int(each.revision, 16)) for each in found]


def test_the_order_is_brought_touched_same_neighbour_other() -> None:
    edits = (edit(1, HOUR, of="Deployment/till"), edit(2, 2 * HOUR, "spec.replicas"), edit(3, 3 * HOUR))
    pasts = (past("shop", (4, HOUR, "OTHER_NAME"), (5, 9 * DAY, "DATABASE_HOST")), past("till", (6, HOUR, "")))
    found = suspects(world().snapshot(), BLAMING, edits=edits, pasts=pasts)
    assert whys(found) == [
        ("brought it", 3),
        ("touches it", 5),
        ("same object", 4),
        ("same object", 2),
        ("neighbour", 6),
        ("since then", 1),
    ]
    assert found[1].touches == ("DATABASE_HOST",)
    assert found[0].changed == ("resources.limits.memory: 1 -> 2",)


def test_a_change_after_the_first_symptom_goes_behind_one_before_it() -> None:
    pasts = (past("shop", (1, SYMPTOM_AGE_S - 60, "DATABASE_HOST"), (2, SYMPTOM_AGE_S + 60, "DATABASE_HOST")),)
    found = suspects(world().snapshot(), BLAMING, pasts=pasts)
    assert [each.before_symptom_s for each in found] == [60.0, -60.0]
    assert found[0].told.startswith("changed 1 min before the first symptom: commit 0000000000 (source of shop)")
    assert "1 min after the first symptom" in found[1].told


def test_what_came_before_all_was_well_or_after_the_recording_is_none() -> None:
    edits, pasts = (edit(1, -60), edit(2, 3 * HOUR)), (past("shop", (3, 3 * HOUR, "DATABASE_HOST"), (4, -60, "")),)
    assert suspects(world().snapshot(), BLAMING, edits=edits, pasts=pasts, healthy_at_s=TAKEN_S - HOUR) == ()
    rolled = (past("shop", (3, 3 * HOUR, "DATABASE_HOST"), rollout="1 -> 2"),)
    (found,) = suspects(world().snapshot(), BLAMING, pasts=rolled, healthy_at_s=TAKEN_S - HOUR)
    assert "rolled out by 1 -> 2" in found.told


def test_what_touches_nothing_blamed_counts_for_a_day() -> None:
    ages = (SYMPTOM_AGE_S + DAY - 60, SYMPTOM_AGE_S + DAY + 60)
    edits = tuple(edit(number, age_s, "spec.replicas") for number, age_s in enumerate(ages))
    pasts = (past("shop", *((number + 2, age_s, "") for number, age_s in enumerate(ages))),)
    assert whys(suspects(world().snapshot(), BLAMING, edits=edits, pasts=pasts)) == [
        ("same object", 0),
        ("same object", 2),
    ]


def test_a_source_of_somebody_far_away_is_not_looked_at() -> None:
    assert suspects(world().snapshot(), BLAMING, pasts=(past("stranger", (1, HOUR, "DATABASE_HOST")),)) == ()


def test_without_a_time_of_the_recording_only_what_is_blamed_is_named() -> None:
    made = world()
    made.taken_at = ""
    pasts = (past("shop", (1, HOUR, ""), (2, HOUR, "DATABASE_HOST")),)
    (found,) = suspects(made.snapshot(), BLAMING, pasts=pasts)
    assert (found.age_s, found.before_symptom_s, found.moment) == (None, None, None)
    assert found.told.startswith("changed 2026-11-18 10:06 UTC: commit")


def test_the_one_to_name_is_about_the_finding() -> None:
    found = suspects(
        world().snapshot(), BLAMING, pasts=(past("till", (1, HOUR, "")),), edits=(edit(2, HOUR, "x", "A/b"),)
    )
    assert whys(found) == [("neighbour", 1), ("since then", 2)]
    assert nearest(found) is None


def test_values_of_secrets_are_not_told() -> None:
    secret = Ref("Secret", "keys")
    blaming = Finding("r", SHOP, 0.9, (), (Field(secret, "stringData"), Field(SHOP, LIMIT)))
    changes = (
        Change(str(secret), "stringData.token", "old-s3cret", "new-s3cret" * 30),
        Change(str(SHOP), LIMIT, "old-s3cret", "x"),
    )
    (found,) = suspects(world().snapshot(), blaming, edits=(Edit(commit(1, HOUR), changes),))
    assert "s3cret" not in found.told + "".join(found.changed)
    assert "stringData.token" in found.told


def test_services_are_those_of_the_object_and_those_who_use_it() -> None:
    made = world()
    made.add("ConfigMap", "words", {"data": {"level": "1"}})
    snapshot = made.snapshot()
    assert blamed_services(snapshot, Finding("r", made.pod("shop"), 0.9, ())) == {"shop"}
    assert blamed_services(snapshot, Finding("r", Ref("Service", "till"), 0.9, ())) == {"till"}
    assert blamed_services(snapshot, Finding("r", Ref("ConfigMap", "words"), 0.9, ())) == frozenset()
    assert neighbours(snapshot, ["shop"]) == {"database": "called by shop", "till": "calls shop"}


def test_the_first_symptom_is_the_oldest_warning_or_line() -> None:
    made = world()
    made.events.append(Event(SHOP, "Normal", "ScalingReplicaSet", "Scaled up", age_s=HOUR))
    assert first_symptom_age_s(made.snapshot(), BLAMING) == SYMPTOM_AGE_S
    assert first_symptom_age_s(Snapshot("bakery"), BLAMING) is None


def test_the_time_of_a_recording_is_read_with_its_zone() -> None:
    assert taken_at_s(Snapshot("x", taken_at="2026-11-27T12:00:00+02:00")) == 1_795_773_600
    assert taken_at_s(Snapshot("x", taken_at="2026-11-27T10:00:00")) == 1_795_773_600
    assert taken_at_s(Snapshot("x", taken_at="at 2026-11-27 10:00:00 or so")) == 1_795_773_600
    assert taken_at_s(Snapshot("x", taken_at="soon")) is None


def test_a_line_of_time_keeps_the_weightiest_changes_and_room_for_events() -> None:
    made = world()
    made.events += [Event(SHOP, "Warning", "BackOff", f"again {number}", age_s=float(number)) for number in range(20)]
    pasts = (past("shop", *((number, HOUR + number, "") for number in range(19)), (99, DAY, "DATABASE_HOST")),)
    found = suspects(made.snapshot(), BLAMING, pasts=pasts)
    moments = timeline(made.snapshot(), BLAMING, [moment for each in found if (moment := each.moment)])
    changes = [moment for moment in moments if moment.kind == "change"]
    assert (len(moments), len(changes)) == (MOMENTS_MAX, CHANGES_MAX)
    assert changes[0].text.endswith("(touches what is blamed)")


TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(strings()[::5]))


@given(TEXTS, TEXTS, TEXTS, st.floats(-DAY, 30 * DAY))
def test_no_text_of_a_commit_gets_out_of_its_line(subject: str, author: str, value: str, age_s: float) -> None:
    made = commit(1, age_s, subject, author)
    edits = (Edit(made, (Change(str(SHOP), LIMIT, value, subject),)),)
    keys = (KeyChange(Key("setting", "DATABASE_HOST"), "renamed", value, to=subject),)
    pasts = (SourcePast("shop", (SourceCommit(made, 1, keys),), made.revision, "", value),)
    for each in suspects(world().snapshot(), BLAMING, edits=edits, pasts=pasts):
        texts = [each.told, *each.changed, *each.files, each.author, each.subject, each.rollout]
        if (moment := each.moment) is not None:
            texts += [moment.source, moment.text]
        assert all(text.isprintable() and len(text) <= EVIDENCE_TEXT_MAX for text in texts)


@given(st.lists(st.tuples(st.integers(0, 10 * DAY), st.sampled_from(["", "DATABASE_HOST", "OTHER_NAME"])), max_size=40))
def test_what_touches_is_never_behind_what_does_not(commits: list[tuple[int, str]]) -> None:
    listed = [(number, float(age_s), name) for number, (age_s, name) in enumerate(commits)]
    found = suspects(world().snapshot(), BLAMING, pasts=(past("shop", *listed),))
    touching = [each.why == "touches it" for each in found]
    assert touching == sorted(touching, reverse=True)
    assert sum(touching) == sum(name == "DATABASE_HOST" for _, name in commits)
    assert all(each.at_s <= TAKEN_S for each in found)


def test_a_minute_is_a_minute() -> None:
    (found,) = suspects(
        world().snapshot(), BLAMING, pasts=(past("shop", (1, SYMPTOM_AGE_S + 12 * MINUTE, "DATABASE_HOST")),)
    )
    assert found.told == (
        "changed 12 min before the first symptom: commit 0000000000 (source of shop) "
        "`DATABASE_HOST added in a.py`, by Ana: Change"
    )
