"""What a reader must know of a result before its value is believed: a baseline, copies, leaks, an older evaluation.

Records are the fields of a `Result`, or JSON data that may lack some of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from auricle.results.record import CONTROLS, SCHEME

T = TypeVar("T")
Record = Mapping[str, Any]

LEAKED, OLDER = "†", "‡"
MEANING = {
    LEAKED: "not the score of new clips: test clips are copies of training clips, or the protocol leaks",
    OLDER: "computed by an older version of auricle, by other rules for scores or intervals",
}
BASELINE = "baseline: the score of predictions that ignore the sound"


def constant_value(record: Record) -> tuple[str, float] | None:
    """Return name and headline value of predictions that ignore the sound; None where a record has none."""
    held = record.get("constant_metrics")
    value = held.get(record.get("metric")) if isinstance(held, dict) else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(record.get("constant")), float(value)


def marks(record: Record) -> str:
    """Return the signs that a value has in tables, "" for none; `MEANING` and `explained` say what they mean."""
    return LEAKED * bool(leaks(record)) + OLDER * (scheme_of(record) < SCHEME)


def leaks(record: Record) -> list[str]:
    """Return why a score is not that of new clips, in words: copies among the test clips, leaks of the protocol."""
    reasons = []
    details = record.get("details")
    copies = details.get("copies") if isinstance(details, dict) else None
    copies = copies if isinstance(copies, dict) and not copies.get("dropped") else {}
    kinds = copies.get("clips")
    count = sum(n for n in kinds.values() if isinstance(n, int)) if isinstance(kinds, dict) else 0
    if count:
        whose = "test clips is a copy of a training clip" if count == 1 else "test clips are copies of training clips"
        others = copies.get("other_label") or 0
        effect = f", {others} of them with another label, which makes the score pessimistic" if others else ""
        reasons.append(f"{count} of {copies.get('of')} {whose}{effect or ', which makes the score optimistic'}")
    name, listed = record.get("protocol_name") or "strict", record.get("leaks")
    if isinstance(listed, list):
        reasons += [f"the {name} protocol makes scores optimistic: {leak}" for leak in listed]
    return reasons


def explained(records: Iterable[Record]) -> dict[str, str]:
    """Return what each sign of `marks` that these records have means for them, in words."""
    listed = list(records)
    words: dict[str, str] = {}
    reasons = dict.fromkeys(reason for record in listed for reason in leaks(record))
    if reasons:
        words[LEAKED] = "; ".join(reasons)
    old = [record for record in listed if scheme_of(record) < SCHEME]
    if old:
        schemes = " and ".join(str(s) for s in sorted(set(map(scheme_of, old))))
        again = "; ".join(dict.fromkeys(str(r.get("command") or "the command that made them") for r in old))
        words[OLDER] = (
            f"{MEANING[OLDER]} (scheme {schemes}, now {SCHEME}): {whose(old, listed)}; to have them by the present "
            f"rules, run again: {again}"
        )
    return words


def whose(some: Sequence[Record], every: Sequence[Record]) -> str:
    """Name the encoders of some results; with the probe where not all results of an encoder are among them."""
    names = []
    for record in some:
        encoder = CONTROLS.get(str(record.get("role")), str(record.get("encoder")))
        mine = [other for other in every if other.get("encoder_fingerprint") == record.get("encoder_fingerprint")]
        whole = all(any(other is one for one in some) for other in mine)
        names.append(encoder if whole else f"{record.get('probe')} on {encoder}")
    names = list(dict.fromkeys(names))
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")


def features_read(records: Iterable[Record]) -> list[str]:
    """Return notes on what was read of the encoders; none where it was the output of all."""
    listed = [record for record in records if record.get("role") not in ("log-mel", "mfcc")]
    kinds: dict[str, list[Record]] = {}
    for record in listed:
        kinds.setdefault(features_of(record), []).append(record)
    if len(kinds) < 2:
        return [f"features: {kind}" for kind in kinds if kind != "output"]
    return [f"features of {whose(some, listed)}: {kind}" for kind, some in kinds.items()]


def features_of(record: Record) -> str:
    """Return what was read of a record's encoder, in words."""
    return str(record.get("features") or "output")


def without_stale(items: Sequence[T], record: Callable[[T], Record]) -> tuple[list[T], list[str]]:
    """Return the records that a table may show, and notes on the stale ones: controls of before scheme 4.

    These were made on the front end of the encoder that they were compared with. A stale record that a newer one of
    the same task, probe and control replaces is dropped without a note.

    Args:
        items: records of one folder.
        record: of an item.
    """

    def place(item: T) -> tuple[Any, ...]:
        return tuple(str(record(item).get(name)) for name in ("task", "probe", "role", "protocol_name"))

    kept = [item for item in items if not _is_stale(record(item))]
    fresh = set(map(place, kept))
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        data = record(item)
        if _is_stale(data) and place(item) not in fresh:
            key = CONTROLS[str(data["role"])], str(data.get("command") or "the command that made them")
            groups.setdefault(key, []).append(f"{data.get('task')} with {data.get('probe')}")
    return kept, [
        f"stale results of {name} are not shown ({', '.join(dict.fromkeys(which))}): they were computed from the front "
        f"end of the encoder beside them, not from the fixed one; run again: {again}"
        for (name, again), which in groups.items()
    ]


def _is_stale(record: Record) -> bool:
    return record.get("role") == "log-mel" and scheme_of(record) < 4


def scheme_of(record: Record) -> int:
    """Return the `SCHEME` that a record was evaluated by, 0 where it does not say."""
    scheme = record.get("scheme")
    return scheme if isinstance(scheme, int) else 0
