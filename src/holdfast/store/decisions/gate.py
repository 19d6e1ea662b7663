"""The gate before every queue: what may not be asked is refused here, to its sender alone, before anybody else waits.

Pure. Checks shape, scope and bounds; whether a change wins is judged later, by `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.contract.history import Stream
from holdfast.store.contract.records import Change, Claim, Key, Put, Query, RemovePrefix, Scope
from holdfast.store.decisions.rules import TIME_S_MAX, keys_of

TEXT_CHARS_MAX = 1000
"""Bound on every name, id, status, queue, owner and label."""
ROWS_MAX = 2000
"""Bound on the writes, requires, removals and events of one change together."""
CHANGE_BYTES_MAX = 64 * 1024 * 1024
"""Bound on the payloads of one change together."""
PAGE_MAX = 10_000
"""Bound on the rows of one answer, and on the keys of one read."""

_json = msgspec.json.Decoder(msgspec.Raw)


def check_change(scope: Scope, change: Change, *, payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX) -> int:
    """The payload bytes of a change that may be queued. Raises InvalidInput, naming what is wrong with it."""
    rows = len(change.writes) + len(change.requires) + len(change.removes) + len(change.events)
    if rows > ROWS_MAX:
        raise InvalidInput(f"change {change.change_id}: expected at most {ROWS_MAX} rows, saw {rows}", seen=rows)
    keys = keys_of(change)
    keys += [Key(removal.tenant, removal.user, removal.kind, removal.prefix) for removal in change.removes]
    _check_keys(scope, keys, change.change_id)
    _check_texts([change.change_id], "change id", may_be_empty=False)
    _check_once(change)
    _check_folded(change)
    return _check_payloads(change, payload_bytes_max)


def check_read(keys: Sequence[Key]) -> None:
    """Raises InvalidInput where `keys` are too many to read at once, or name nothing that could exist."""
    if len(keys) > PAGE_MAX:
        raise InvalidInput(f"read: expected at most {PAGE_MAX} keys, saw {len(keys)}; read in pages", seen=len(keys))
    for key in keys:
        _check_texts(key, key, may_be_empty=True)


def check_query(query: Query, limit: int) -> None:
    """Raises InvalidInput for a query that means nothing."""
    check_limit("scan", limit)
    texts = [query.kind, query.prefix, query.owner or "", *query.statuses, *query.queues]
    _check_texts([*texts, *query.labels, *query.labels.values()], "query", may_be_empty=True)
    _check_due("query", query.due_until)


def check_claim(claim: Claim) -> None:
    """Raises InvalidInput for a claim that means nothing."""
    check_limit("claim", claim.limit)
    _check_texts([claim.kind], "claim", may_be_empty=False)
    _check_texts(
        [claim.owner, *claim.from_owners, *claim.queues, *claim.statuses, *claim.ids], "claim", may_be_empty=True
    )
    _check_due("claim", claim.due_until)
    _check_due("claim", claim.due_after)
    if not claim.from_owners:
        raise InvalidInput('claim: expected from_owners to name at least one owner ("" is nobody), saw none')
    if not claim.owner and "" in claim.from_owners:
        raise InvalidInput("claim: expected an owner to take for, or owners to give back from; saw nobody and nobody")


def check_events(record: Key | None, stream: Stream | None, limit: int) -> Key:
    """The key whose scope decides over a call of `events`. Raises InvalidInput unless it asks for one of the two."""
    check_limit("events", limit)
    if record is not None and stream is None:
        return record
    if stream is not None and record is None:
        return Key(stream[0], stream[1], "", "")
    raise InvalidInput(f"events: expected either a record or a stream, saw record={record} and stream={stream}")


def check_streams(streams: Sequence[Stream]) -> None:
    """Raises InvalidInput where `streams` are too many to ask about at once."""
    if len(streams) > PAGE_MAX:
        raise InvalidInput(f"streams: expected at most {PAGE_MAX}, saw {len(streams)}; ask in parts", seen=len(streams))


def check_limit(what: str, limit: int) -> None:
    """Raises InvalidInput unless 1 <= limit <= PAGE_MAX."""
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidInput(f"{what}: expected a limit from 1 to {PAGE_MAX}, saw {limit}", seen=limit)


def _check_keys(scope: Scope, keys: Sequence[Key], change_id: str) -> None:
    tenants = {key.tenant for key in keys}
    if len(tenants) > 1:
        raise InvalidInput(f"change {change_id}: expected one tenant, saw {sorted(tenants)}", seen=sorted(tenants))
    for key in keys:
        if not scope.covers(key):
            raise InvalidInput(
                f"{key}: expected a key inside {scope}, saw tenant {key.tenant!r} and user {key.user!r}",
                key=key,
                scope=scope,
            )
        _check_texts(key[:2], key, may_be_empty=True)
        _check_texts(key[2:], key, may_be_empty=False)


def _check_texts(texts: Iterable[str], what: object, *, may_be_empty: bool) -> None:
    if not _is_plain(texts, may_be_empty):
        _check_each(texts, what, may_be_empty)


def _is_plain(texts: Iterable[str], may_be_empty: bool) -> bool:
    """Whether all texts are fine by a look at all of them together: the usual case, in a third of the time."""
    try:
        together = "".join(texts)
    except TypeError:
        return False
    is_plain = len(together) <= TEXT_CHARS_MAX and together.isascii() and "\0" not in together
    return is_plain and (may_be_empty or all(texts))


def _check_each(texts: Iterable[str], what: object, may_be_empty: bool) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInput(f"{what}: expected text, saw {type(text).__name__}")
        if not text and not may_be_empty:
            raise InvalidInput(f"{what}: expected a name, saw empty text")
        if len(text) > TEXT_CHARS_MAX:
            raise InvalidInput(f"{what!s:.80}: expected at most {TEXT_CHARS_MAX} signs, saw {len(text)}")
        if "\0" in text or not (text.isascii() or _is_unicode(text)):
            raise InvalidInput(f"{str(what)!a:.80}: expected text without NUL and lone surrogates, saw {text!a:.80}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_once(change: Change) -> None:
    """A key is written at most once, and never both written and removed."""
    if len(change.writes) > 1 and len(set(change.keys)) < len(change.writes):
        twice = next(key for key in change.keys if change.keys.count(key) > 1)
        raise InvalidInput(f"{twice}: expected one write in change {change.change_id}, saw several", key=twice)
    for removal in change.removes:
        for key in (*change.keys, *(event.key for event in change.events)):
            if _is_under(key, removal):
                raise InvalidInput(
                    f"{key}: change {change.change_id} both writes it and removes its prefix {removal.prefix!r}",
                    key=key,
                )


def _check_folded(change: Change) -> None:
    """A write that stands for several updates has an event for each of them."""
    for write in change.writes:
        if isinstance(write, Put) and write.folded != 1:
            told = sum(event.key == write.key for event in change.events)
            if write.folded < 1 or told != write.folded:
                raise InvalidInput(
                    f"{write.key}: expected one event for each of the {write.folded} updates that are folded into one "
                    f"write, at least one, saw {told}",
                    key=write.key,
                )


def _is_under(key: Key, removal: RemovePrefix) -> bool:
    return key[:3] == (removal.tenant, removal.user, removal.kind) and key.id.startswith(removal.prefix)


def _check_payloads(change: Change, bytes_max: int) -> int:
    total = 0
    for write in change.writes:
        if isinstance(write, Put):
            total += _check_payload(write.body, f"{write.key}", bytes_max)
            _check_fields(write)
    for event in change.events:
        _check_texts([event.name], f"event of {event.key}", may_be_empty=False)
        total += _check_payload(event.body, f"event {event.name} of {event.key}", bytes_max)
        if event.delta:
            total += _check_payload(event.delta, f"delta of {event.name} of {event.key}", 2 * bytes_max)
    if total > CHANGE_BYTES_MAX:
        raise InvalidInput(
            f"change {change.change_id}: expected at most {CHANGE_BYTES_MAX} bytes, saw {total}", seen=total
        )
    return total


def _check_fields(put: Put) -> None:
    _check_texts((put.status, put.queue, put.owner or ""), put.key, may_be_empty=True)
    if put.labels:
        _check_labels(put.key, put.labels)
    _check_due(put.key, put.due)


def _check_labels(key: Key, labels: Mapping[str, str]) -> None:
    _check_texts([*labels, *labels.values()], f"label of {key}", may_be_empty=True)


def _check_due(what: object, due: float | None) -> None:
    if due is not None and not abs(due) <= TIME_S_MAX:
        raise InvalidInput(f"{what}: expected due as epoch seconds before the year 2106, saw {due}", seen=str(due))


def _check_payload(data: bytes, what: str, bytes_max: int) -> int:
    """The length of a payload that is UTF-8 JSON within bounds and free of NUL, escaped or not."""
    if len(data) > bytes_max:
        raise InvalidInput(
            f"{what}: expected at most {bytes_max} bytes, saw {len(data)}; store big things elsewhere and keep a link",
            bytes_max=bytes_max,
            bytes_seen=len(data),
        )
    try:
        data.decode()
        _json.decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{what}: expected UTF-8 JSON, saw {data[:60]!r}: {error}") from error
    if b"\\u0000" in data:
        codec.encode(codec.decode(data), what=what, bytes_max=len(data))
    return len(data)
