"""One example for every rule of the step."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.chart import (
    Chart,
    ChartDef,
    DroppedTimer,
    Join,
    StateDef,
    Taken,
    Timer,
    TimerDef,
    TransitionDef,
    accepts_timer,
    compile,
    start,
    step,
)
from holdfast.chart.rules import matches
from holdfast.errors import InvalidDefinition, Rejected
from tests.chart.build import chart, final, group, history, leaf, leaves, on, parallel, run


class TestEntryAndExit:
    def test_the_first_child_in_document_order_is_entered_by_default(self) -> None:
        assert leaves(chart(group("a", leaf("x"), leaf("y")), leaf("b"))) == "a.x"

    def test_an_initial_path_may_lie_deep_inside(self) -> None:
        deep = group("a", leaf("x"), group("y", leaf("p"), leaf("q")), initial=("a.y.q",))
        assert leaves(chart(deep)) == "a.y.q"

    def test_an_initial_set_places_every_region(self) -> None:
        both = parallel("p", group("l", leaf("a"), leaf("b")), group("r", leaf("a"), leaf("b")))
        assert leaves(chart(both, initial=("p.r.b", "p.l.b"))) == "p.l.b p.r.b"

    def test_states_are_left_from_the_inside_and_entered_from_the_outside(self) -> None:
        built = chart(group("a", leaf("x", on("e", "b.y"))), group("b", leaf("w"), leaf("y")))
        assert run(built, "e").actions == ("-x", "-a", "e>b.y", "+b", "+y")
        assert run(built, "e").exited == ("a.x", "a")
        assert run(built, "e").entered == ("b", "b.y")

    def test_regions_are_entered_in_document_order_and_left_in_reverse(self) -> None:
        both = parallel("p", group("l", leaf("a")), group("r", leaf("b")), on=(on("e", "z"),))
        built = chart(both, leaf("z"))
        assert start(built).actions == ("+p", "+l", "+a", "+r", "+b")
        assert run(built, "e").actions == ("-b", "-r", "-a", "-l", "-p", "e>z", "+z")

    def test_a_target_in_one_region_enters_the_others_by_default(self) -> None:
        both = parallel("p", group("l", leaf("a"), leaf("b")), group("r", leaf("a"), leaf("b")))
        assert leaves(chart(leaf("z", on("e", "p.r.b")), both), "e") == "p.l.a p.r.b"

    def test_several_targets_place_several_regions(self) -> None:
        both = parallel("p", group("l", leaf("a"), leaf("b")), group("r", leaf("a"), leaf("b")))
        assert leaves(chart(leaf("z", on("e", "p.r.b", "p.l.b")), both), "e") == "p.l.b p.r.b"

    def test_an_external_transition_to_inside_leaves_its_source(self) -> None:
        built = chart(group("a", leaf("x"), leaf("y"), on=(on("e", "a.y"),)))
        assert run(built, "e").actions == ("-x", "-a", "e>a.y", "+a", "+y")

    def test_an_internal_transition_keeps_its_source(self) -> None:
        built = chart(group("a", leaf("x"), leaf("y"), on=(on("e", "a.y", internal=True),)))
        assert run(built, "e").actions == ("-x", "e>a.y", "+y")

    def test_an_internal_transition_to_outside_leaves_its_source(self) -> None:
        built = chart(group("a", leaf("x"), on=(on("e", "b", internal=True),)), leaf("b"))
        assert run(built, "e").exited == ("a.x", "a")

    def test_an_internal_transition_of_a_parallel_state_is_external(self) -> None:
        """The recommendation allows the other only for compound states."""
        both = parallel("p", group("l", leaf("a"), leaf("b")), on=(on("e", "p.l.b", internal=True),))
        assert run(chart(both), "e").exited == ("p.l.a", "p.l", "p")

    def test_without_targets_only_actions_happen(self) -> None:
        built = chart(leaf("a", on("e")))
        outcome = run(built, "e")
        assert outcome.actions == ("e>",)
        assert outcome.exited == outcome.entered == ()
        assert outcome.taken == (Taken("a", "e", ()),)
        assert outcome.configuration == start(built).configuration

    def test_a_transition_to_itself_is_a_new_visit(self) -> None:
        outcome = run(chart(leaf("a", on("e", "a"))), "e", "e")
        assert outcome.configuration.visits == {"a": 3}


class TestSelection:
    def test_the_inner_state_goes_first(self) -> None:
        built = chart(group("a", leaf("x", on("e", "b")), on=(on("e", "c"),)), leaf("b"), leaf("c"))
        assert leaves(built, "e") == "b"

    def test_the_outer_state_takes_what_the_inner_refuses(self) -> None:
        inner = group("a", leaf("x", on("e", "b", guard="ok")), on=(on("e", "c"),))
        built = chart(inner, leaf("b"), leaf("c"), guards="ok")
        assert leaves(built, "e", data={"ok": False}) == "c"
        assert leaves(built, "e", data={"ok": True}) == "b"

    def test_document_order_decides_within_a_state(self) -> None:
        built = chart(leaf("a", on("e", "b"), on("e", "c")), leaf("b"), leaf("c"))
        assert leaves(built, "e") == "b"

    def test_regions_move_together(self) -> None:
        regions = [group(name, leaf("a", on("e", f"p.{name}.b")), leaf("b")) for name in ("l", "r")]
        outcome = run(chart(parallel("p", *regions)), "e")
        assert outcome.configuration.leaves == ("p.l.b", "p.r.b")
        assert outcome.actions == ("-a", "-a", "e>p.l.b", "e>p.r.b", "+b", "+b")

    def test_of_two_that_leave_the_same_state_the_first_in_document_order_wins(self) -> None:
        left = group("l", leaf("a", on("e", "x")))
        right = group("r", leaf("a", on("e", "y")))
        built = chart(parallel("p", left, right), leaf("x"), leaf("y"))
        assert leaves(built, "e") == "x"

    def test_a_region_that_stays_wins_against_a_later_one_that_leaves(self) -> None:
        left = group("l", leaf("a", on("e", "p.l.b")), leaf("b"))
        right = group("r", leaf("a", on("e", "z")))
        assert leaves(chart(parallel("p", left, right), leaf("z")), "e") == "p.l.b p.r.a"

    def test_a_descendant_pre_empts_an_ancestor_that_another_region_selected(self) -> None:
        """The region on the left has no answer, so its leaf selects that of `p`; the right one's is further inside."""
        left = group("l", leaf("a"))
        right = group("r", leaf("a", on("e", "p.r.b")), leaf("b"))
        built = chart(parallel("p", left, right, on=(on("e", "z"),)), leaf("z"))
        assert leaves(built, "e") == "p.l.a p.r.b"

    @pytest.mark.parametrize(
        ("descriptor", "event", "expected"),
        [
            ("a", "a", True),
            ("a", "a.b", True),
            ("a", "ab", False),
            ("a.b", "a", False),
            ("a.*", "a.b", True),
            ("a.*", "a", True),
            ("a.", "a.b", True),
            ("*", "anything.at.all", True),
            ("done.state.a", "done.state.a", True),
            ("done.state.a", "done.state.a.b", False),
            ("done.state.a.*", "done.state.a.b", True),
            ("done.state", "done.state.a.b", True),
            ("done", "done.state.a", True),
            ("deadline.state.a", "deadline.state.a.b", False),
        ],
    )
    def test_descriptors_take_events_by_whole_tokens(self, descriptor: str, event: str, expected: bool) -> None:
        assert matches(descriptor, event) is expected

    def test_a_transition_may_name_several_events(self) -> None:
        built = chart(leaf("a", on("go stop.*", "b")), leaf("b"))
        assert leaves(built, "go") == leaves(built, "stop") == leaves(built, "stop.now") == "b"


class TestInternalEvents:
    def test_eventless_transitions_follow_at_once(self) -> None:
        built = chart(leaf("a", on("e", "b")), leaf("b", on("", "c")), leaf("c"))
        outcome = run(built, "e")
        assert outcome.configuration.leaves == ("c",)
        assert outcome.entered == ("b", "c")
        assert [taken.event for taken in outcome.taken] == ["e", ""]

    def test_eventless_transitions_go_before_raised_events(self) -> None:
        built = chart(
            leaf("a", on("e", "b", raises="r")),
            leaf("b", on("", "c"), on("r", "wrong")),
            leaf("c", on("r", "d")),
            leaf("d"),
            leaf("wrong"),
        )
        assert leaves(built, "e") == "d"

    def test_raised_events_are_processed_in_order(self) -> None:
        built = chart(
            leaf("a", on("e", "b", raises="one two")), leaf("b", on("one", "c")), leaf("c", on("two", "d")), leaf("d")
        )
        assert run(built, "e").raised == ("one", "two")
        assert leaves(built, "e") == "d"

    def test_exit_transition_and_entry_raise_in_the_order_of_execution(self) -> None:
        first = leaf("a", on("e", "b", raises="second"), exit_raises=("first",))
        built = chart(first, leaf("b", entry_raises=("third",)))
        assert run(built, "e").raised == ("first", "second", "third")

    def test_a_raised_event_that_nothing_takes_is_dropped(self) -> None:
        assert leaves(chart(leaf("a", on("e", raises="nobody"))), "e") == "a"

    def test_a_final_child_raises_done_of_its_parent(self) -> None:
        built = chart(group("a", leaf("x", on("e", "a.end")), final(), on=(on("done.state.a", "b"),)), leaf("b"))
        outcome = run(built, "e")
        assert outcome.configuration.leaves == ("b",)
        assert outcome.raised == ("done.state.a",)

    def test_a_top_level_final_state_ends_the_chart(self) -> None:
        built = chart(leaf("a", on("e", "end")), final())
        done = run(built, "e").configuration
        assert done.is_done
        assert step(built, done, "e").reason == "final"

    def test_nothing_is_processed_after_the_end(self) -> None:
        built = chart(leaf("a", on("e", "end", raises="late")), final())
        assert run(built, "e").raised == ()

    def test_done_events_cannot_be_sent(self) -> None:
        built = chart(group("a", leaf("x"), on=(on("done.state.a", "b"),)), leaf("b"))
        assert step(built, start(built).configuration, "done.state.a").reason.startswith("reserved: ")

    def test_the_done_event_of_an_inner_state_is_not_that_of_the_outer(self) -> None:
        """Paths nest where ids of SCXML do not: as a prefix "done.state.p" would take "done.state.p.l" too."""
        regions = [group(name, leaf("a", on(name, f"p.{name}.end")), final()) for name in ("l", "r")]
        built = chart(parallel("p", *regions, on=(on("done.state.p", "z"),)), leaf("z"))
        assert leaves(built, "l") == "p.l.end p.r.a"
        assert leaves(built, "l", "r") == leaves(built, "r", "l") == "z"


def joined(join: Join, *, waits: bool = False) -> Chart:
    """Three regions that end by their own events; the join leads to `z`, or leads nowhere where it `waits`."""
    regions = [group(name, leaf("a", on(name, f"p.{name}.end"), on("back", f"p.{name}.a")), final()) for name in "lmr"]
    go_on = () if waits else (on("done.state.p", "z"),)
    return chart(parallel("p", *regions, on=go_on, join=join), leaf("z"))


class TestJoins:
    @pytest.mark.parametrize(
        ("join", "events"),
        [(Join("any"), "r"), (Join("quorum", 2), "r l"), (Join("quorum", 3), "r l m"), (Join(), "m r l")],
    )
    def test_a_join_fires_with_the_region_that_completes_it(self, join: Join, events: str) -> None:
        *before, last = events.split()
        built = joined(join)
        assert "p." in leaves(built, *before)
        outcome = run(built, *before, last)
        assert outcome.configuration.leaves == ("z",)
        assert outcome.raised == (f"done.state.p.{last}", "done.state.p")

    def test_a_join_fires_once_although_more_regions_end(self) -> None:
        built = joined(Join("quorum", 2), waits=True)
        assert run(built, "l", "m").raised == ("done.state.p.m", "done.state.p")
        assert run(built, "l", "m", "r").raised == ("done.state.p.r",)

    def test_regions_that_go_on_are_left_by_the_join(self) -> None:
        assert run(joined(Join("any")), "m").exited == ("p.m.a", "p.r.a", "p.r", "p.m.end", "p.m", "p.l.a", "p.l", "p")

    def test_a_parallel_region_that_is_done_completes_its_parent(self) -> None:
        """The recommendation's prose says so; its pseudo-code looks only one parallel state up."""
        inner = parallel("i", group("x", leaf("a", on("e", "p.i.x.end")), final()))
        built = chart(parallel("p", inner, on=(on("done.state.p", "z"),)), leaf("z"))
        assert run(built, "e").raised == ("done.state.p.i.x", "done.state.p.i", "done.state.p")
        assert leaves(built, "e") == "z"

    def test_a_deadline_is_a_timer_whose_event_the_author_routes(self) -> None:
        regions = [group(name, leaf("a", on(name, f"p.{name}.end")), final()) for name in "lr"]
        same = on("done.state.p deadline.state.p", "z")
        built = chart(parallel("p", *regions, on=(same,), join=Join(deadline_s=60)), leaf("z"))
        begun = start(built)
        assert begun.timers_set == (Timer("p", "deadline.state.p", 60, 1),)
        late = step(built, begun.configuration, "deadline.state.p")
        assert late.configuration.leaves == ("z",)
        assert late.timers_dropped == (DroppedTimer("p", "deadline.state.p", 1),)


class TestHistory:
    def shop(self, kind: StateDef) -> Chart:
        inner = group("b", leaf("c", on("e", "a.b.d")), leaf("d"))
        a = group("a", leaf("x", on("e", "a.b")), inner, kind, on=(on("pause", "z"),))
        return chart(a, leaf("z", on("resume", "a.h")))

    def test_shallow_history_restores_the_child_by_default(self) -> None:
        built = self.shop(history())
        assert leaves(built, "e", "e", "pause", "resume") == "a.b.c"
        assert run(built, "e", "e", "pause").configuration.history == {"a.h": ("a.b",)}

    def test_deep_history_restores_the_leaf(self) -> None:
        built = self.shop(history(is_deep=True))
        assert leaves(built, "e", "e", "pause", "resume") == "a.b.d"
        assert run(built, "e", "e", "pause").configuration.history == {"a.h": ("a.b.d",)}

    @pytest.mark.parametrize(("kind", "expected"), [(history(), "a.x"), (history("h", "a.b.d"), "a.b.d")])
    def test_history_without_a_memory_uses_its_default(self, kind: StateDef, expected: str) -> None:
        inner = group("a", leaf("x"), group("b", leaf("c"), leaf("d")), kind)
        assert leaves(chart(leaf("z", on("resume", "a.h")), inner), "resume") == expected

    def test_deep_history_of_nested_parallel_states_restores_every_region(self) -> None:
        deep = parallel("i", *(group(name, leaf("a", on(name, f"p.o.i.{name}.b")), leaf("b")) for name in "lr"))
        other = group("s", leaf("a", on("s", "p.s.b")), leaf("b"))
        p = parallel("p", group("o", deep), other, history(is_deep=True), on=(on("pause", "z"),))
        built = chart(p, leaf("z", on("resume", "p.h")))
        assert leaves(built, "r", "s", "pause", "resume") == "p.o.i.l.a p.o.i.r.b p.s.b"

    def test_history_from_inside_a_remembered_state_enters_nothing_twice(self) -> None:
        """What is remembered lies next to the source, inside a state that stays active."""
        b = group("b", leaf("c", on("e", "a.b.d")), leaf("d", on("back", "a.h")))
        built = chart(group("a", b, history(is_deep=True), on=(on("pause", "z"),)), leaf("z", on("go", "a.b.d")))
        outcome = run(built, "pause", "go", "back")
        assert outcome.exited == ("a.b.d",)
        assert outcome.entered == ("a.b.c",)

    def test_leaving_remembers_the_last_time(self) -> None:
        built = self.shop(history(is_deep=True))
        assert leaves(built, "e", "pause", "resume", "e", "pause", "resume") == "a.b.d"


class TestGuards:
    def test_guards_see_the_data_and_the_data_of_the_event(self) -> None:
        seen: list[tuple[Any, Any]] = []

        def watch(data: Any, event_data: Any) -> bool:
            seen.append((data, event_data))
            return True

        definition = ChartDef("g", 1, (StateDef("a", transitions=(TransitionDef("e", ("a",), "watch"),)),))
        built = compile(definition, {"watch": watch})
        step(built, start(built).configuration, "e", {"run": 1}, {"sent": 2})
        assert seen == [({"run": 1}, {"sent": 2})]

    def test_a_guard_is_asked_once_in_a_step(self) -> None:
        asked = []

        def guard(data: Any, event_data: Any) -> bool:
            asked.append(1)
            return True

        regions = tuple(
            StateDef(name, "compound", (StateDef("a", transitions=(TransitionDef("e", (), "guard"),)),))
            for name in "lr"
        )
        built = compile(ChartDef("g", 1, (StateDef("p", "parallel", regions),)), {"guard": guard})
        assert len(step(built, start(built).configuration, "e").taken) == 2
        assert len(asked) == 1

    def test_the_reason_names_the_guards_that_refused(self) -> None:
        built = chart(leaf("a", on("e", "b", guard="one"), on("e", "b", guard="two")), leaf("b"), guards="one two")
        nothing = step(built, start(built).configuration, "e", {"one": False, "two": False})
        assert (nothing.outcome, nothing.reason) == ("refused", "guards one, two refused")

    def test_a_guard_that_raises_refuses_the_event_instead_of_trying_the_next(self) -> None:
        built = chart(leaf("a", on("e", "b", guard="broken"), on("e", "b")), leaf("b"), guards="broken")
        before = start(built).configuration
        outcome = step(built, before, "e", {})
        assert outcome.reason == "guard broken raised KeyError: 'broken'"
        assert outcome.configuration is before

    def test_a_guard_that_raises_later_in_the_step_undoes_all_of_it(self) -> None:
        built = chart(leaf("a", on("e", "b")), leaf("b", on("", "c", guard="broken")), leaf("c"), guards="broken")
        before = start(built).configuration
        outcome = step(built, before, "e", {})
        assert outcome.reason.startswith("guard broken raised KeyError")
        assert outcome.configuration is before

    def test_a_guard_that_does_not_answer_yes_or_no_refuses(self) -> None:
        definition = ChartDef("g", 1, (StateDef("a", transitions=(TransitionDef("e", ("a",), "vague"),)),))
        built = compile(definition, {"vague": lambda data, event_data: None})  # type: ignore[dict-item, return-value]
        outcome = step(built, start(built).configuration, "e")
        assert outcome.reason == "guard vague raised TypeError: expected a bool, saw NoneType"

    def test_a_start_that_a_guard_cannot_judge_is_rejected(self) -> None:
        built = chart(leaf("a", on("", "b", guard="broken")), leaf("b"), guards="broken")
        with pytest.raises(Rejected, match="cannot start: guard broken raised KeyError"):
            start(built, {})

    def test_a_loop_that_only_the_data_closes_is_refused_by_name(self) -> None:
        there, back = on("", "b", guard="yes"), on("", "a", guard="yes")
        built = chart(leaf("rest", on("e", "a")), leaf("a", there), leaf("b", back), guards="yes")
        outcome = step(built, start(built, {}).configuration, "e", {"yes": True})
        assert outcome.reason == "loop: b -> a -> b goes on after 1000 microsteps"
        assert outcome.configuration.leaves == ("rest",)


class TestRefusals:
    def test_an_event_that_nothing_takes_is_refused(self) -> None:
        built = chart(leaf("a"))
        before = start(built).configuration
        outcome = step(built, before, "e")
        assert (outcome.outcome, outcome.reason) == ("refused", "unhandled")
        assert outcome.configuration is before

    def test_no_event_is_unhandled_although_eventless_transitions_exist(self) -> None:
        built = chart(leaf("a", on("", "b", guard="no")), leaf("b"), guards="no")
        assert step(built, start(built, {"no": False}).configuration, "").reason == "unhandled"

    def test_a_configuration_of_another_chart_is_an_error(self) -> None:
        one, other = chart(leaf("a", on("e", "a"))), chart(leaf("a"))
        with pytest.raises(InvalidDefinition, match="adopt it first"):
            step(one, start(other).configuration, "e")


class TestTimers:
    def waiting(self) -> Chart:
        timed = leaf("a", on("e", "b"), on("again", "a"), on("stay"), timers=(TimerDef("late", 5),))
        return chart(timed, leaf("b", on("back", "a"), on("late", "b")))

    def test_entry_sets_a_timer_with_the_number_of_the_visit(self) -> None:
        built = self.waiting()
        assert start(built).timers_set == (Timer("a", "late", 5, 1),)
        assert run(built, "e", "back").timers_set == (Timer("a", "late", 5, 2),)

    def test_exit_drops_it(self) -> None:
        assert run(self.waiting(), "e").timers_dropped == (DroppedTimer("a", "late", 1),)

    def test_a_new_visit_drops_the_old_timer_and_sets_a_new_one(self) -> None:
        outcome = run(self.waiting(), "again")
        assert outcome.timers_dropped == (DroppedTimer("a", "late", 1),)
        assert outcome.timers_set == (Timer("a", "late", 5, 2),)

    def test_staying_touches_no_timer(self) -> None:
        outcome = run(self.waiting(), "stay")
        assert outcome.timers_set == ()
        assert outcome.timers_dropped == ()

    def test_a_timer_of_an_earlier_visit_is_late(self) -> None:
        built = self.waiting()
        (first,) = start(built).timers_set
        back = run(built, "e", "back")
        assert accepts_timer(start(built).configuration, first)
        assert not accepts_timer(run(built, "e").configuration, first)
        assert not accepts_timer(back.configuration, first)
        assert accepts_timer(back.configuration, back.timers_set[0])

    def test_a_timer_set_and_dropped_within_a_step_is_not_told(self) -> None:
        built = chart(leaf("a", on("e", "b")), leaf("b", on("", "c"), timers=(TimerDef("late", 5),)), leaf("c"))
        outcome = run(built, "e")
        assert outcome.timers_set == ()
        assert outcome.timers_dropped == ()
