"""Random charts: nested parallel states, both histories, joins, guards, raised and done events, timers."""

from __future__ import annotations

from itertools import combinations

from hypothesis import assume
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.chart import Chart, ChartDef, Guard, Join, StateDef, TimerDef, TransitionDef, compile
from holdfast.chart.definition import Kind
from holdfast.errors import InvalidDefinition

EVENTS = ("a", "b", "c", "c.d")
GUARDS: dict[str, Guard] = {
    "first": lambda data, _: data["first"] is True,
    "second": lambda data, _: data["second"] is True,
}
"""Each answers what the data says of it."""

DEPTH_MAX = 3
CHILDREN_MAX = 3
JOINS = (Join(), Join(), Join("any"), Join("quorum", 1), Join("quorum", 2))
HISTORIES: tuple[Kind, ...] = ("shallow_history", "deep_history")


@st.composite
def definitions(draw: st.DrawFn) -> ChartDef:
    """A definition whose tree is random, with random transitions between its states."""
    bare = tuple(draw(_trees(0)) for _ in range(draw(st.integers(2, CHILDREN_MAX))))
    bare = tuple(replace(state, name=f"s{place}") for place, state in enumerate(bare))
    tree = dict(_flatten("", bare))
    children = tuple(_dress(draw, state.name, state, tree) for state in bare)
    return ChartDef("random", 1, children, draw(_initial(None, tree)))


def compiled(definition: ChartDef) -> Chart:
    """The chart of a random definition; those that loop for certain are not of interest here."""
    try:
        return compile(definition, GUARDS)
    except InvalidDefinition as error:
        assume("loop: " not in error.message and "expected an initial of its own" not in error.message)
        raise


def walks() -> st.SearchStrategy[list[tuple[str, dict[str, bool]]]]:
    """Events to send, each with the guards' answers."""
    answers = st.fixed_dictionaries({name: st.booleans() for name in GUARDS})
    return st.lists(st.tuples(st.sampled_from((*EVENTS, "unknown", "t1")), answers), max_size=12)


def _flatten(prefix: str, states: tuple[StateDef, ...]) -> list[tuple[str, StateDef]]:
    found = []
    for state in states:
        path = prefix + state.name
        found += [(path, state), *_flatten(path + ".", state.children)]
    return found


@st.composite
def _trees(
    draw: st.DrawFn, depth: int, kinds: tuple[Kind, ...] = ("atomic", "compound", "parallel", "final")
) -> StateDef:
    kind: Kind = draw(st.sampled_from(kinds if depth < DEPTH_MAX else ("atomic",)))
    if kind in ("atomic", "final"):
        return StateDef("", kind)
    inner: tuple[Kind, ...] = ("compound", "atomic", "parallel") + (() if kind == "parallel" else ("final",))
    children = [
        draw(_trees(depth + 1, inner)) for _ in range(draw(st.integers(1 + (kind == "parallel"), CHILDREN_MAX)))
    ]
    if kind == "compound" and len(children) < CHILDREN_MAX:
        children.append(StateDef("", "final"))
    if draw(st.booleans()):
        children.append(StateDef("", draw(st.sampled_from(HISTORIES))))
    named = tuple(replace(child, name=f"s{place}") for place, child in enumerate(children))
    regions = sum(child.kind not in HISTORIES for child in named)
    join = draw(st.sampled_from([each for each in JOINS if each.count <= regions])) if kind == "parallel" else Join()
    return StateDef("", kind, named, join=join)


def _dress(draw: st.DrawFn, path: str, state: StateDef, tree: dict[str, StateDef]) -> StateDef:
    """The state with transitions, actions, an initial and timers drawn, and its children likewise."""
    children = tuple(_dress(draw, f"{path}.{child.name}", child, tree) for child in state.children)
    if state.kind in HISTORIES:
        parent = path.rpartition(".")[0]
        inside = [each for each in tree if each.startswith(parent + ".") and tree[each].kind not in HISTORIES]
        return replace(state, initial=draw(st.sampled_from([(), *((each,) for each in inside)])))
    state = replace(state, children=children, entry=(f"enter {path}",), exit=(f"exit {path}",))
    if state.kind == "compound":
        state = replace(state, initial=draw(_initial(path, tree)))
    if state.kind == "final":
        return state
    transitions = tuple(draw(_transitions(tree)) for _ in range(draw(st.integers(0, 3))))
    timers = draw(st.sampled_from(((), (), (TimerDef("t1", 1.0),), (TimerDef("t1", 1.0), TimerDef("t2", 2.0)))))
    return replace(state, transitions=transitions, timers=timers, entry_raises=draw(_raises()))


def _initial(path: str | None, tree: dict[str, StateDef]) -> st.SearchStrategy[tuple[str, ...]]:
    inside = [each for each in tree if path is None or each.startswith(path + ".")]
    return st.one_of(st.just(()), st.sampled_from(inside).map(lambda each: (each,)))


def _raises() -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(((), (), (), (), (), ("c",)))


@st.composite
def _transitions(draw: st.DrawFn, tree: dict[str, StateDef]) -> TransitionDef:
    done = tuple(f"done.state.{path}" for path, state in tree.items() if state.kind in ("compound", "parallel"))
    event = draw(st.sampled_from((*EVENTS * 2, "a b", "*", "c.*", "", *done)))
    targets = draw(st.lists(st.sampled_from(list(tree)), min_size=not event, max_size=2, unique=True))
    if any(not _go_together(mine, other, tree) for mine, other in combinations(targets, 2)):
        targets = targets[:1]
    return TransitionDef(
        event=event,
        targets=tuple(targets),
        guard=draw(st.sampled_from(("", "", *GUARDS))),
        internal=draw(st.booleans()),
        actions=(f"take {event} to {' '.join(targets)}",),
        raises=draw(_raises()),
    )


def _go_together(mine: str, other: str, tree: dict[str, StateDef]) -> bool:
    mine, other = (path.rpartition(".")[0] if tree[path].kind in HISTORIES else path for path in (mine, other))
    shared = 0
    for one, two in zip(mine.split("."), other.split("."), strict=False):
        if one != two:
            break
        shared += 1
    meeting = ".".join(mine.split(".")[:shared])
    return bool(meeting) and meeting not in (mine, other) and tree[meeting].kind == "parallel"
