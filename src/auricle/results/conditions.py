"""What results must share to stand in one table, and the names of tables and encoders.

Numbers stand in one table only if they answer one question: same task, metric, corpus, division into folds, and
protocol. That is a `Condition`; results of another corpus or protocol get a table of their own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from auricle.metrics.catalogue import MetricInfo, described
from auricle.results.caveats import scheme_of

T = TypeVar("T")
K = TypeVar("K")

PRINTED = 8  # letters of a fingerprint that tables show
# Before this scheme, the division of every set of folds was said to keep sources together, also where none was shared.
SOURCES_NAMED = 6


@dataclass(frozen=True)
class Condition:
    """What results must share to stand in one table. `name` is the task's, unless several tables have it."""

    task: str
    type_name: str
    metric: str
    better: str
    unit: str
    corpus_fingerprint: str
    protocol: str
    protocol_name: str
    split: str
    corpus: str = field(default="", compare=False)
    name: str = field(default="", compare=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Read the condition of a record: the fields of a `Result`, or JSON data that may lack some of them."""
        usual = {"type_name": "clips", "metric": "value", "better": "higher", "unit": "%", "protocol_name": "strict"}
        values = {f.name: record.get(f.name) for f in fields(cls) if f.name != "name"}
        words = {name: usual.get(name, "") if value is None else str(value) for name, value in values.items()}
        return cls(**words)

    @property
    def info(self) -> MetricInfo:
        """The metric."""
        return described(self.metric, self.unit, self.better)


def group_by_condition(items: Iterable[T], record: Callable[[T], Mapping[str, Any]]) -> list[tuple[Condition, list[T]]]:
    """Group what may stand in one table, in the order in which tasks were found; each condition gets its own name.

    Args:
        items: in any order.
        record: of an item: its fields (see `Condition.of`).
    """
    listed = list(items)
    groups: dict[Condition, list[T]] = {}
    present = {Condition.of(record(item)) for item in listed if scheme_of(record(item)) >= SOURCES_NAMED}
    for item in listed:
        condition = Condition.of(record(item))
        if scheme_of(record(item)) < SOURCES_NAMED and condition not in present:
            alone = replace(condition, split=condition.split.replace(", clips of one source together", ""))
            condition = alone if alone in present else condition
        groups.setdefault(condition, []).append(item)
    order = list(dict.fromkeys(c.task for c in groups))
    conditions = sorted(groups, key=lambda c: order.index(c.task))
    return [(_named(condition, conditions), groups[condition]) for condition in conditions]


def newest(items: Sequence[T], key: Callable[[T], K], made: Callable[[T], str]) -> tuple[dict[K, T], list[T]]:
    """Return the newest item of each key, in the order in which keys were found, and the older ones."""
    cells: dict[K, T] = {}
    older = []
    for item in sorted(items, key=made):
        if key(item) in cells:
            older.append(cells[key(item)])
        cells[key(item)] = item
    return {k: cells[k] for k in dict.fromkeys(map(key, items))}, older


def told_apart(names: Mapping[K, str], fingerprint: Callable[[K], str]) -> dict[K, str]:
    """Return the names; of equal ones each with the begin of its fingerprint, the whole, or a number if it has none."""
    counts = Counter(names.values())
    begins = Counter((name, fingerprint(key)[:PRINTED]) for key, name in names.items())
    labels = {}
    for key, name in names.items():
        mark = fingerprint(key)[: PRINTED if begins[name, fingerprint(key)[:PRINTED]] == 1 else None]
        labels[key] = f"{name} ({mark})" if counts[name] > 1 and mark else name
    same, number = Counter(labels.values()), Counter[str]()
    for key, label in labels.items():
        number[label] += 1
        labels[key] = f"{label} ({number[label]})" if same[label] > 1 else label
    return labels


def _named(condition: Condition, every: Sequence[Condition]) -> Condition:
    """Name a condition by its task, and by what differs between the conditions of that task."""
    same = [c for c in every if c.task == condition.task]
    contents = {c.corpus_fingerprint for c in same if c.corpus == condition.corpus}
    # Parts of fingerprints, not numbers: a name does not depend on what else is read, and in which order.
    words = {
        "metric": condition.metric,
        "protocol_name": f"protocol {condition.protocol_name}",
        "corpus_fingerprint": f"corpus {condition.corpus}".rstrip()
        + f", content {condition.corpus_fingerprint[:PRINTED]}" * (len(contents) > 1),
        "protocol": condition.protocol or "division not recorded",
    }
    said = [condition.task, *(text for name, text in words.items() if len({getattr(c, name) for c in same}) > 1)]
    if sum(replace(c, split="") == replace(condition, split="") for c in same) > 1:
        said.append(f"division {hashlib.sha256(condition.split.encode()).hexdigest()[:PRINTED]}")
    return replace(condition, name=", ".join(said))
