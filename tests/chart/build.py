"""Short words for the definitions that the examples need. Guards here answer what the data says of them."""

from __future__ import annotations

from holdfast.chart import Chart, ChartDef, Guard, Join, StateDef, Step, TransitionDef, compile, start, step


def on(event: str, *targets: str, guard: str = "", internal: bool = False, raises: str = "") -> TransitionDef:
    """A transition that names itself as its action."""
    action = f"{event or 'eventless'}>{','.join(targets)}"
    return TransitionDef(event, targets, guard, internal, (action,), tuple(raises.split()))


def leaf(name: str, *transitions: TransitionDef, **fields: object) -> StateDef:
    """A state without children, that tells its entry and exit."""
    return StateDef(name, transitions=transitions, **_told(name, fields))  # type: ignore[arg-type]


def group(name: str, *children: StateDef, on: tuple[TransitionDef, ...] = (), **fields: object) -> StateDef:
    """A compound state."""
    return StateDef(name, "compound", children, transitions=on, **_told(name, fields))  # type: ignore[arg-type]


def parallel(
    name: str, *children: StateDef, on: tuple[TransitionDef, ...] = (), join: Join | None = None, **fields: object
) -> StateDef:
    """A parallel state."""
    told = _told(name, fields)
    return StateDef(name, "parallel", children, transitions=on, join=join or Join(), **told)  # type: ignore[arg-type]


def final(name: str = "end") -> StateDef:
    """A final state."""
    return StateDef(name, "final", entry=(f"+{name}",))


def history(name: str = "h", *initial: str, is_deep: bool = False) -> StateDef:
    """A history state."""
    return StateDef(name, "deep_history" if is_deep else "shallow_history", initial=initial)


def chart(*children: StateDef, initial: tuple[str, ...] = (), guards: str = "") -> Chart:
    """The chart of some top states; `guards` names guards that read their answer from the data."""
    return compile(ChartDef("example", 1, children, initial), {name: _guard(name) for name in guards.split()})


def run(built: Chart, *events: str, data: object = None) -> Step:
    """The last step of a run from the start through some events, every one of which has to be accepted."""
    last = start(built, data)
    for event in events:
        last = step(built, last.configuration, event, data)
        assert last.is_accepted, (event, last.reason)
    return last


def leaves(built: Chart, *events: str, data: object = None) -> str:
    """The leaves after some events, joined by spaces."""
    return " ".join(run(built, *events, data=data).configuration.leaves)


def _told(name: str, fields: dict[str, object]) -> dict[str, object]:
    return {"entry": (f"+{name}",), "exit": (f"-{name}",), **fields}


def _guard(name: str) -> Guard:
    return lambda data, _: bool(data[name])
