"""By whose word a breaker opens, closes and is probed: the rules, by examples and by chance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.graph import Dependency, Graph
from holdfast.resilience.quorum import (
    Mine,
    Node,
    Statement,
    Turn,
    Word,
    advise,
    elsewhere,
    graph_of,
    inherited,
    may_take,
    nodes_of,
    quorum_of,
    resting,
)

NOW = 1000.0
ALL = [f"p{number}" for number in range(7)]
DB = Node("db", "database")


def says(process: str, word: Word | None, *, at: float = NOW, **options: bool) -> Statement:
    return Statement(process, "host", 1, at, (DB,), {"db": word} if word else {}, **options)


def ill(opened_at: float = 990.0, *, is_own: bool = True, until: float = 1010.0) -> Word:
    return Word("open", "failed", opened_at, opened_at, until, 1, is_own)


words = st.one_of(
    st.none(),
    st.builds(ill, st.sampled_from([900.0, 990.0]), is_own=st.booleans()),
    st.just(Word("forced_open", "by ana", 990.0, 990.0)),
    st.just(Word("metrics_only", "by ana", 990.0, 990.0)),
)
crowds = st.lists(st.tuples(words, st.booleans(), st.booleans()), min_size=1, max_size=7)


@given(crowds, st.sampled_from([0.0, 950.0]), st.sampled_from([0.0, 950.0]))
def test_a_breaker_opens_by_the_fresh_word_of_most_who_live_and_never_by_one(
    crowd: list[tuple[Word | None, bool, bool]], moved_at: float, closed_at: float
) -> None:
    statements = {
        ALL[number]: says(ALL[number], word, is_self_suspect=suspect) for number, (word, _, suspect) in enumerate(crowd)
    }
    living = [ALL[number] for number, (_, alive, _) in enumerate(crowd) if alive]
    turns = {"db": Turn("p0", "closed", closed_at, closed_at)} if closed_at else {}
    advice = advise("me", {"db": Mine("closed", moved_at)}, statements, turns, living, now=NOW)
    voting = [word for word, alive, suspect in crowd if alive and not suspect]
    fresh = [word for word in voting if word and word.is_own and word.state == "open"]
    count = sum(word.opened_at > max(moved_at, closed_at) for word in fresh)
    assert bool(advice) == (count >= max(2, len(voting) // 2 + 1))
    if advice:
        assert advice[0].reason.startswith(f"others say: ill at {count} of {len(voting)} processes")
        assert advice[0].wait_s == 10


def test_what_was_said_before_it_closed_is_no_reason_to_open_it_again() -> None:
    statements = {name: says(name, ill(990.0)) for name in ("a", "b", "c")}
    closed = {"db": Turn("d", "closed", 995.0, 995.0)}
    for mine, turns, expected in ((0.0, {}, 1), (995.0, {}, 0), (0.0, closed, 0)):
        assert len(advise("me", {"db": Mine("closed", mine)}, statements, turns, "abc", now=NOW)) == expected


@given(st.integers(0, 50))
def test_a_quorum_is_a_majority_and_two_quorums_meet(voters: int) -> None:
    assert quorum_of(voters) >= 2
    assert 2 * quorum_of(voters) > voters


def test_who_suspects_itself_follows_nobody() -> None:
    statements = {name: says(name, ill()) for name in ("a", "b")} | {"me": says("me", None, is_self_suspect=True)}
    assert advise("me", {"db": Mine("closed")}, statements, {}, ["a", "b", "me"], now=NOW) == []


def test_a_closing_is_followed_once_by_whoever_opened_before() -> None:
    turns = {"db": Turn("a", "closed", 995.0, 995.0)}
    for mine, expected in ((Mine("open", 990.0), ["close"]), (Mine("open", 996.0), []), (Mine("forced_open", 1.0), [])):
        assert [each.kind for each in advise("me", {"db": mine}, {}, turns, ["a", "me"], now=NOW)] == expected
    assert advise("a", {"db": Mine("open", 990.0)}, {}, turns, ["a"], now=NOW) == [], "its own closing is old news"


@given(
    st.sampled_from(["probing", "closed", "failed", "idle"]),
    st.sampled_from(["me", "other", "dead"]),
    st.sampled_from([NOW - 1, NOW, NOW + 5]),
)
def test_a_turn_is_never_had_by_two_who_live(outcome: str, holder: str, until: float) -> None:
    turn = Turn(holder, outcome, 990.0, until)  # type: ignore[arg-type]
    living = ["me", "other"]
    takers = [name for name in living if may_take(turn, name, living, now=NOW)]
    if outcome == "probing" and until > NOW and holder in living:
        assert takers == [holder]
        assert set(elsewhere({"db": turn}, "me", living, now=NOW)) == ({"db"} if holder == "other" else set())
    elif outcome == "failed" and until > NOW:
        assert takers == []
    else:
        assert takers == living, "nobody waits for who is dead, late or done"


def test_who_probed_in_vain_gives_way_to_others_that_need_it() -> None:
    turns = {"db": Turn("me", "failed", 990.0, 1002.0)}
    alone = resting(turns, "me", {"me": says("me", ill())}, ["me"], now=NOW)
    both = {"me": says("me", ill()), "a": says("a", ill())}
    assert alone == {}
    assert resting(turns, "me", both, ["me", "a"], now=NOW) == {"db": 3.0}
    assert resting(turns, "a", both, ["me", "a"], now=NOW) == {"db": 2.0}


def test_a_successor_goes_on_from_the_last_word_of_the_dead_unless_the_living_know_better() -> None:
    dead = {"old": says("old", ill(), at=990.0), "older": says("older", None, at=900.0)}
    (word, snapshot) = inherited(dead, ["me"], "me", now=NOW, epoch_s=5.0)["db"]
    assert (word.attempt, snapshot.state, snapshot.open_left_s, snapshot.taken_at_s) == (1, "open", 10.0, 5.0)
    later = dead | {"new": says("new", None, at=995.0)}
    assert inherited(later, ["me"], "me", now=NOW, epoch_s=5.0) == {}
    well = dead | {"peer": says("peer", None)}
    assert inherited(well, ["me", "peer"], "me", now=NOW, epoch_s=5.0) == {}
    ill_too = dead | {"peer": says("peer", ill())}
    assert set(inherited(ill_too, ["me", "peer"], "me", now=NOW, epoch_s=5.0)) == {"db"}


def test_a_graph_comes_back_from_what_was_told_even_where_programs_contradict_each_other() -> None:
    graph = Graph([Dependency(name="llm"), Dependency(name="agent", kind="agent", needs=("llm",), wants=("llm2",)),
                   Dependency(name="llm2")])  # fmt: skip
    told = Statement("a", "h", 1, 1.0, nodes_of(graph))
    again = graph_of([told])
    assert {name: (node.needs, node.wants, node.objective_s) for name, node in again.nodes.items()} == {
        name: (node.needs, node.wants, node.objective_s) for name, node in graph.nodes.items()
    }
    other = Statement("b", "h", 2, 2.0, (Node("llm", "http", needs=("agent", "gone")),))
    assert len(graph_of([told, other])) == 3, "a ring between two programs, and an edge to nobody, are left out"
