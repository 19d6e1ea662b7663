"""What a line of the ledger says: the one record that the audits judge the world by."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that happened. `what`: one of the words below; `by`: the process ("2.0" is the first in place 2).

    asked, started: a start of `run` was asked for, was acknowledged. judging, judged: so was the signal `about`.
    effect: an effect `about` happened, presented with the idempotency key `key`. owns: a handler of `run` began under
    epoch `number`, in the engine `key`. in, out: `about` entered and left the resource `key` with fencing token
    `number`; shares, leaves: the same, beside others. cancelled: a cancel of `run` was acknowledged. health: the last
    word of a process, `about` what is wrong with it.
    """

    what: str
    by: str
    run: str = ""
    about: str = ""
    key: str = ""
    number: int = 0
