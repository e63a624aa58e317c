"""Approximate search of large libraries: vectors in groups around centroids, of which the nearest are searched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.answers.segment_table import scan
from auricle.extras import require

# Smaller libraries are compared vector by vector: that takes less than a second.
EXACT_BELOW = 100_000
# The least recall that the number of searched groups is chosen for, and what it is measured by.
GOAL, QUERIES, TOP = 0.95, 100, 50
# Searches for many more rows than those compare every vector.
MOST = 10 * TOP
# Training of the centroids: rows for each, and rounds.
_SAMPLE, _ROUNDS = 64, 20
# Centroids are trained anew where the library has grown by this factor.
_GROWN = 1.5
_BATCH = 8192
_NAME = "nearest"


@dataclass(frozen=True)
class Approximation:
    """An approximate search, and what it finds of the exact one.

    Attributes:
        rows: number of rows that it was measured with.
        trained: number of rows that the centroids were trained with.
        groups: number of groups.
        searched: number of groups that are searched.
        recall: share of the `top` nearest rows that it finds, mean over `queries` rows as queries, none of which took
            part in the choice of `searched`.
        queries: number of queries.
        top: number of nearest rows.
    """

    rows: int
    trained: int
    groups: int
    searched: int
    recall: float
    queries: int = QUERIES
    top: int = TOP

    @property
    def words(self) -> str:
        """What a search by it says of itself."""
        return (
            f"approximate: {self.searched} of {self.groups} groups of rows were searched, which finds "
            f"{self.recall:.1%} of the {self.top} nearest rows (measured by {self.queries} rows as queries)"
        )


def approximate(table: Any, rows: int, known: Approximation | None, *, goal: float = GOAL) -> Approximation:
    """Build or update the approximate search of a table, and measure what it finds.

    Args:
        table: of a library, all of whose rows are in its last version.
        rows: number of its rows.
        known: the approximate search that it has; None: none.
        goal: recall that the number of searched groups is chosen for.
    """
    index = require("lancedb.index", extra="index")
    groups, trained = (known.groups, known.trained) if known else (0, 0)
    if not known or rows > _GROWN * trained or _NAME not in {each.name for each in table.list_indices()}:
        groups, trained = max(1, round(math.sqrt(rows))), rows
        sizes = {"num_partitions": groups, "sample_rate": _SAMPLE, "max_iterations": _ROUNDS}
        table.create_index("vector", config=index.IvfFlat(distance_type="cosine", **sizes), name=_NAME, replace=True)
    ids, queries = _queries(table, min(2 * QUERIES, rows))
    nearest = _nearest(table, ids, queries)
    half = len(ids) // 2
    searched = 1
    while searched < groups and _recall(table, ids[:half], queries[:half], nearest[:half], searched) < goal:
        searched = min(groups, 2 * searched)
    recall = _recall(table, ids[half:], queries[half:], nearest[half:], searched)
    return Approximation(rows, trained, groups, searched, recall, queries=len(ids) - half)


def _queries(table: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids of rows, drawn without replacement, and their vectors `(count, D)` float32."""
    known = np.sort(scan(table, ["id"]).column("id").to_numpy())
    ids = np.random.default_rng(0).choice(known, count, replace=False)
    found = scan(table, ["id", "vector"], f"id IN ({', '.join(map(str, ids.tolist()))})")
    return found.column("id").to_numpy(), _matrix(found.column("vector"))


def _nearest(table: Any, ids: np.ndarray, queries: np.ndarray) -> list[set[int]]:
    """Return the ids of the rows nearest to each query without itself, in one pass over all rows."""
    unit = _unit(queries)
    best = np.full((len(ids), TOP), -np.inf, np.float32)
    found = np.full((len(ids), TOP), -1, np.int64)
    for numbers, vectors in _vectors(table):
        scores = unit @ _unit(vectors).T
        scores[ids[:, None] == numbers[None]] = -np.inf
        both, names = np.hstack([best, scores]), np.hstack([found, np.broadcast_to(numbers, scores.shape)])
        order = np.argpartition(-both, TOP - 1, axis=1)[:, :TOP]
        best, found = np.take_along_axis(both, order, 1), np.take_along_axis(names, order, 1)
    return [set(row[row >= 0].tolist()) for row in found]


def _recall(table: Any, ids: np.ndarray, queries: np.ndarray, nearest: list[set[int]], searched: int) -> float:
    shares = []
    for own, query, wanted in zip(ids.tolist(), queries, nearest, strict=True):
        asked = table.search(query).distance_type("cosine").nprobes(searched).select(["id", "_distance"])
        found = set(asked.limit(TOP + 1).to_arrow().column("id").to_pylist()) - {own}
        shares.append(len(found & wanted) / max(1, len(wanted)))
    return float(np.mean(shares))


def _vectors(table: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in table.search().select(["id", "vector"]).to_batches(_BATCH):
        yield batch.column("id").to_numpy(), _matrix(batch.column("vector"))


def _matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(whole), -1).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    return found
